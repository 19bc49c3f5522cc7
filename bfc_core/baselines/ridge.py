"""Kernel ridge regression with one N × N array, the solver's own.

Letters: n samples, o outputs, d coordinates, K the kernel matrix, p the penalty in units of n⁻¹ tr K.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bfc_core.baselines.kernels import Kernel
from bfc_core.baselines.lapack import cholesky_, cholesky_solved, ridges, symmetric_product

TILE_ROWS, TILE_COLUMNS = 256, 2048
"""A tile of doubles stays in a core's second-level cache through the several passes that a kernel takes."""

CLOSE, MOST_ITERATIONS = 1e-5, 20
"""A penalty ten times another's converges in at most 19 steps, most in five."""
WORTH = 400
"""Samples an output from which on as many steps are quicker than a factorisation."""


@runtime_checkable
class Primal(Protocol):
    """A kernel of features already at hand: its machines predict by their weights, not by their points."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor: ...

    def weights(self, points: Tensor, coefficients: Tensor) -> Tensor:
        """What Σ_j α_j k(·, x_j) weighs features by; points (n, d), coefficients (n, o)."""
        ...

    def apply(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (a, d) -> (a, o)."""
        ...


class Square:
    """The kernel matrix of x (n, d), once: K below the diagonal, a factor for one penalty at a time above.

    What is factored is the leading block of as many samples as there are labels: the rest of K holds what these samples
    say of the others. LAPACK reads and writes one triangle alone, so K is at hand again for the next penalty.
    """

    def __init__(self, kernel: Kernel, x: Tensor, storage: Tensor | None = None) -> None:
        """Into `storage`, an (n, n) that is no longer needed, if given."""
        self.kernel, self.x, n = kernel, x, len(x)
        self.rows = torch.empty(n, n, dtype=x.dtype, device=x.device) if storage is None else storage
        self._fill()
        self._diagonal = self.rows.diagonal().clone()
        self._factored, self._penalty, self._whole = 0, 0.0, False

    def solve(self, penalty: float, y: Tensor) -> Tensor | None:
        """(K + penalty · m⁻¹ tr K · I)⁻¹ y for y (m, o), K of the first m; None if not positive definite to rounding."""
        factor = self._factor(penalty, len(y))
        if factor is None:
            return None
        if factor.device.type == "cpu":
            return cholesky_solved(factor, y)
        half = torch.linalg.solve_triangular(factor, y, upper=False)
        full: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        return full

    def estimate(self, penalty: float, y: Tensor) -> Tensor | None:
        """As `solve`, to some five digits, by the factor of another penalty where that is at hand.

        With it as preconditioner no eigenvalue lies further from 1 than the penalties do from each other.
        """
        m, outputs = y.shape
        if self._whole and self._factored == m and m >= WORTH * outputs and y.device.type == "cpu":
            factor, diagonal = self.rows[:m, :m].mT, self._penalised(penalty, m)
            found = [_iterated(factor, diagonal, column) for column in y.mT]
            if not any(column is None for column in found):
                return torch.stack([column for column in found if column is not None], dim=1)
        return self.solve(penalty, y)

    def others(self, coefficients: Tensor) -> Tensor:
        """Σ_j α_j k(x_i, x_j) (n − m, o) at the samples beyond the m that α (m, o) weighs."""
        m = len(coefficients)
        return self.rows[m:, :m] @ coefficients

    def _factor(self, penalty: float, m: int) -> Tensor | None:
        # Column-major, as LAPACK has it: the lower triangle of this is the upper one of `rows`.
        k = self.rows[:m, :m].mT
        if (m, penalty) == (self._factored, self._penalty):
            return k if self._whole else None
        if self._factored:
            self._restore(self._factored)
        self.rows.diagonal()[:m].copy_(self._penalised(penalty, m))
        if k.device.type == "cpu":
            self._whole = cholesky_(k)
        else:
            info = torch.empty((), dtype=torch.int32, device=k.device)
            torch.linalg.cholesky_ex(k, out=(k, info))
            self._whole = int(info) == 0
        self._factored, self._penalty = m, penalty
        return k if self._whole else None

    def _penalised(self, penalty: float, m: int) -> Tensor:
        """The diagonal of K + penalty · m⁻¹ tr K · I of the first m."""
        diagonal = self._diagonal[:m]
        return diagonal + penalty * diagonal.mean()

    def _fill(self) -> None:
        for i, j in self._tiles(len(self.x)):
            tile = self.kernel(self.x[i], self.x[j])
            self.rows[i, j] = tile
            self.rows[j, i] = tile.mT

    def _restore(self, m: int) -> None:
        """K whole again after a factor of the first m; a device's own Cholesky clears the other triangle, and K with it."""
        if self.rows.device.type != "cpu":
            self._fill()
            return
        for i, j in self._tiles(m):
            self.rows[i, j] = self.rows[j, i].mT if i.start != j.start else self._mirrored(i)

    def _mirrored(self, i: slice) -> Tensor:
        """A tile on the diagonal, whole again from its lower triangle."""
        below = self.rows[i, i].tril(-1)
        return below + below.mT + torch.diag(self._diagonal[i])

    def _tiles(self, m: int) -> list[tuple[slice, slice]]:
        """Tiles that cover the upper triangle of the first m; those on the diagonal are square."""
        found = []
        for i in range(0, m, TILE_ROWS):
            rows = slice(i, min(m, i + TILE_ROWS))
            found.append((rows, rows))
            for j in range(rows.stop, m, TILE_COLUMNS):
                found.append((rows, slice(j, min(m, j + TILE_COLUMNS))))
        return found


def _iterated(factor: Tensor, diagonal: Tensor, y: Tensor) -> Tensor | None:
    """Conjugate gradients for y (m,), K above the factor's diagonal and `diagonal` on it; None where they do not end."""
    found, left = torch.zeros_like(y), y.clone()
    turned = cholesky_solved(factor, left[:, None])[:, 0]
    along, size = turned.clone(), float(left @ turned)
    enough = CLOSE**2 * size
    for _ in range(MOST_ITERATIONS):
        product = symmetric_product(factor, diagonal, along)
        curvature = float(along @ product)
        if not curvature > 0:
            return None
        found.add_(along, alpha=size / curvature)
        left.sub_(product, alpha=size / curvature)
        turned = cholesky_solved(factor, left[:, None])[:, 0]
        size, before = float(left @ turned), size
        if size <= enough:
            return found
        along.mul_(size / before).add_(turned)
    return None


@dataclass(frozen=True, slots=True)
class KernelMachine:
    """f(x) = Σ_j k(x, x_j) α_j + mean: `points` (n, d), `coefficients` (n, o), `mean` (o,)."""

    kernel: Kernel
    points: Tensor
    coefficients: Tensor
    mean: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x (a, d) -> f (a, o), tile by tile."""
        found = self.mean.expand(len(x), -1).clone()
        for i in range(0, len(x), TILE_ROWS):
            for j in range(0, len(self.points), TILE_COLUMNS):
                tile = self.kernel(x[i : i + TILE_ROWS], self.points[j : j + TILE_COLUMNS])
                found[i : i + TILE_ROWS].addmm_(tile, self.coefficients[j : j + TILE_COLUMNS])
        return found


@dataclass(frozen=True, slots=True)
class PrimalMachine:
    """The same function by the weights of its features: no kernel with the training points."""

    kernel: Primal
    weights: Tensor
    mean: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x (a, d) -> f (a, o)."""
        return self.kernel.apply(x, self.weights) + self.mean


Machine = Callable[[Tensor], Tensor]


def fit_square(square: Square, y: Tensor, penalty: float) -> Machine | None:
    """Ridge of y (m, o) less its mean, of the first m; None where their kernel is not positive definite to rounding."""
    mean = y.mean(0)
    coefficients = square.solve(penalty, y - mean)
    return None if coefficients is None else machine_of(square.kernel, square.x[: len(y)], coefficients, mean)


def machine_of(kernel: Kernel, points: Tensor, coefficients: Tensor, mean: Tensor) -> Machine:
    """By weights where the kernel has them, else by points (n, d)."""
    if isinstance(kernel, Primal):
        return PrimalMachine(kernel, kernel.weights(points, coefficients), mean)
    return KernelMachine(kernel, points, coefficients, mean)


def kernel_ridge(kernel: Kernel, x: Tensor, y: Tensor, penalty: float) -> Machine | None:
    """`fit_square` on x (n, d) for a single penalty."""
    return fit_square(Square(kernel, x), y, penalty)


def ridge_path(k: Tensor, y: Tensor, penalties: Sequence[float]) -> Tensor:
    """Coefficients (P, n, o) of y (n, o) less its mean for all penalties at once; NaN where there is no fit.

    k (n, n) full and symmetric. For small n, where it costs less than a factorisation for each penalty.
    """
    unit = float(k.diagonal().mean())
    return ridges(k, y - y.mean(0), [penalty * unit for penalty in penalties])
