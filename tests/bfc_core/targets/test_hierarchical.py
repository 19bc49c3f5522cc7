"""The hierarchical teacher is what docs/science.md says."""

from __future__ import annotations

import math

import pytest
import torch

from bfc_core.specs.data import Hierarchical
from bfc_core.streams import stream
from bfc_core.targets.hierarchical import HierarchicalTeacher, weak_to_strong
from bfc_core.targets.linear_algebra import orthonormal_rows

LAWS = ("uniform", "gaussian", "sign")


def sample(teacher: HierarchicalTeacher, count: int = 60_000) -> torch.Tensor:
    return teacher.inputs(count, stream("data", 9, "test sample")).double()


@pytest.mark.parametrize("law", LAWS)
def test_inputs_and_their_squares_have_unit_variance(law: str) -> None:
    teacher = HierarchicalTeacher(Hierarchical(inputs=law, input_dim=8), 0)
    u = teacher.embed(sample(teacher))
    assert u.shape[1] == teacher.read_dim == (8 if law == "sign" else 16)
    torch.testing.assert_close(u.mean(0), torch.zeros(u.shape[1]).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(u.var(0), torch.ones(u.shape[1]).double(), atol=0.06, rtol=0)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("topology", ["dense", "chain"])
def test_each_level_has_its_variance_up_to_the_stated_error(law: str, topology: str) -> None:
    spec = Hierarchical(inputs=law, topology=topology, levels=4, gap=(1.0, -0.7, 0.49))
    teacher = HierarchicalTeacher(spec, 3)
    parts = teacher.level_outputs(sample(teacher))
    for level, alpha in zip((2, 3, 4), spec.gap, strict=True):
        allowed = 6 * teacher.deviation_error[level] + 0.01
        assert float(parts[level].std()) == pytest.approx(abs(alpha), rel=allowed)
        assert abs(float(parts[level].mean())) < 0.05


def test_the_label_is_the_sum_of_its_levels_and_its_variance_counts_their_correlation() -> None:
    teacher = HierarchicalTeacher(Hierarchical(), 0)
    x = sample(teacher)
    y = teacher.labels(x)
    torch.testing.assert_close(y, sum(teacher.level_outputs(x).values()))
    assert teacher.variance == pytest.approx(float(y.var()), rel=0.1)
    assert teacher.variance == pytest.approx(float(teacher.covariance.sum()), rel=1e-9)
    assert float(teacher.covariance[0, 1]) < -0.2  # opposite signs of correlated levels


def test_level_2_is_orthonormal_on_each_block_with_rows_from_strong_to_weak() -> None:
    teacher = HierarchicalTeacher(Hierarchical(weakest=0.5), 1)
    w = teacher.matrices[2]
    norms = w.norm(dim=1)
    torch.testing.assert_close(norms, weak_to_strong(4, 0.5))
    assert norms[0] == 1
    assert float(norms[-1]) == pytest.approx(0.5)
    for block in (w[:, :20], w[:, 20:]):
        gram = block @ block.mT
        torch.testing.assert_close(gram, torch.diag(norms.square() / 2))


def test_features_are_linear_in_what_level_2_reads() -> None:
    teacher = HierarchicalTeacher(Hierarchical(), 1)
    x = sample(teacher, 50)
    torch.testing.assert_close(teacher.features(x)[2], teacher.embed(x) @ teacher.matrices[2].mT)


def test_the_target_has_degree_two_to_the_levels() -> None:
    """Along a line, y is a polynomial of degree 2^L: its (2^L + 1)-th difference vanishes, the 2^L-th does not."""
    for levels in (2, 3):
        teacher = HierarchicalTeacher(
            Hierarchical(levels=levels, gap=(1.0, -0.7)[: levels - 1], inputs="sign"), 0
        )
        start, way = torch.randn(2, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        degree = 2 ** (levels - 1)  # ±1 inputs leave h_1 out, so level 2 is quadratic in x
        y = teacher.labels(torch.stack([start + t * way for t in range(degree + 2)]))
        assert float(torch.diff(y, n=degree).abs().max()) > 1e-6
        assert float(torch.diff(y, n=degree + 1).abs().max()) < 1e-6 * float(y.abs().max())


def test_a_seed_draws_one_teacher() -> None:
    same, other = (HierarchicalTeacher(Hierarchical(), seed) for seed in (5, 6))
    again = HierarchicalTeacher(Hierarchical(), 5)
    x = sample(same, 10)
    assert torch.equal(same.labels(x), again.labels(x))
    assert not torch.equal(same.labels(x), other.labels(x))


def test_orthonormal_rows_refuse_to_be_too_many() -> None:
    with pytest.raises(ValueError, match="5 orthonormal rows do not fit 4 columns"):
        orthonormal_rows(5, 4, torch.Generator())
    rows = orthonormal_rows(3, 7, torch.Generator().manual_seed(0))
    torch.testing.assert_close(rows @ rows.mT, torch.eye(3, dtype=torch.float64))
    assert math.isfinite(float(rows.sum()))
