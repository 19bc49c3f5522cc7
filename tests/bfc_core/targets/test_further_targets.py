import math

import pytest
import torch

from bfc_core.registry import deed_of
from bfc_core.specs.data import MultiIndex, Parity, RandomHierarchy, Staircase
from bfc_core.streams import stream
from bfc_core.targets.multi_index import hermite_series

SPECS = [
    Staircase(input_dim=12),
    Staircase(input_dim=12, monomials=((0, 1), (0, 1, 2, 5), (3,)), coefficients=(1.0, -2.0, 0.5)),
    Parity(input_dim=15, degree=5),
    MultiIndex(input_dim=10, links=((0.5, 0.0, 1.0), (0.0, -0.3, 0.0, 1.0)), spike=2.0),
    RandomHierarchy(),
    RandomHierarchy(vocabulary=5, synonyms=3, branching=3, levels=2),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_the_declared_variance_is_that_of_the_labels(spec: object) -> None:
    teacher = deed_of(spec)(spec, 3)
    x = teacher.inputs(60_000, stream("data", 0, "law"))
    y = teacher.labels(x.double())
    y = y[:, None] if y.ndim == 1 else y
    assert x.dtype == torch.float32
    assert y.shape == (60_000, teacher.output_dim)
    assert float(y.var(dim=0).sum()) == pytest.approx(teacher.variance, rel=0.08)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_features_are_one_matrix_a_level_and_equal_draws_are_equal(spec: object) -> None:
    one, same, other = (deed_of(spec)(spec, seed) for seed in (3, 3, 4))
    x = one.inputs(50, stream("data", 0, "law")).double()
    features = one.features(x)
    assert tuple(features) == one.levels
    assert all(len(z) == 50 and z.dtype == x.dtype for z in features.values())
    assert torch.equal(one.labels(x), same.labels(x))
    if spec.kind not in ("staircase",):  # type: ignore[attr-defined]
        assert not torch.equal(one.labels(x), other.labels(x))


@pytest.mark.parametrize("spec", SPECS[:4], ids=lambda spec: spec.kind)
def test_a_declared_matrix_gives_the_features_from_what_is_read(spec: object) -> None:
    teacher = deed_of(spec)(spec, 3)
    x = teacher.inputs(50, stream("data", 0, "law")).double()
    for level, matrix in teacher.matrices.items():
        assert torch.allclose(teacher.embed(x) @ matrix.mT, teacher.features(x)[level])


def test_the_steps_of_a_staircase_are_features_of_the_level_that_first_reaches_them() -> None:
    teacher = deed_of(Staircase())(Staircase(), 0)
    assert {level: [len(one) for one in parts] for level, parts in teacher.parts.items()} == {
        2: [1, 1, 1, 1, 1],
        3: [2],
        4: [3, 4],
        5: [5],
    }


def test_a_repeated_monomial_adds_its_coefficients() -> None:
    teacher = deed_of(Staircase())(Staircase(monomials=((0, 1), (1, 0))), 0)
    x = teacher.inputs(1000, stream("data", 0, "law")).double()
    assert float(teacher.labels(x).square().mean()) == pytest.approx(teacher.variance)


def test_hermite_links_are_orthonormal_under_the_gaussian() -> None:
    t, weight = gauss_hermite(40)
    values = torch.stack([hermite_series(t, [0.0] * j + [1.0]) for j in range(8)])
    gram = (values * weight) @ values.mT
    assert torch.allclose(gram, torch.eye(8, dtype=torch.float64), atol=1e-10)


def gauss_hermite(nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights of Gaussian quadrature for N(0, 1), by the Jacobi matrix (Golub and Welsch, 1969)."""
    off = torch.sqrt(torch.arange(1, nodes, dtype=torch.float64))
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return values, vectors[0].square()


@pytest.mark.parametrize("spec", SPECS[4:], ids=["v8", "v5"])
def test_a_string_is_read_back_into_the_label_it_was_made_from(spec: RandomHierarchy) -> None:
    teacher = deed_of(spec)(spec, 1)
    for rules in teacher.rules:
        strings = {tuple(string) for string in rules.flatten(0, 1).tolist()}
        assert len(strings) == spec.vocabulary * spec.synonyms
    x = teacher.inputs(4000, stream("data", 0, "law"))
    labels = teacher.labels(x).argmax(dim=1)
    assert torch.bincount(labels, minlength=spec.vocabulary).float().std() < 4 * math.sqrt(
        4000 / spec.vocabulary
    )
    for height in teacher.levels[:-1]:
        other = teacher.with_other_synonyms(x, height, stream("data", 0, "synonyms"))
        assert not torch.equal(other, x)
        assert torch.equal(teacher.labels(other).argmax(dim=1), labels)
