"""Kernel ridge regression with one N × N array, the solver's own.

Letters: n samples, o outputs, d coordinates, K the kernel matrix, p the penalty in units of n⁻¹ tr K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from scipy.linalg import lapack
from torch import Tensor

from bfc_core.baselines.kernels import Kernel

TILE_ROWS, TILE_COLUMNS = 256, 2048
"""A tile of doubles stays in a core's second-level cache through the several passes that a kernel takes."""


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
    """The kernel matrix of x (n, d), once: K above the diagonal, its factor for one penalty at a time below.

    LAPACK reads and writes the lower triangle alone, so K is at hand again for the next penalty.
    """

    def __init__(self, kernel: Kernel, x: Tensor, storage: Tensor | None = None) -> None:
        """Into `storage`, an (n, n) that is no longer needed, if given."""
        self.kernel, self.x, n = kernel, x, len(x)
        self.rows = torch.empty(n, n, dtype=x.dtype, device=x.device) if storage is None else storage
        self._fill()
        self._diagonal = self.rows.diagonal().clone()
        self._factored = False

    def solve(self, penalty: float, y: Tensor) -> Tensor | None:
        """(K + penalty · n⁻¹ tr K · I)⁻¹ y for y (n, o); None where that is not positive definite to rounding."""
        factor = self._factor(penalty)
        if factor is None:
            return None
        half = torch.linalg.solve_triangular(factor, y, upper=False)
        full: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        return full

    def _factor(self, penalty: float) -> Tensor | None:
        if self._factored:
            self._restore()
        self.rows.diagonal().copy_(self._diagonal + penalty * self._diagonal.mean())
        self._factored = True
        # Column-major, as LAPACK has it: the lower triangle of this is the upper one of `rows`.
        k = self.rows.mT
        if k.device.type != "cpu":
            info = torch.empty((), dtype=torch.int32, device=k.device)
            torch.linalg.cholesky_ex(k, out=(k, info))
            return k if int(info) == 0 else None
        # torch's own Cholesky clears the other triangle, and with it K.
        potrf = lapack.dpotrf if k.dtype == torch.float64 else lapack.spotrf
        _, failed = potrf(k.numpy(), lower=1, clean=0, overwrite_a=1)
        return k if failed == 0 else None

    def _fill(self) -> None:
        for i, j in self._tiles():
            tile = self.kernel(self.x[i], self.x[j])
            self.rows[i, j] = tile
            self.rows[j, i] = tile.mT

    def _restore(self) -> None:
        if self.rows.device.type != "cpu":
            self._fill()
            return
        for i, j in self._tiles():
            self.rows[i, j] = self.rows[j, i].mT if i.start != j.start else self._mirrored(i)

    def _mirrored(self, i: slice) -> Tensor:
        """A tile on the diagonal, whole again from its lower triangle."""
        below = self.rows[i, i].tril(-1)
        return below + below.mT + torch.diag(self._diagonal[i])

    def _tiles(self) -> list[tuple[slice, slice]]:
        """Tiles that cover the upper triangle; those on the diagonal are square."""
        n, found = len(self.x), []
        for i in range(0, n, TILE_ROWS):
            rows = slice(i, min(n, i + TILE_ROWS))
            found.append((rows, rows))
            for j in range(rows.stop, n, TILE_COLUMNS):
                found.append((rows, slice(j, min(n, j + TILE_COLUMNS))))
        return found


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
    """Ridge of y (n, o) less its mean; None where the penalised kernel is not positive definite to rounding."""
    mean = y.mean(0)
    coefficients = square.solve(penalty, y - mean)
    if coefficients is None:
        return None
    if isinstance(square.kernel, Primal):
        return PrimalMachine(square.kernel, square.kernel.weights(square.x, coefficients), mean)
    return KernelMachine(square.kernel, square.x, coefficients, mean)


def kernel_ridge(kernel: Kernel, x: Tensor, y: Tensor, penalty: float) -> Machine | None:
    """`fit_square` on x (n, d) for a single penalty."""
    return fit_square(Square(kernel, x), y, penalty)


def ridge_path(k: Tensor, y: Tensor, cross: Tensor, penalties: Tensor) -> Tensor:
    """Predictions (P, v, o) for all penalties (P,) from one eigendecomposition.

    k (n, n) full and symmetric, y (n, o), cross (v, n) the kernel between validation and training points.
    For small n, where it costs less than a factorisation for each penalty.
    """
    mean = y.mean(0)
    values, vectors = torch.linalg.eigh(k)
    ridges = penalties * k.diagonal().mean()
    # Eigenvalues below rounding are noise of either sign; as zeros they only meet a positive ridge.
    floor = len(k) * torch.finfo(k.dtype).eps * values[-1]
    kept = torch.where(values > floor, values, torch.zeros_like(values))
    inverse = torch.where(kept > 0, 1 / (kept + ridges[:, None]), torch.zeros_like(kept))
    projected = vectors.mT @ (y - mean)
    predicted: Tensor = (cross @ vectors) @ (inverse[..., None] * projected)
    return predicted + mean
