"""Multinomial logistic probes of many layers and penalties at once.

Features are standardised, then turned into the eigenbasis of their correlation matrix. There the Hessian at weights 0,
(I − 11ᵀ/c)/c ⊗ Z'Z/n + λ, is diagonal for every penalty: it conditions an L-BFGS that goes on for all penalties side
by side, each leaving when it has settled. Böhning's bound, ½(I − 11ᵀ/c) ⊗ Z'Z/n + λ, is at most c/2 of it, and gives
every penalty a step that cannot fail. All weights of a layer meet its features in one product.
Letters: n samples, d features, c classes, P penalties.
Source: Böhning 1992 for the bound; Nocedal 1980 for the recursion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = tuple(10.0**e for e in range(-5, 1))
"""λ of the mean cross-entropy plus ½ λ |w|², features standardised."""
STEPS = 60
"""At most; a penalty has settled when its objective falls by no more than `TOLERANCE` of itself.

While the penalty is being chosen `CHOOSING` does: which one finds most of the held-out labels is settled long before."""
TOLERANCE, CHOOSING = 5e-6, 2e-4
MEMORY = 8
SAFE = 60.0
"""Logits below this have exponentials that float32 adds up over any number of classes."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardising and rotation of a layer's features, learnt on its training part: mean (d,), turn (d, r)."""

    mean: Tensor
    turn: Tensor
    spectrum: Tensor


def basis(z: Tensor) -> Basis:
    """The eigenbasis of the correlations of z (n, d); features that do not vary, and null directions, fall out."""
    mean = z.mean(0)
    centred = z - mean
    covariance = centred.mT @ centred / len(z)
    deviation = covariance.diagonal().sqrt()
    varies = deviation > 1e-6 * deviation.max()
    scale = torch.where(varies, 1 / deviation, torch.zeros_like(deviation))
    values, vectors = torch.linalg.eigh((scale[:, None] * covariance * scale).double())
    kept = values > 1e-7 * values[-1]
    return Basis(mean, scale[:, None] * vectors[:, kept].to(z.dtype), values[kept].to(z.dtype))


@dataclass(frozen=True, slots=True)
class Probes:
    """Fitted probes of one layer: weights (P, r, c) and intercepts (P, c) in its basis."""

    basis: Basis
    weights: Tensor
    intercepts: Tensor

    def logits(self, z: Tensor) -> Tensor:
        """z (n, d) -> (P, n, c); the weights are few, so it is they that are turned."""
        turned = torch.einsum("dr,prc->pdc", self.basis.turn, self.weights)
        return (z - self.basis.mean) @ turned + self.intercepts[:, None]

    def accuracy(self, z: Tensor, labels: Tensor) -> Tensor:
        """Share of labels (n,) that are found, by penalty (P,)."""
        return (self.logits(z).argmax(2) == labels).double().mean(1)


def fit_logistic(
    z: Tensor,
    labels: Tensor,
    classes: int,
    penalties: Sequence[float],
    start: Probes | None = None,
    tolerance: float = TOLERANCE,
) -> Probes:
    """Probes of one layer z (n, d) for labels (n,) int64, one for each penalty; `start` warms them up."""
    turned = basis(z) if start is None else start.basis
    return _fit(turned, z - turned.mean, labels, classes, penalties, start, tolerance)


def _fit(
    turned: Basis,
    z: Tensor,
    labels: Tensor,
    classes: int,
    penalties: Sequence[float],
    start: Probes | None,
    tolerance: float,
) -> Probes:
    """Probes on features z (n, d) that are centred by the basis `turned` already."""
    path, found = _path(turned, z, labels, classes, torch.as_tensor(penalties).to(z), start)
    live = torch.arange(len(penalties), device=z.device)
    for _ in range(STEPS):
        settled = path.step(tolerance)
        if bool(settled.any()):
            found[:, live[settled]] = path.weights()[:, settled]
            live = live[~settled]
            path.keep(~settled)
        if not len(live):
            break
    found[:, live] = path.weights()
    return Probes(turned, found[1:].permute(1, 0, 2), found[0])


def _path(
    turned: Basis, z: Tensor, labels: Tensor, classes: int, penalties: Tensor, start: Probes | None
) -> tuple[_Path, Tensor]:
    """The descent of all penalties on z (n, d), and the weights (1 + r, P, c) from which it sets out."""
    r = len(turned.spectrum)
    # Row 0 is the intercept, which no penalty holds; weights lie as (1 + r, P, c) for one product.
    ridge = torch.cat([torch.zeros_like(penalties)[None], penalties.expand(r, len(penalties))])
    hessian = torch.cat([z.new_ones(1), turned.spectrum])[:, None] / classes + ridge
    truth = torch.nn.functional.one_hot(labels, classes).to(z)
    target = torch.cat([truth.mean(0)[None], turned.turn.mT @ (z.mT @ truth) / len(z)])
    losses = _Losses(z, turned.turn, target, ridge)
    if start is None:
        first = z.new_zeros(1 + r, len(penalties), classes)
        seen = losses.at_zero(classes)
    else:
        first = _stacked(start)
        seen = losses(first)
    return _Path(losses, hessian.rsqrt(), first, seen, 2 / classes), first


@dataclass(slots=True)
class _Losses:
    """Penalised cross-entropies of all penalties: z (n, d) centred, turn (d, r), target (1 + r, c), ridge (1 + r, P).

    Features are left as they are: it is the weights and the gradient, which are few, that are turned.
    """

    z: Tensor
    turn: Tensor
    target: Tensor
    ridge: Tensor

    def __call__(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """w (1 + r, P, c) -> values (P,) and their gradient, of w's shape."""
        n = len(self.z)
        # Samples lie innermost, so that sums over the few classes run along them: (P, c, n).
        maps = self.turn @ w[1:].flatten(1)
        logits = torch.addmm(w[0].reshape(-1, 1), maps.mT, self.z.mT).view(*w.shape[1:], n)
        low, high = logits.aminmax()
        # Exponentials of small logits need no shift; NaN takes the careful way too.
        shift = 0.0 if bool((low > -SAFE) & (high < SAFE)) else logits.amax(1, keepdim=True)
        probability = logits.sub_(shift).exp_() if isinstance(shift, Tensor) else logits.exp_()
        total = probability.sum(1, keepdim=True)
        normaliser = (total.log() + shift).mean((1, 2))
        rows = probability.div_(total).flatten(0, 1)
        turned = self.turn.mT @ (rows @ self.z).mT
        inner = torch.cat([rows.sum(1)[None], turned]).view(w.shape) / n
        pull = self.ridge[..., None] * w
        value = normaliser + (w * (0.5 * pull - self.target[:, None])).sum((0, 2))
        return value, inner - self.target[:, None] + pull

    def at_zero(self, classes: int) -> tuple[Tensor, Tensor]:
        """The same at weights 0, where every class is equally probable and centred features sum to 0."""
        penalties = self.ridge.shape[1]
        gradient = -self.target[:, None].repeat(1, penalties, 1)
        gradient[0] += 1 / classes
        return self.z.new_full((penalties,), math.log(classes)), gradient


class _Path:
    """L-BFGS of all penalties side by side, in coordinates in which the Hessian at weights 0 is the identity.

    The first step is therefore Newton's. A gradient step of length `safe` never raises the objective; it is what a
    penalty falls back on, with its memory emptied, when a longer step has. `scale` (1 + r, P) leads from those
    coordinates back to weights.
    """

    def __init__(
        self, losses: _Losses, scale: Tensor, start: Tensor, seen: tuple[Tensor, Tensor], safe: float
    ) -> None:
        """`seen`: the values and gradients at `start`."""
        self.losses, self.scale, self.safe = losses, scale[..., None], safe
        self.v = start / self.scale
        self.value, self.gradient = seen[0], seen[1] * self.scale
        self.memory: list[tuple[Tensor, Tensor, Tensor]] = []

    def weights(self) -> Tensor:
        """(1 + r, P, c)"""
        return self.v * self.scale

    def step(self, tolerance: float) -> Tensor:
        """One step of every penalty; which of them have settled (P,)."""
        ahead = self.v - self._turned(self.gradient)
        value, gradient = self._look(ahead)
        fell = value <= self.value
        settled = fell & (self.value - value <= tolerance * value.abs())
        moved = fell.to(ahead)[None, :, None]
        s, y = moved * (ahead - self.v), moved * (gradient - self.gradient)
        self.v = torch.where(moved > 0, ahead, self.v)
        self.gradient = torch.where(moved > 0, gradient, self.gradient)
        self.value = torch.where(fell, value, self.value)
        self._remember(s, y, fell)
        return settled

    def keep(self, live: Tensor) -> None:
        """Goes on with the penalties of `live` (P,) alone."""
        self.v, self.gradient, self.scale = (one[:, live] for one in (self.v, self.gradient, self.scale))
        self.value = self.value[live]
        self.losses.ridge = self.losses.ridge[:, live]
        self.memory = [(s[:, live], y[:, live], rate[live]) for s, y, rate in self.memory]

    def _look(self, v: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self.losses(v * self.scale)
        return value, gradient * self.scale

    def _remember(self, s: Tensor, y: Tensor, fell: Tensor) -> None:
        curvature = _dot(s, y)
        rate = torch.where(curvature > 0, 1 / curvature.clamp_min(torch.finfo(s.dtype).tiny), 0.0)
        kept = [(a, b, torch.where(fell, c, 0.0)) for a, b, c in self.memory]
        self.memory = [*kept, (s, y, rate)][-MEMORY:]

    def _turned(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion; the gradient itself at first, and of safe length where a step has failed."""
        q, parts = gradient, []
        for s, y, rate in reversed(self.memory):
            parts.append(rate * _dot(s, q))
            q = q - parts[-1][None, :, None] * y
        if self.memory:
            s, y, rate = self.memory[-1]
            q = q * torch.where(rate > 0, 1 / (rate * _dot(y, y)).clamp_min(1e-12), self.safe)[None, :, None]
        for (s, y, rate), part in zip(self.memory, reversed(parts), strict=True):
            q = q + (part - rate * _dot(y, q))[None, :, None] * s
        return q


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(1 + r, P, c) twice -> (P,)."""
    return (a * b).sum((0, 2))


def _stacked(start: Probes) -> Tensor:
    return torch.cat([start.intercepts[None], start.weights.permute(1, 0, 2)]).contiguous()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A layer's probe with its penalty chosen on held-out samples, refitted on all training samples."""

    penalty: float
    validation_accuracy: float
    probes: Probes

    def accuracy(self, z: Tensor, labels: Tensor) -> float:
        """Accuracy on z (n, d), labels (n,)."""
        return float(self.probes.accuracy(z, labels)[0])


def choose_logistic(
    z: Tensor, labels: Tensor, classes: int, penalties: Sequence[float] = PENALTIES, held_out: float = 0.2
) -> Chosen:
    """Fit all penalties on the first part, choose on the last `held_out` of the samples, refit from there."""
    split = len(z) - max(1, round(held_out * len(z)))
    turned = basis(z[:split])
    centred = z - turned.mean
    fitted = _fit(turned, centred[:split], labels[:split], classes, penalties, None, CHOOSING)
    scores = fitted.accuracy(z[split:], labels[split:])
    # Among equals the largest penalty.
    best = max(range(len(penalties)), key=lambda i: (float(scores[i]), penalties[i]))
    start = Probes(fitted.basis, fitted.weights[best : best + 1], fitted.intercepts[best : best + 1])
    again = _fit(turned, centred, labels, classes, [penalties[best]], start, TOLERANCE)
    return Chosen(penalties[best], float(scores[best]), again)
