"""Which of the teacher's neurons a layer holds.

Invariances: any invertible affine map of the learner's features; the effective form, orthogonal maps and a
common scaling only, since its ridge asks how large a direction is. Letters: K members, n samples, m features,
k teacher neurons, q numbers that the lowest level reads.
Source: docs/science.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bfc_core.probes.base import Reading, View, When
from bfc_core.probes.chosen import isotropic_maps, regression_inputs, teacher_layers
from bfc_core.probes.feature_error import centred
from bfc_core.probes.least_squares import affine_fit, affine_ridge, residual
from bfc_core.registry import deed
from bfc_core.specs import probe as words
from bfc_core.specs.data import Hierarchical

RIDGE = 1e-2
"""Of `captured_effective`, in units of the mean variance of the layer's features."""


def captured(z: Tensor, t: Tensor, ridge: float = 0.0) -> Tensor:
    """Captured (K, k) of teacher neurons t (n, k) by z (K, n, m): 1 − cross-fitted residual/variance.

    Each half is predicted by the fit on the other. Near chance it may fall a little below 0, as it should.
    """
    half, t = len(t) // 2, t.double()
    left = t.new_zeros(len(z), t.shape[1])
    for fit, test in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        zf, tf = z[:, fit], t[fit]
        beta = affine_ridge(zf, tf, ridge) if ridge else affine_fit(zf, tf)
        left = left + residual(z[:, test], t[test], beta).square().sum(1)
    return 1 - left / centred(t).square().sum(0)


def captured_subspace(z: Tensor, t: Tensor, ridge: float = 0.0) -> Tensor:
    """Captured (K, 1) of the span of t (n, k): the mean over its principal components.

    For a last level, whose neurons the label shows only as a sum of squares, so up to a rotation.
    """
    tc = centred(t.double())
    axes = torch.linalg.eigh(tc.mT @ tc).eigenvectors
    return captured(z, tc @ axes, ridge).mean(1, keepdim=True)


def captured_by_rows(w: Tensor, u: Tensor, ridge: float = 0.0) -> Tensor:
    """Captured (K, k) without sampling, where both are linear in isotropic inputs: |Proj_row(w) u_i|²/|u_i|².

    w (K, m, q) of the learner, u (k, q) of the teacher. With a ridge share, the shrunk projection's.
    """
    w, u = w.double(), u.double()
    units = u / u.norm(dim=1, keepdim=True)
    _, s, v = torch.linalg.svd(w, full_matrices=False)
    variance = s.square()
    if ridge:
        penalty = ridge * variance.sum(1, keepdim=True) / w.shape[1]
        kept = variance / (variance + penalty).clamp_min(torch.finfo(variance.dtype).tiny)
    else:
        cut = max(w.shape[1:]) * torch.finfo(s.dtype).eps * s[:, :1]
        kept = (s > cut).to(s.dtype)
    shares: Tensor = (v @ units.mT).square()
    # A direction kept to the share c leaves (1 − c)² of its variance: 1 − (1 − c)² = c(2 − c) is captured.
    found: Tensor = (kept * (2 - kept))[..., None] * shares
    # A projection's share is at most 1; the sum of squares may round above it.
    return found.sum(1).clamp_max(1.0)


def captured_chance(m: int, q: int) -> float:
    """What m random directions of q capture of any one, on average: m/q."""
    return min(1.0, m / q)


@deed(words.Captured)
def read_captured(spec: words.Captured, view: View) -> Iterable[Reading]:
    """Readings `captured/i`, `captured_effective/i` and `captured_initial/i` by neuron, strongest first.

    `…/subspace` at a hierarchical target's last level; `captured_chance` where it is known (the lowest level).
    """
    layers = teacher_layers(spec, view)
    x = regression_inputs(view, spec.inputs)
    t = view.teacher.features(x.double())
    for name, when, ridge in _forms(spec):
        z = view.features(x, when)
        for layer in layers:
            exact = isotropic_maps(view, layer, when)
            if _only_subspace(view, layer):
                yield Reading(f"{name}/subspace", captured_subspace(z[layer], t[layer], ridge)[:, 0], layer)
                continue
            values = captured_by_rows(*exact, ridge) if exact else captured(z[layer], t[layer], ridge)
            for i, column in enumerate(values.unbind(1)):
                yield Reading(f"{name}/{i}", column, layer)
    for layer in layers:
        exact = isotropic_maps(view, layer, "now")
        if exact:
            chance = captured_chance(exact[0].shape[1], exact[0].shape[2])
            yield Reading("captured_chance", torch.full((view.members,), chance, dtype=torch.float64), layer)


def _forms(spec: words.Captured) -> list[tuple[str, When, float]]:
    forms: list[tuple[str, When, float]] = [("captured", "now", 0.0), ("captured_initial", "init", 0.0)]
    return [*forms, ("captured_effective", "now", RIDGE)] if spec.effective else forms


def _only_subspace(view: View, layer: int) -> bool:
    """The label shows the last level of a hierarchical target as a sum of squares only."""
    data = view.specs[0].data
    return isinstance(data, Hierarchical) and layer == data.levels
