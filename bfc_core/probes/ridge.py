"""Ridge probes of a stack: targets on features, every penalty from one eigendecomposition.

Letters: K members, n samples, m features, o targets, P penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bfc_core.measures.ridge import PENALTIES


@dataclass(frozen=True, slots=True)
class RidgeProbes:
    """Fitted probes of K members: slope (K, m, o), intercept (K, 1, o), and each member's penalty (K,)."""

    slope: Tensor
    intercept: Tensor
    penalty: Tensor

    def predict(self, z: Tensor) -> Tensor:
        """z (K, n, m) -> (K, n, o) in float64."""
        return z.double() @ self.slope + self.intercept


def scatter(z: Tensor) -> Tensor:
    """Z'Z (d, d) of z (n, d); numpy knows that the product is symmetric and computes half of it, torch does not."""
    if z.device.type != "cpu":
        return z.mT @ z
    array = z.detach().numpy()
    return torch.from_numpy(array.T @ array)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What a fit needs of the features alone: mean (K, 1, m), and eigenvalues (K, m) and vectors of their scatter."""

    mean: Tensor
    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Spectrum:
        """Of z (K, n, m), in float64; eigenvalues below rounding are 0."""
        z = z.double()
        mean = z.mean(1, keepdim=True)
        centred = z - mean
        values, vectors = torch.linalg.eigh(torch.stack([scatter(one) for one in centred]))
        floor = values.shape[1] * torch.finfo(torch.float64).eps * values[:, -1:]
        return cls(mean, torch.where(values > floor, values, torch.zeros_like(values)), vectors)


def fit_ridge(
    z: Tensor, y: Tensor, penalties: Sequence[float] = PENALTIES, spectrum: Spectrum | None = None
) -> RidgeProbes:
    """Ridge of y (n, o) on z (K, n, m), each member's penalty by generalised cross-validation.

    Penalties are in units of the mean variance of a member's features; the intercept is free. From sums over
    samples alone, so that `z` may come in batches of any size: the streaming probe is the same fit. `spectrum` is that
    of z where it is known, as from a fit of other targets.
    """
    n = z.shape[1]
    path = _Path.of(z, y, penalties, spectrum)
    left = (path.total - path.explained).clamp_min(0)
    freedom = (path.values[:, None] * path.inverse).sum(2) + 1
    score = torch.where(freedom < n, left / (n - freedom).clamp_min(1e-9).square(), torch.inf)
    return path.fit(score.argmin(1))


def choose_ridge(
    z: Tensor, y: Tensor, penalties: Sequence[float] = PENALTIES, held_out: float = 0.2
) -> RidgeProbes:
    """As `fit_ridge`, each member's penalty by its error on the last `held_out` of the samples, then refitted."""
    split = len(y) - max(1, round(held_out * len(y)))
    path = _Path.of(z[:, :split], y[:split], penalties)
    errors = []
    for i in range(len(penalties)):
        fitted = path.fit(torch.full((len(z),), i, device=z.device))
        errors.append((y[split:].double() - fitted.predict(z[:, split:])).square().sum((1, 2)))
    best = torch.stack(errors, 1).argmin(1)
    return _Path.of(z, y, penalties).fit(best)


@dataclass(frozen=True, slots=True)
class _Path:
    """All penalties at once: eigenvalues (K, m), 1/(s + λ) (K, P, m), projections (K, m, o)."""

    values: Tensor
    vectors: Tensor
    inverse: Tensor
    projected: Tensor
    z_mean: Tensor
    y_mean: Tensor
    total: Tensor
    ridges: Tensor

    @classmethod
    def of(
        cls, z: Tensor, y: Tensor, penalties: Sequence[float], spectrum: Spectrum | None = None
    ) -> _Path:
        spectrum = spectrum or Spectrum.of(z)
        values, vectors = spectrum.values, spectrum.vectors
        y = y.double()
        y_mean = y.mean(0, keepdim=True)
        yc = y - y_mean
        ridges = torch.as_tensor(list(penalties), dtype=torch.float64, device=z.device) * values.mean(
            1, keepdim=True
        )
        total = values[:, None] + ridges[..., None]
        # Null directions carry nothing to predict with: their inverse is nought, not the penalty's.
        inverse = torch.where(values[:, None] > 0, 1 / total, torch.zeros_like(total))
        projected = vectors.mT @ ((z.double() - spectrum.mean).mT @ yc)
        return cls(values, vectors, inverse, projected, spectrum.mean, y_mean, yc.square().sum(), ridges)

    @property
    def explained(self) -> Tensor:
        """Sum of squares that each penalty's fit explains (K, P): Σ (2 − s/(s + λ)) p²/(s + λ)."""
        shrunk = self.inverse * (2 - self.values[:, None] * self.inverse)
        return (shrunk * self.projected.square().sum(2)[:, None]).sum(2)

    def fit(self, chosen: Tensor) -> RidgeProbes:
        """The probes with penalty number `chosen` (K,)."""
        rows = torch.arange(len(chosen), device=chosen.device)
        slope = self.vectors @ (self.inverse[rows, chosen][..., None] * self.projected)
        return RidgeProbes(slope, self.y_mean - self.z_mean @ slope, self.ridges[rows, chosen])


def relative_errors(predicted: Tensor, y: Tensor) -> Tensor:
    """Residual over variance (K,) of predictions (K, n, o) of y (n, o), both summed over targets."""
    y = y.double()
    spread = (y - y.mean(0)).square().sum()
    return (y - predicted).square().sum((1, 2)) / spread


def accuracies(scores: Tensor, y: Tensor) -> Tensor:
    """Share (K,) of samples whose highest score (K, n, o) is that of its class, y (n, o) class indicators."""
    return (scores.argmax(2) == y.argmax(1)).double().mean(1)
