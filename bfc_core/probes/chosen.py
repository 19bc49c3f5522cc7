"""Which layers a probe reads, and on which inputs."""

from __future__ import annotations

from torch import Tensor

from bfc_core.probes.base import View, When
from bfc_core.specs import probe as words
from bfc_core.specs.data import MultiIndex
from bfc_core.specs.model import QuadraticDensenet

ROLE = "probe"
"""One role for all probes of a run: equal counts then give equal inputs, whose features are computed once."""

INPUTS_PER_FEATURE = 40
"""Fresh inputs for each dimension of a layer, at least, where a layer is regressed on (docs/science.md)."""


def chosen_layers(spec: words.Probe, view: View) -> tuple[int, ...]:
    """The layers that the spec names, all when it names none, as far as they are present now."""
    return tuple(layer for layer in view.layers if spec.layers is None or layer in spec.layers)


def regression_inputs(view: View, count: int) -> Tensor:
    """Fresh x (n, d) with n at least `count` and 40 times the widest layer."""
    narrow = view.features(view.inputs(ROLE, 2))
    widest = max(z.shape[2] for z in narrow.values())
    return view.inputs(ROLE, max(count, INPUTS_PER_FEATURE * widest))


def teacher_layers(spec: words.Probe, view: View) -> tuple[int, ...]:
    """The chosen layers whose level has teacher features."""
    return tuple(layer for layer in chosen_layers(spec, view) if layer in view.teacher.levels)


def reads_inputs(view: View, layer: int) -> bool:
    """Whether the layer's features are a linear map of the embedding, nothing added: a quadratic network's lowest."""
    return isinstance(view.specs[0].model, QuadraticDensenet) and layer == 2


def reads_isotropic(view: View, layer: int) -> bool:
    """Whether, besides, what it maps is uncorrelated with unit variances."""
    data = view.specs[0].data
    return reads_inputs(view, layer) and not (isinstance(data, MultiIndex) and data.spike)


def isotropic_maps(view: View, layer: int, when: When) -> tuple[Tensor, Tensor] | None:
    """Learner's W (K, m, q) and teacher's W* (k, q) where both map the same uncorrelated numbers, else None."""
    matrix = view.teacher.matrices.get(layer) if reads_isotropic(view, layer) else None
    if matrix is None:
        return None
    w = view.weights(when)[f"W{layer}"]
    return w, matrix.to(w.device)
