"""Staircases, parities, multi-index targets and random hierarchies: their variances, features and rules."""

from __future__ import annotations

import pytest
import torch

from bfc_core.registry import deed_of
from bfc_core.specs import TrainSpec
from bfc_core.specs.data import MultiIndex, Parity, RandomHierarchy, Staircase
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher
from bfc_core.targets.multi_index import hermite_series
from bfc_core.targets.random_hierarchy import RandomHierarchyTeacher, distinct_numbers
from bfc_core.targets.samples import test_set as draw_test_set
from bfc_core.targets.samples import training_set

SPECS = [
    Staircase(),
    Staircase(monomials=((3,), (3, 5, 7), (0, 1, 2, 3)), coefficients=(1.0, -2.0, 0.5)),
    Parity(degree=5),
    MultiIndex(),
    MultiIndex(links=((0.5, 0.0, 1.0, 0.3),), spike=3.0),
    RandomHierarchy(),
    RandomHierarchy(vocabulary=3, synonyms=2, branching=3, levels=2),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_the_stated_variance_is_the_populations(spec: object) -> None:
    teacher: Teacher = deed_of(spec)(spec, 4)
    x = teacher.inputs(100_000, stream("data", 0, "sample")).double()
    y = teacher.labels(x)
    found = y.reshape(len(x), -1).var(dim=0).sum()
    assert float(found) == pytest.approx(teacher.variance, rel=0.05)
    assert y.shape == ((len(x),) if teacher.output_dim == 1 else (len(x), teacher.output_dim))
    assert teacher.embed(x).shape == (len(x), teacher.read_dim)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_every_feature_varies(spec: object) -> None:
    teacher: Teacher = deed_of(spec)(spec, 4)
    features = teacher.features(teacher.inputs(5000, stream("data", 0, "sample")))
    assert tuple(features) == teacher.levels
    for z in features.values():
        assert float(z.std(dim=0).min()) > 0.1


def test_a_parity_is_made_of_the_blocks_that_a_quadratic_network_can_double() -> None:
    spec = Staircase(monomials=((0, 1, 2, 3, 4),))
    parts = deed_of(spec)(spec, 0).parts
    assert parts[3] == ((0, 1), (2, 3))
    assert parts[4] == ((0, 1, 2, 3),)
    assert parts[5] == ((0, 1, 2, 3, 4),)


def test_labels_are_the_scaled_sum_of_products() -> None:
    spec = Staircase(monomials=((0,), (0, 1), (0, 1, 2, 3, 4)))
    teacher = deed_of(spec)(spec, 0)
    x = teacher.inputs(7, stream("data", 0, "sample"))
    torch.testing.assert_close(teacher.features(x)[3][:, 0], x[:, 0] * x[:, 1])
    wanted = (x[:, 0] + x[:, 0] * x[:, 1] + x[:, :5].prod(dim=1)) / 3**0.5
    torch.testing.assert_close(teacher.labels(x), wanted)


def test_a_parity_is_one_product_of_coordinates_that_the_seed_draws() -> None:
    spec = Parity(degree=3, input_dim=10)
    chosen = {deed_of(spec)(spec, seed).monomials for seed in range(20)}
    assert len(chosen) > 10
    assert all(len(one) == 1 and len(set(one[0])) == 3 for one in chosen)


def test_hermite_polynomials_are_orthonormal() -> None:
    """By Gauss-Hermite quadrature, exact at these degrees."""
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    t, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    basis = torch.stack([hermite_series(t, tuple(float(i == j) for j in range(7))) for i in range(7)])
    torch.testing.assert_close((basis * w) @ basis.mT, torch.eye(7, dtype=torch.float64))


def test_a_spike_adds_variance_along_the_directions_only() -> None:
    spec = MultiIndex(input_dim=6, links=((0.0, 1.0),), spike=4.0)
    teacher = deed_of(spec)(spec, 0)
    x = teacher.inputs(100_000, stream("data", 0, "sample")).double()
    values = torch.linalg.eigvalsh(torch.cov(x.mT))
    torch.testing.assert_close(values, torch.tensor([1.0] * 5 + [5.0]).double(), atol=0.1, rtol=0)


def rules(**changes: int) -> RandomHierarchyTeacher:
    return RandomHierarchyTeacher(RandomHierarchy(**changes), 2)


def test_labels_and_symbols_are_read_back_from_the_input() -> None:
    teacher = rules(vocabulary=6, synonyms=5, branching=2, levels=3)
    generator = stream("data", 0, "x")
    label = torch.randint(6, (500, 1), generator=generator)
    x = teacher._coordinates(teacher._written(label, 3, generator))
    assert torch.equal(teacher.symbols(x)[3], label)
    assert torch.equal(teacher.labels(x).argmax(dim=1), label[:, 0])


def test_rules_are_unambiguous_even_where_strings_cannot_be_listed() -> None:
    teacher = rules(vocabulary=64, synonyms=16, branching=8, levels=1)
    strings = {tuple(one) for one in teacher.rules[0].flatten(0, 1).tolist()}
    assert len(strings) == 64 * 16
    numbers = distinct_numbers(10, 9, torch.Generator().manual_seed(0))
    assert len(set(numbers.tolist())) == 9


def test_synonyms_change_the_input_and_nothing_above_their_height() -> None:
    teacher = rules()
    x = teacher.inputs(300, stream("data", 0, "x"))
    for height in (1, 2, 3):
        changed = teacher.with_other_synonyms(x, height, stream("data", 0, "synonyms", height))
        before, after = teacher.symbols(x), teacher.symbols(changed)
        for upper in range(height, 4):
            assert torch.equal(before[upper], after[upper])
        assert float((before[height - 1] != after[height - 1]).double().mean()) > 0.3


def test_label_noise_is_on_training_labels_only_and_of_the_stated_size() -> None:
    noisy, clean = (
        TrainSpec.model_validate({"data": {"kind": "hierarchical", "label_noise": noise, "samples": 20_000}})
        for noise in (0.5, 0.0)
    )
    teacher = deed_of(noisy.data)(noisy.data, 0)
    x, y = training_set(noisy, teacher)
    deviation = float((y[:, 0] - teacher.labels(x)).std())
    assert deviation == pytest.approx(0.5 * teacher.variance**0.5, rel=0.03)
    assert torch.equal(training_set(clean, teacher)[0], x)
    x, y = draw_test_set(noisy, teacher)
    assert torch.equal(y[:, 0], teacher.labels(x))


def test_training_and_test_inputs_differ_and_do_not_depend_on_the_arm() -> None:
    joint, other = (TrainSpec.model_validate({"schedule": {"kind": kind}}) for kind in ("joint", "cyclic"))
    teacher = deed_of(joint.data)(joint.data, 0)
    assert torch.equal(training_set(joint, teacher)[0], training_set(other, teacher)[0])
    assert not torch.equal(training_set(joint, teacher)[0][:100], draw_test_set(joint, teacher)[0][:100])
