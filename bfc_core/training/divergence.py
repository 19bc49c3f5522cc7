"""A run whose loss is no longer a number, said with the step, the level and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from bfc_core.learners.base import Learner
from bfc_core.records import Failure
from bfc_core.specs import Stage, TrainSpec
from bfc_core.specs.optimizer import Adam

#: A loss this many times what predicting the mean would cost counts as lost: nothing comes back from there, and
#: squares soon overflow.
LOST = 1e8
#: Rates times weight decay from which on an update reverses a weight instead of shrinking it.
REVERSING = 2.0
#: A smaller ε than this is 0 in float32 arithmetic, or so close that 0/0 is not avoided.
SMALLEST_EPSILON = 1e-30


def noise_factor(spec: TrainSpec) -> float:
    """Variance of the training labels over Var y: 1 + σ² of the label noise."""
    return 1 + float(getattr(spec.data, "label_noise", 0.0)) ** 2


def diverged(
    step: int, what: str, error: float, variance: float, layer: int | None, stage: Stage, spec: TrainSpec
) -> Failure:
    """The failure of one member at global `step`, where `what` (training loss or test error) came to `error`."""
    said = "is no longer a number" if math.isnan(error) else f"reached {error:.3g}"
    where = "" if layer is None else f", its weights growing most in layer {layer}"
    message = f"the {what} {said} at step {step} (Var y is {variance:.3g}){where}"
    return Failure("diverged", message, step=step, layer=layer, hint=_hint(stage, step, spec))


def _hint(stage: Stage, step: int, spec: TrainSpec) -> str:
    scale = getattr(spec.model, "output_scale", 1.0)
    if not 1e-3 <= scale <= 1e3:
        why = "the output is multiplied by it, the loss divided by its square"
        return f"a model.output_scale nearer 1 than {scale:g}: {why}"
    if step == 0:
        return "the initial network overflows: fewer layers, or an activation other than quadratic"
    if stage.mode == "lazy":
        return "give schedule.ridge, which bounds the change of the weights"
    optimizer = stage.optimizer
    if isinstance(optimizer, Adam) and optimizer.epsilon < SMALLEST_EPSILON:
        return f"an optimizer.epsilon above {optimizer.epsilon:g}, such as 1e-08 (the default): it keeps 0/0 away"
    if optimizer.rate * optimizer.weight_decay >= REVERSING:
        return (
            f"rate times optimizer.weight_decay is {optimizer.rate * optimizer.weight_decay:g}, which enlarges weights; "
            f"a weight_decay below {1 / optimizer.rate:g}"
        )
    slower = f"a rate below {optimizer.rate:g}, such as {optimizer.rate / 3:.2g}"
    if optimizer.clip is None:
        return f"set optimizer.clip (1.0 is the default; Gaussian inputs diverge without it), or {slower}"
    return f"{slower}, a smaller optimizer.clip, or a longer warm-up"


def fastest_layer(learner: Learner, weights: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> int | None:
    """The layer of one row whose weights grew most against the start of the stage; non-finite counts most.

    `weights` and `start` are named blocks (…) of the row.
    """
    growth: dict[int, float] = {}
    for name, block in weights.items():
        owner = learner.owner(name)
        if owner is None or name not in start:
            continue
        ratio = float(block.double().norm() / start[name].double().norm().clamp_min(1e-6))
        growth[owner] = max(growth.get(owner, 0.0), math.inf if math.isnan(ratio) else ratio)
    return max(growth, key=lambda layer: growth[layer], default=None)
