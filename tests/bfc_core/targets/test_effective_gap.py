"""The best quadratic in [x, h_1], by conjugate gradients on products, is the one that a plain fit finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bfc_core.specs.data import Hierarchical
from bfc_core.streams import stream
from bfc_core.targets.effective_gap import Basis
from bfc_core.targets.hierarchical import HierarchicalTeacher, draw_inputs


@pytest.mark.parametrize("law", ["uniform", "gaussian", "sign"])
def test_the_products_are_orthonormal_and_span_every_quadratic(law: str) -> None:
    d = 3
    x = draw_inputs(law, 200_000, d, stream("data", 0, "basis")).double()
    basis = Basis.of(x, law)
    i, j = basis.pairs.nonzero().unbind(1)
    products = torch.cat([basis.alone, basis.factors[:, i] * basis.factors[:, j]], dim=1)
    q = basis.factors.shape[1]
    # 1, q factors and q(q + 1)/2 products of two; the squares of x are 1 and h_1, or constant.
    assert products.shape[1] == 1 + q + q * (q + 1) // 2 - d
    gram = products.mT @ products / len(x)
    loose = 0.6 if law == "gaussian" else 0.1
    torch.testing.assert_close(gram, torch.eye(len(gram)).double(), atol=loose, rtol=0)


@pytest.mark.parametrize("options", [{}, {"inputs": "sign"}, {"gap": (1.0, 0.5)}, {"levels": 4}])
def test_the_gap_is_that_of_a_plain_least_squares_fit(options: dict[str, Any]) -> None:
    teacher = HierarchicalTeacher(Hierarchical(input_dim=8, width=2, **options), 1)
    found = teacher.effective_gap
    assert found is not None
    assert found == pytest.approx(fitted_gap(teacher), rel=0.15)


def fitted_gap(teacher: HierarchicalTeacher) -> float:
    """Test MSE/Var y of least squares on every product of two numbers of [1, x, h_1]."""
    generator = stream("data", 7, "plain fit")
    drawn = [teacher.inputs(20_000, generator).double() for _ in range(2)]
    columns = []
    for x in drawn:
        u = torch.cat([torch.ones(len(x), 1).double(), teacher.embed(x)], dim=1)
        i, j = torch.triu_indices(u.shape[1], u.shape[1]).unbind(0)
        columns.append(u[:, i] * u[:, j])
    gram = columns[0].mT @ columns[0]
    gram.diagonal().add_(1e-6 * gram.diagonal().mean())
    weights = torch.linalg.solve(gram, columns[0].mT @ teacher.labels(drawn[0]))
    y = teacher.labels(drawn[1])
    return float((columns[1] @ weights - y).square().mean() / y.var())


def test_a_target_of_two_levels_is_a_quadratic_and_a_large_input_is_not_estimated() -> None:
    two = HierarchicalTeacher(Hierarchical(input_dim=8, width=2, levels=2, gap=(1.0,)), 0).effective_gap
    assert two is not None
    assert two < 1e-6
    assert HierarchicalTeacher(Hierarchical(input_dim=60), 0).effective_gap is None
