"""How much of a hierarchical target no quadratic in [x, h_1] holds, however wide: its effective gap.

Products of polynomials that are orthonormal in one coordinate are orthonormal over iid coordinates, and together they
span every quadratic in [x, h_1]. In them the normal equations of n samples are the identity to √(P/n), so that
conjugate gradients solve them in a few products with what a quadratic form costs, n q².
Letters: n samples, d coordinates, q = 2d numbers read, P products, p_i the polynomial of degree i in one coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLES_A_PRODUCT, FEWEST_SAMPLES, MOST_SAMPLES = 16, 20_000, 40_000
MOST_INPUTS = 48
"""Coordinates up to which eight samples a product are no more than `MOST_SAMPLES`."""
ITERATIONS, TOLERANCE = 30, 1e-3


def best_quadratic_error(
    dim: int, law: str, inputs: Callable[[int], Tensor], labels: Callable[[Tensor], Tensor]
) -> float | None:
    """Test MSE/Var y of the best unconstrained quadratic in [x, h_1]; None beyond `MOST_INPUTS` coordinates.

    `inputs` draws so many x (n, dim) with coordinates that follow `law`, `labels` gives their y (n,). A fit of P
    numbers to n samples leaves 1 − P/n of the error on them and 1 + P/n on others: the geometric mean is returned.
    With ±1 inputs h_1 is constant, and x alone is squared.
    """
    if dim > MOST_INPUTS:
        return None
    count = min(MOST_SAMPLES, max(FEWEST_SAMPLES, SAMPLES_A_PRODUCT * 2 * (dim + 1) ** 2))
    x = inputs(count)
    basis, y = Basis.of(x, law), labels(x)
    coefficients = least_squares(basis, y)
    others = inputs(count)
    seen = _relative_error(basis, y, coefficients)
    unseen = _relative_error(Basis.of(others, law), labels(others), coefficients)
    return math.sqrt(seen * unseen)


@dataclass(frozen=True, slots=True)
class Basis:
    """Products at n inputs: columns `alone` (n, 1 + q + …), and p_i(x_a) p_j(x_b) of `factors` (n, q) where `pairs`."""

    alone: Tensor
    factors: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, x: Tensor, law: str) -> Basis:
        """At x (n, d), whose coordinates follow `law`."""
        p = orthonormal_polynomials(x, law)
        factors = torch.cat([p[i] for i in (1, 2) if i in p], dim=1)
        alone = torch.cat([torch.ones_like(x[:, :1]), factors, *(p[i] for i in (3, 4) if i in p)], dim=1)
        pairs = torch.ones(factors.shape[1], factors.shape[1]).triu(1)
        # p_1 p_2 of one coordinate is p_3 and p_1, and stands in `alone`.
        pairs.diagonal(x.shape[1]).zero_()
        return cls(alone, factors, pairs)

    def forth(self, coefficients: tuple[Tensor, Tensor]) -> Tensor:
        """Σ c φ (n,) for coefficients of `alone` and, as a matrix (q, q), of the pairs."""
        single, pair = coefficients
        return self.alone @ single + ((self.factors @ pair) * self.factors).sum(1)

    def back(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """n⁻¹ Σ v φ for v (n,)."""
        pair = (self.factors * v[:, None]).mT @ self.factors * self.pairs
        return self.alone.mT @ v / len(v), pair / len(v)


def least_squares(basis: Basis, y: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of least |Σ c φ − y| for y (n,), by conjugate gradients on the normal equations."""
    residual = y.clone()
    slope = way = basis.back(residual)
    found = tuple(torch.zeros_like(part) for part in slope)
    size = first = _square(slope)
    for _ in range(ITERATIONS):
        if size <= TOLERANCE**2 * first:
            break
        ahead = basis.forth(way)
        length = size / float(ahead.square().mean())
        found = tuple(part + length * step for part, step in zip(found, way, strict=True))
        residual = residual - length * ahead
        slope = basis.back(residual)
        size, before = _square(slope), size
        way = (slope[0] + size / before * way[0], slope[1] + size / before * way[1])
    return found[0], found[1]


def orthonormal_polynomials(x: Tensor, law: str) -> dict[int, Tensor]:
    """x (n, d) -> degree 1 … 4 -> p_i(x) (n, d); ±1 inputs have the first alone."""
    if law == "sign":
        return {1: x}
    s = x.square()
    if law == "gaussian":
        three, four = x * (s - 3) / math.sqrt(6), (s * (s - 6) + 3) / math.sqrt(24)
        return {1: x, 2: (s - 1) / math.sqrt(2), 3: three, 4: four}
    t, s = x / math.sqrt(3), s / 3
    return {
        1: x,
        2: math.sqrt(5) * (3 * s - 1) / 2,
        3: math.sqrt(7) * t * (5 * s - 3) / 2,
        4: 3 * (s * (35 * s - 30) + 3) / 8,
    }


def _relative_error(basis: Basis, y: Tensor, coefficients: tuple[Tensor, Tensor]) -> float:
    """Mean squared error over the variance of y."""
    return float((basis.forth(coefficients) - y).square().mean() / y.var())


def _square(parts: tuple[Tensor, Tensor]) -> float:
    return sum(float(part.square().sum()) for part in parts)
