"""Multinomial logistic probes of many layers and penalties at once.

Features are standardised, then turned into the eigenbasis of their correlation matrix. There Böhning's bound on the
Hessian, ½(I − 11ᵀ/c) ⊗ (Z'Z/n + λ), is diagonal for every penalty, so that a bounded Newton step is a division,
shared by all penalties, and Nesterov's extrapolation makes up for what the bound gives away. All weights of a layer
meet its features in one product. Letters: n samples, d features, c classes, P penalties.
Source: Böhning 1992 for the bound; O'Donoghue and Candès 2015 for the restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = tuple(10.0**e for e in range(-5, 1))
"""λ of the mean cross-entropy plus ½ λ |w|², features standardised."""
STEPS = 60
"""At most; a fit stops when no penalty's objective moves by more than `TOLERANCE` of itself."""
TOLERANCE = 2e-5


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardising and rotation of a layer's features, learnt on its training part: mean (d,), turn (d, r)."""

    mean: Tensor
    turn: Tensor
    spectrum: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """z (n, d) -> (n, r)."""
        return (z - self.mean) @ self.turn


def basis(z: Tensor) -> Basis:
    """The eigenbasis of the correlations of z (n, d); features that do not vary, and null directions, fall out."""
    mean = z.mean(0)
    deviation = z.std(0, correction=0)
    varies = deviation > 1e-6 * deviation.max()
    scale = torch.where(varies, 1 / deviation, torch.zeros_like(deviation))
    standard = (z - mean) * scale
    values, vectors = torch.linalg.eigh((standard.mT @ standard / len(z)).double())
    kept = values > 1e-7 * values[-1]
    return Basis(mean, scale[:, None] * vectors[:, kept].to(z.dtype), values[kept].to(z.dtype))


@dataclass(frozen=True, slots=True)
class Probes:
    """Fitted probes of one layer: weights (P, r, c) and intercepts (P, c) in its basis."""

    basis: Basis
    weights: Tensor
    intercepts: Tensor

    def logits(self, z: Tensor) -> Tensor:
        """z (n, d) -> (P, n, c)."""
        return torch.einsum("nr,prc->pnc", self.basis(z), self.weights) + self.intercepts[:, None]

    def accuracy(self, z: Tensor, labels: Tensor) -> Tensor:
        """Share of labels (n,) that are found, by penalty (P,)."""
        return (self.logits(z).argmax(2) == labels).double().mean(1)


def fit_logistic(
    z: Tensor, labels: Tensor, classes: int, penalties: Sequence[float], start: Probes | None = None
) -> Probes:
    """Probes of one layer z (n, d) for labels (n,) int64, one for each penalty; `start` warms them up."""
    turned = basis(z) if start is None else start.basis
    return _descend(turned, turned(z), labels, classes, torch.as_tensor(penalties).to(z), start)


def _descend(
    turned: Basis, u: Tensor, labels: Tensor, classes: int, penalties: Tensor, start: Probes | None
) -> Probes:
    n, r = u.shape
    count = len(penalties)
    # Column 0 is the intercept, which no penalty holds; weights lie as (1 + r, P · c) for one product.
    design = torch.cat([u.new_ones(n, 1), u], dim=1)
    ridge = torch.cat([torch.zeros_like(penalties)[None], penalties.expand(r, count)])
    bound = 0.5 * torch.cat([u.new_ones(1), turned.spectrum])[:, None] + ridge
    w = u.new_zeros(1 + r, count, classes) if start is None else _stacked(start)
    target = design.mT @ torch.nn.functional.one_hot(labels, classes).to(u) / n
    previous, momentum, value = w, 1.0, u.new_full((count,), torch.inf)
    ahead = w
    for _ in range(STEPS):
        logits = (design @ ahead.view(1 + r, -1)).view(n, count, classes)
        normaliser = logits.logsumexp(2, keepdim=True)
        probability = logits.sub_(normaliser).exp_()
        objective = normaliser.mean((0, 2)) - (ahead * target[:, None]).sum((0, 2))
        objective = objective + 0.5 * (ridge[..., None] * ahead.square()).sum((0, 2))
        gradient = (
            (design.mT @ probability.view(n, -1)).view_as(w) / n - target[:, None] + ridge[..., None] * ahead
        )
        w = ahead - gradient / bound[..., None]
        if bool(((value - objective).abs() <= TOLERANCE * objective.abs()).all()):
            break
        # Where the objective rose, that penalty's momentum starts anew.
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        speed = torch.where(objective > value, 0.0, (momentum - 1) / following)
        ahead = w + speed[None, :, None] * (w - previous)
        previous, momentum, value = w, following, objective
    return Probes(turned, w[1:].permute(1, 0, 2), w[0])


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
    fitted = fit_logistic(z[:split], labels[:split], classes, penalties)
    scores = fitted.accuracy(z[split:], labels[split:])
    # Among equals the largest penalty.
    best = max(range(len(penalties)), key=lambda i: (float(scores[i]), penalties[i]))
    start = Probes(fitted.basis, fitted.weights[best : best + 1], fitted.intercepts[best : best + 1])
    again = fit_logistic(z, labels, classes, [penalties[best]], start)
    return Chosen(penalties[best], float(scores[best]), again)
