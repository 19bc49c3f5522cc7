"""Multinomial logistic probes of a layer, one penalty after another from the largest down.

Features are standardised, then turned into the eigenbasis of their correlation matrix. There the Hessian at weights 0,
(I − 11ᵀ/c)/c ⊗ Z'Z/n + λ, is diagonal: it conditions an L-BFGS. A penalty sets out from the weights of the one before
and takes its memory over: another penalty changes value, gradient and changes of the gradient by what is known exactly.
Böhning's bound, ½(I − 11ᵀ/c) ⊗ Z'Z/n + λ, is at most c/2 of that Hessian, and gives a step that cannot fail.
Letters: n samples, d features, r directions of the basis, c classes, P penalties, m remembered steps.
Source: Böhning 1992 for the bound; Nocedal 1980 for the recursion, Chen, Wang and Zhou 2014 for it in inner products.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import mul

import torch
from torch import Tensor

from bfc_core.probes.ridge import scatter

PENALTIES = tuple(10.0**e for e in range(-5, 1))
"""λ of the mean cross-entropy plus ½ λ |w|², features standardised."""
STEPS = 60
"""At most, for one penalty."""
TOLERANCE = 5e-6
"""A fit has settled when its next step promises to lower the objective by no more than this part of it."""
CHOOSING = 2e-4
"""The same while the penalty is being chosen, in nats: by Pinsker's inequality probabilities are then about 1 % from where
they settle, and the held-out labels that are found hardly change."""
FEWER, UNLIKELIER = 1.0, 2.0
"""Standard errors by which a penalty must find fewer held-out labels than the best one, and make them less likely, for it
and all smaller ones to be given up."""
MEMORY = 8
FAILURES = 2
"""In a row, after which the step follows that cannot fail."""
FLAT = 1e-14
"""Curvature along a step, in nats, that is no more than rounding."""
TAKEN = 2**19
"""Numbers that are worked on at a time, so that they are still in the cache for the second product."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardising and rotation of a layer's features, learnt on its training part: mean (d,), turn (d, r)."""

    mean: Tensor
    turn: Tensor
    spectrum: Tensor


def basis(z: Tensor) -> Basis:
    """The eigenbasis of the correlations of z (n, d); features that do not vary, and null directions, fall out."""
    mean = z.mean(0)
    return _basis(mean, z - mean)


def _basis(mean: Tensor, centred: Tensor) -> Basis:
    covariance = scatter(centred) / len(centred)
    deviation = covariance.diagonal().sqrt()
    varies = deviation > 1e-6 * deviation.max()
    scale = torch.where(varies, 1 / deviation, torch.zeros_like(deviation))
    values, vectors = torch.linalg.eigh(scale[:, None] * covariance * scale)
    kept = values > 1e-6 * values[-1]
    return Basis(mean, scale[:, None] * vectors[:, kept], values[kept])


@dataclass(frozen=True, slots=True)
class Probes:
    """Fitted probes of one layer: weights (P, r, c) and intercepts (P, c) in its basis."""

    basis: Basis
    weights: Tensor
    intercepts: Tensor

    def logits(self, z: Tensor) -> Tensor:
        """z (n, d) -> (P, n, c); the weights are few, so it is they that are turned."""
        maps = self.weights.mT @ self.basis.turn.mT
        return (maps @ (z - self.basis.mean).mT + self.intercepts[..., None]).mT

    def accuracy(self, z: Tensor, labels: Tensor) -> Tensor:
        """Share of labels (n,) that are found, by penalty (P,)."""
        return (self.logits(z).max(2).indices == labels).double().mean(1)


def _probes(turned: Basis, weights: Sequence[Tensor]) -> Probes:
    stacked = torch.stack(list(weights))
    return Probes(turned, stacked[..., 1:].mT, stacked[..., 0])


def fit_logistic(
    z: Tensor, labels: Tensor, classes: int, penalties: Sequence[float], tolerance: float = TOLERANCE
) -> Probes:
    """Probes of one layer z (n, d) for labels (n,) int64, one for each penalty."""
    turned = basis(z)
    path, found = _Path(_Losses(z - turned.mean, turned, labels, classes)), {}
    for penalty in sorted(penalties, reverse=True):
        path.move(penalty)
        path.settle(tolerance)
        found[penalty] = path.weights
    return _probes(turned, [found[penalty] for penalty in penalties])


class _Losses:
    """Mean cross-entropy of centred features z (n, d) at weights (c, 1 + r) in a basis; column 0 is the intercept.

    Features are left as they are: it is the weights and the gradient, which are few, that are turned.
    """

    def __init__(self, z: Tensor, turned: Basis, labels: Tensor, classes: int) -> None:
        self.turn, self.spectrum, self.classes, self.samples = turned.turn, turned.spectrum, classes, len(z)
        truth = z.new_zeros(classes, len(z)).scatter_(0, labels[None], 1.0)
        self.target = torch.cat([truth.mean(1, keepdim=True), truth @ z @ self.turn / len(z)], 1)
        parts = math.ceil(len(z) * (z.shape[1] + 2 * classes) / TAKEN)
        self.parts = list(zip(z.chunk(parts), labels[None].chunk(parts, 1), strict=True))

    def at_zero(self) -> tuple[float, Tensor]:
        """Value and gradient at weights 0, where every class is equally probable and centred features sum to 0."""
        gradient = -self.target
        gradient[:, 0] += 1 / self.classes
        return math.log(self.classes), gradient

    def __call__(self, w: Tensor) -> tuple[float, Tensor]:
        """Value and gradient at w."""
        intercepts, maps = w[:, :1], w[:, 1:] @ self.turn.mT
        value, counts, pull = w.new_zeros(()), torch.zeros_like(intercepts), torch.zeros_like(maps)
        for z, labels in self.parts:
            # Samples lie innermost, so that sums over the few classes run along them: (c, n).
            logits = torch.addmm(intercepts, maps, z.mT)
            rows = logits.softmax(0)
            # Sample by sample, since the sums of its two halves would cancel in all but the last digits.
            value += (logits.amax(0) - rows.amax(0).log() - logits.gather(0, labels)).sum()
            counts += rows.sum(1, keepdim=True)
            pull.addmm_(rows, z)
        mean = torch.cat([counts, pull @ self.turn], 1) / self.samples
        return float(value) / self.samples, mean - self.target


class _Path:
    """L-BFGS of one penalty after another, in coordinates in which the Hessian at weights 0 is the identity.

    The first step is therefore Newton's. A step that would raise the objective is not taken, only remembered; where that
    happens again, a gradient step of length 2/c follows, which cannot fail, with an empty memory. The m steps and
    changes of the gradient (m, c, 1 + r) are kept as weights are, since coordinates differ from penalty to penalty.
    """

    def __init__(self, losses: _Losses) -> None:
        self.losses, self.penalty, self.failures = losses, 0.0, 0
        self.value, self.gradient = losses.at_zero()
        self.weights = torch.zeros_like(self.gradient)
        self.steps = self.changes = self.weights.new_zeros(0, *self.weights.shape)
        self.held = torch.ones_like(self.gradient[0])
        self.held[0] = 0.0  # No penalty holds the intercept.

    def move(self, penalty: float) -> None:
        """Goes on with another penalty, from where it stands and with what it remembers."""
        more = (penalty - self.penalty) * self.held
        self.value += 0.5 * float((more * self.weights.square()).sum())
        self.gradient = self.gradient + more * self.weights
        self.changes = self.changes + more * self.steps
        bent = (self.steps * self.changes).sum((1, 2)) > FLAT
        self.steps, self.changes = self.steps[bent], self.changes[bent]
        self.penalty, self.failures = penalty, 0

    def turn_to(self, losses: _Losses) -> None:
        """Goes on with other samples, in the same basis."""
        self.losses, self.failures = losses, 0
        self.value, self.gradient = self._look(self.weights)

    def settle(self, tolerance: float) -> None:
        """Descends until a step promises no more than this part of the objective."""
        for promise in self.descend():
            if promise <= tolerance * self.value:
                break

    def descend(self) -> Iterator[float]:
        """Takes `STEPS` steps; before each, by how much it would lower the objective if that were as it is remembered."""
        for _ in range(STEPS):
            step, promise = self._step()
            yield promise
            if self.failures > FAILURES:
                # Not even the safe step lowered it: what is left is rounding.
                break
            self._try(step)

    def _step(self) -> tuple[Tensor, float]:
        spectrum = torch.cat([self.held.new_ones(1), self.losses.spectrum])
        scale = (spectrum / self.losses.classes + self.penalty * self.held).rsqrt()
        known = torch.cat([self.steps / scale, self.changes * scale, (self.gradient * scale)[None]]).flatten(
            1
        )
        inner = (known @ known.mT).tolist()
        parts = _recursion(inner)
        length = 2 / self.losses.classes if self.failures == FAILURES else 1.0
        step = (known.new_tensor(parts) @ known).view_as(self.gradient) * scale
        return length * step, 0.5 * sum(map(mul, parts, inner[-1]))

    def _try(self, step: Tensor) -> None:
        ahead = self.weights - step
        value, gradient = self._look(ahead)
        change = gradient - self.gradient
        if float((step * change).sum()) < -FLAT:
            self.steps = torch.cat([self.steps, -step[None]])[-MEMORY:]
            self.changes = torch.cat([self.changes, change[None]])[-MEMORY:]
        if value <= self.value:
            self.weights, self.value, self.gradient, self.failures = ahead, value, gradient, 0
            return
        self.failures += 1
        if self.failures == FAILURES:
            self.steps, self.changes = self.steps[:0], self.changes[:0]

    def _look(self, w: Tensor) -> tuple[float, Tensor]:
        value, gradient = self.losses(w)
        pull = self.penalty * self.held * w
        return value + 0.5 * float((pull * w).sum()), gradient + pull


def _recursion(inner: Sequence[Sequence[float]]) -> list[float]:
    """The parts of m steps, m changes of the gradient, and the gradient in the next step, from their inner products."""
    m = len(inner) // 2
    parts = [0.0] * (2 * m) + [1.0]
    firsts = [0.0] * m
    for i in reversed(range(m)):
        firsts[i] = sum(map(mul, parts, inner[i])) / inner[i][m + i]
        parts[m + i] -= firsts[i]
    if m:
        length = inner[m - 1][2 * m - 1] / inner[2 * m - 1][2 * m - 1]
        parts = [length * part for part in parts]
    for i in range(m):
        parts[i] += firsts[i] - sum(map(mul, parts, inner[m + i])) / inner[i][m + i]
    return parts


@dataclass(frozen=True, slots=True)
class _Held:
    """What a path makes of held-out samples: which labels it finds, and the logarithms of their probabilities, (n,)."""

    found: Tensor
    likelihood: Tensor

    @classmethod
    def of(cls, path: _Path, z: Tensor, labels: Tensor) -> _Held:
        """Of centred z (n, d), labels (n,)."""
        logits = torch.addmm(path.weights[:, :1], path.weights[:, 1:] @ path.losses.turn.mT, z.mT)
        return cls(logits.max(0).indices == labels, logits.gather(0, labels[None])[0] - logits.logsumexp(0))

    def worse_than(self, other: _Held) -> bool:
        """Fewer labels by `FEWER` standard errors of the difference, and less likely ones by `UNLIKELIER`."""
        lost, won = int((other.found & ~self.found).sum()), int((self.found & ~other.found).sum())
        if lost - won <= FEWER * math.sqrt(lost + won):
            return False
        less = other.likelihood - self.likelihood
        return float(less.mean()) > UNLIKELIER * float(less.std()) / math.sqrt(len(less))


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
    """Fit penalties from the largest down on the first part, choose on the last `held_out` of the samples, refit from there.

    Among equals the largest. Past the best one, fits come ever closer to the training samples: once held-out labels are
    clearly fewer and less likely, smaller penalties are not tried.
    """
    split = len(z) - max(1, round(held_out * len(z)))
    mean = z[:split].mean(0)
    centred = z - mean
    turned = _basis(mean, centred[:split])
    path = _Path(_Losses(centred[:split], turned, labels[:split], classes))
    best, most = path, None
    for penalty in sorted(penalties, reverse=True):
        path.move(penalty)
        seen = _watched(path, centred[split:], labels[split:], most)
        if most is None or seen.found.sum() > most.found.sum():
            best, most = copy.copy(path), seen
        elif seen.worse_than(most):
            break
    assert most is not None, "a penalty is given"
    best.turn_to(_Losses(centred, turned, labels, classes))
    best.settle(TOLERANCE)
    return Chosen(best.penalty, float(most.found.double().mean()), _probes(turned, [best.weights]))


def _watched(path: _Path, z: Tensor, labels: Tensor, most: _Held | None) -> _Held:
    """Descends on held-out z (n, d) and labels (n,) until settled, or worse than `most` twice, two steps apart."""
    worse = 0
    for turn, promise in enumerate(path.descend()):
        if promise <= CHOOSING:
            break
        if most is not None and turn and turn % 2 == 0:
            worse = worse + 1 if _Held.of(path, z, labels).worse_than(most) else 0
            if worse == 2:
                break
    return _Held.of(path, z, labels)
