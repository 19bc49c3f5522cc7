"""How far a layer's weights went from where they started.

Invariances: a common scaling of all weights; no others, for neurons may swap without any change of the function.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import chosen_layers
from bfc_core.registry import deed
from bfc_core.specs import probe as words


def movement(start: Tensor, now: Tensor) -> Tensor:
    """|W − W₀|/|W₀| (K,) of weights (K, …); infinite where a member started from nought and moved."""
    apart = (now.double() - start.double()).flatten(1).square().sum(1)
    return (apart / start.double().flatten(1).square().sum(1)).sqrt()


@deed(words.Movement)
def read_movement(spec: words.Movement, view: View) -> Iterable[Reading]:
    """Readings `movement` (from initialisation) and `movement_stage` (from the last stage's start) by layer."""
    now = view.weights()
    for layer in chosen_layers(spec, view):
        name = f"W{layer}"
        if name in now:
            yield Reading("movement", movement(view.weights("init")[name], now[name]), layer)
            yield Reading("movement_stage", movement(view.weights("before")[name], now[name]), layer)
