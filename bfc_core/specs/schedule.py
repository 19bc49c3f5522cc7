"""Schedules: named lists of stages that say which layers are present and which train, when."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bfc_core.specs.optimizer import Budget, OptimizerSpec
from bfc_core.specs.scalars import Flag, Level, NonNegative, Positive, Spec, Width, by_default

Backward = Literal["full", "detached", "local"]


class StageSpec(Spec):
    """One stage: which layers stand, which train, and how the gradient flows."""

    present: tuple[Level, ...] | None = None
    """Layers that stand in the network; all when left out."""
    train: tuple[Level, ...] | None = None
    """Layers that train, with their biases, read-outs and statistics; those present when left out, `[]` for none."""
    reinitialise: tuple[Level, ...] = ()
    """Layers drawn anew at the start of the stage."""
    backward: Backward = "full"
    """`detached`: features stop the gradient, the residual is global; `local`: each layer has its own loss."""
    budget: Budget | None = None
    """This stage's own budget; the job's when left out."""
    optimizer: OptimizerSpec | None = None
    """This stage's own optimiser; the job's when left out."""
    head: Literal["linear", "convolutional"] | None = None
    """Head of a network cut below its end; the model's when left out."""


class Stages(Spec):
    """An explicit list of stages."""

    kind: Literal["stages"] = "stages"
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1, max_length=200)]

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"kind": "stages", "stages": [{"present": [2], "train": [2]}, {"backward": "detached"}]}


class Joint(Spec):
    """All layers together from the start."""

    kind: Literal["joint"] = "joint"


class Layerwise(Spec):
    """Layer by layer: each stage adds one layer and trains it alone, with the full budget."""

    kind: Literal["layerwise"] = "layerwise"


class LayerwiseThenJoint(Spec):
    """Layer by layer, then all together: the stage in which backward feature correction can happen."""

    kind: Literal["layerwise_then_joint"] = "layerwise_then_joint"


class Sliding(Spec):
    """Layer by layer, each stage training the newest `window` layers; with `equal_updates` the greedy control."""

    kind: Literal["sliding"] = "sliding"
    window: Level = 2
    """How many of the newest layers train; 1 is `layerwise`."""
    equal_updates: Flag = False
    """Instead each layer trains alone, its stage repeated as often as the layer was in the window."""


class Window(Spec):
    """Stage 1 trains layers ≤ l jointly; stage 2 freezes layers ≤ l − k and trains all others."""

    kind: Literal["window"] = "window"
    train_up_to: Level = 2
    """l, the last layer of stage 1."""
    free: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 1
    """k, how many of the trained layers stay free in stage 2."""
    equal_updates: Flag = False
    """The control: layers l − k + 1 … l get stage 2's updates before any higher layer is present, then freeze."""


class Longer(Spec):
    """Layerwise with every stage doubled: the layer alone, with as many updates as it gets in `layerwise_then_joint`."""

    kind: Literal["longer"] = "longer"


class Detached(Spec):
    """After layerwise all layers train, but features stop the gradient: what correction is without its backward path."""

    kind: Literal["detached"] = "detached"


class UpperFrozen(Spec):
    """After layerwise one lower layer trains alone while the upper ones are present but frozen."""

    kind: Literal["upper_frozen"] = "upper_frozen"
    level: Level | None = None
    """The layer that trains; the lowest when left out."""


class Reinitialised(Spec):
    """After layerwise the lower layers are drawn anew and all train: is it correction or relearning?"""

    kind: Literal["reinitialised"] = "reinitialised"


class Cyclic(Spec):
    """After layerwise, back-fitting: one layer at a time with all present, round and round."""

    kind: Literal["cyclic"] = "cyclic"
    cycles: Annotated[int, Field(strict=True, ge=1, le=1000)] = 5
    """Rounds; they share one stage's budget, so that each layer gets the updates that the joint stage would give it."""


class Minimal(Spec):
    """After layerwise all train, the lower layers held near where they were: how much correction is needed."""

    kind: Literal["minimal"] = "minimal"
    penalty: NonNegative | None = None
    """μ of the penalty μ|W − W_before|² on the lower layers."""
    rank: Width | None = None
    """Largest rank of the change of each lower layer."""
    lazy: Flag = False
    """Linearise the network in the lower layers' change."""

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"kind": "minimal", "penalty": 0.01}


class Staged(Spec):
    """The paper's algorithm: wide W distilled into narrow K level by level, lower levels staying trainable."""

    kind: Literal["staged"] = "staged"
    wide: Width = 64
    """Neurons of the wide W of each level."""
    regulariser: NonNegative = 1e-4
    """Weight of the squared norms of W and K."""
    distillation: Positive = 1.0
    """Weight of the loss that pulls KᵀK towards W's quadratic forms."""
    thresholds: tuple[Positive, ...] | None = None
    """Relative error below which the next level starts, one a level; when left out, each level gets its stage's budget."""


class Lazy(Spec):
    """Gradient flow of the network linearised at its initialisation, by full batches, to convergence."""

    source: ClassVar[str] = (
        "Jacot, Gabriel, Hongler, arXiv 1806.07572; Chizat, Oyallon, Bach, arXiv 1812.07956"
    )
    kind: Literal["lazy"] = "lazy"
    ridge: NonNegative = 0.0
    """Penalty on the distance from the initialisation; 0 is the flow's own limit."""


ScheduleSpec = Annotated[
    Joint | Layerwise | LayerwiseThenJoint | Sliding | Window | Longer | Detached | UpperFrozen | Reinitialised | Cyclic
    | Minimal | Staged | Lazy | Stages,
    Field(discriminator="kind"), by_default("joint"),
]  # fmt: skip

__all__ = [
    "Backward", "Cyclic", "Detached", "Joint", "Layerwise", "LayerwiseThenJoint", "Lazy", "Longer", "Minimal",
    "Reinitialised", "ScheduleSpec", "Sliding", "StageSpec", "Staged", "Stages", "UpperFrozen", "Window",
]  # fmt: skip
