"""What a layer misses of each teacher neuron, by polynomial degree; and the split of the output's quadratic forms.

The degrees are a headline: they need no choice of coordinates. The split of M − M* is not: level 3 absorbs part of
what level 2 misses, and how much depends on the read-out, so it is given for a fixed read-out only and named `split`.
Letters: K members, n samples, m features, k teacher neurons, q numbers that the lowest level reads, d inputs.
Source: docs/science.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import isotropic_maps, regression_inputs, teacher_layers
from bfc_core.probes.feature_error import centred
from bfc_core.probes.least_squares import affine_fit, residual
from bfc_core.probes.noise import Law, degree_weights
from bfc_core.registry import deed
from bfc_core.specs import probe as words
from bfc_core.specs.data import Hierarchical, MultiIndex, Parity, Staircase
from bfc_core.specs.model import QuadraticDensenet
from bfc_core.targets.hierarchical import HierarchicalTeacher


def missing_rows(w: Tensor, u: Tensor) -> Tensor:
    """u_i/|u_i| less its projection on the rows of w: (K, k, q) of w (K, m, q), u (k, q)."""
    units = (u / u.norm(dim=1, keepdim=True)).double()
    _, s, v = torch.linalg.svd(w.double(), full_matrices=False)
    cut = max(w.shape[1:]) * torch.finfo(torch.float64).eps * s[:, :1]
    kept = v * (s > cut)[..., None]
    missing: Tensor = units - (units @ kept.mT) @ kept
    return missing


def split_shares(a: Tensor, b: Tensor, d: int) -> dict[str, Tensor]:
    """Squared norm of A'A − B'B over |B'B|² (K,): by the span of B's rows, and by degree.

    a (K, m, q) and b (k, q) with the read-out's factors in them; the first d numbers read are x, the rest h_1.
    `span`, `cross`, `orthogonal` add up to the whole, as do `degree_2` (x x), `degree_3` (x h_1), `degree_4` (h_1 h_1).
    """
    a, b = a.double(), b.double()
    apart = a.mT @ a - b.mT @ b
    whole = (b.mT @ b).square().sum()
    basis = torch.linalg.svd(b, full_matrices=False).Vh
    p = basis.mT @ basis
    rest = torch.eye(len(p), dtype=p.dtype, device=p.device) - p

    def share(part: Tensor) -> Tensor:
        return part.square().sum((1, 2)) / whole

    return {
        "span": share(p @ apart @ p),
        "cross": 2 * share(p @ apart @ rest),
        "orthogonal": share(rest @ apart @ rest),
        "degree_2": share(apart[:, :d, :d]),
        "degree_3": 2 * share(apart[:, :d, d:]),
        "degree_4": share(apart[:, d:, d:]),
    }


@deed(words.Degrees)
def read_degrees(spec: words.Degrees, view: View) -> Iterable[Reading]:
    """Readings `degrees/j` with `degrees_error/j`, in units of the layer's teacher variance, and `split/…`.

    At the lowest level exact, also by neuron as `degrees/j/i`; above by noise operator.
    """
    for layer in teacher_layers(spec, view):
        maps = isotropic_maps(view, layer, "now")
        if maps is not None:
            yield from _exact(view, layer, *maps)
        else:
            yield from _sampled(spec, view, layer)


def _exact(view: View, layer: int, w: Tensor, u: Tensor) -> Iterator[Reading]:
    """The lowest level is linear in [x, h_1], orthonormal of degrees 1 and 2."""
    d, missing = view.teacher.input_dim, missing_rows(w, u)
    scale = u.double().square().sum(1)
    for degree, part in ((1, missing[:, :, :d]), (2, missing[:, :, d:])):
        shares = part.square().sum(2)
        yield Reading(f"degrees/{degree}", (shares * scale).sum(1) / scale.sum(), layer)
        for i, column in enumerate(shares.unbind(1)):
            yield Reading(f"degrees/{degree}/{i}", column, layer)
    yield from _split(view, layer, w, u)


def _split(view: View, layer: int, w: Tensor, u: Tensor) -> Iterator[Reading]:
    """The parts of a_2 W'W − (α_2/s_2) W*'W*: what the level adds to the output, against what it should."""
    model, data, teacher = view.specs[0].model, view.specs[0].data, view.teacher
    if not isinstance(model, QuadraticDensenet) or model.readout != "fixed":
        return
    if not isinstance(data, Hierarchical) or not isinstance(teacher, HierarchicalTeacher) or not data.gap[0]:
        return
    x = teacher.inputs(8, view.generator("split")).double()
    norms = teacher.features(x)[layer].square().sum(1)
    parts = teacher.level_outputs(x)[layer]
    # Both forms carry α's sign; the level's output is affine in |z*|², so two points would do for its slope.
    theirs = float(((norms - norms.mean()) @ parts / (norms - norms.mean()).square().sum()).abs())
    ours = abs(data.gap[0]) / (2 * data.width) ** 0.5
    shares = split_shares(ours**0.5 * w.double(), theirs**0.5 * u.double(), teacher.input_dim)
    for name, share in shares.items():
        yield Reading(f"split/{name}", share, layer)


def _sampled(spec: words.Degrees, view: View, layer: int) -> Iterator[Reading]:
    law = law_of(view)
    if law is None:
        none = torch.zeros(view.members, dtype=torch.float64)
        yield Reading("degrees/1", none, layer, undefined="the inputs have no noise operator here")
        return
    teacher = view.teacher
    x = regression_inputs(view, spec.inputs).double()
    beta = affine_fit(view.features(x)[layer], teacher.features(x)[layer])

    def left(points: Tensor) -> Tensor:
        here = points.to(beta.device)
        return residual(view.features(here)[layer], teacher.features(here)[layer], beta).cpu()

    whole = centred(teacher.features(x)[layer]).square().sum() / len(x)
    degree = min(spec.highest, 2 ** (layer - 1))
    weights, errors = degree_weights(left, x.cpu(), law, degree, view.generator(f"degrees {layer}"))
    for j in range(1, degree + 1):
        yield Reading(f"degrees/{j}", weights[:, j] / whole.cpu(), layer)
        yield Reading(f"degrees_error/{j}", errors[:, j] / whole.cpu(), layer)


def law_of(view: View) -> Law | None:
    """The law of the inputs' coordinates, where they are iid of one that has a noise operator."""
    data = view.specs[0].data
    if isinstance(data, Hierarchical):
        return data.inputs
    if isinstance(data, Staircase | Parity):
        return "sign"
    return "gaussian" if isinstance(data, MultiIndex) and not data.spike else None
