"""Optimisers and budgets."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bfc_core.specs.scalars import Decay, Flag, Index, NonNegative, Positive, Rate, Spec, Steps, by_default

RateDecay = Literal["cosine", "linear", "triangular", "step", "constant"]


class Adam(Spec):
    """Adam with warm-up, rate decay and gradient clipping by norm, each per model."""

    source: ClassVar[str] = "Kingma and Ba, arXiv 1412.6980"
    kind: Literal["adam"] = "adam"
    rate: Rate = 0.01
    """Peak step size."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    epsilon: Positive = 1e-8
    warmup_steps: Index = 100
    """Steps of linear warm-up at the start of each stage; never more than a tenth of it."""
    decay: RateDecay = "cosine"
    """Down to 1 % of the peak at the stage's end (`constant`: none; `step`: tenths at 1/2 and 3/4; `triangular`: up 20 %, then to 0)."""
    clip: Positive | None = 1.0
    """Largest gradient norm of one model; null for none."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay a step, times the rate."""


class Sgd(Spec):
    """Stochastic gradient descent with momentum."""

    source: ClassVar[str] = "Sutskever, Martens, Dahl, Hinton, ICML 2013"
    kind: Literal["sgd"] = "sgd"
    rate: Rate = 0.05
    """Peak step size."""
    momentum: Decay = 0.9
    nesterov: Flag = False
    warmup_steps: Index = 100
    """Steps of linear warm-up at the start of each stage; never more than a tenth of it."""
    decay: RateDecay = "cosine"
    """As for Adam."""
    clip: Positive | None = 1.0
    """Largest gradient norm of one model; null for none."""
    weight_decay: NonNegative = 0.0
    """L2 penalty added to the gradient."""


OptimizerSpec = Annotated[Adam | Sgd, Field(discriminator="kind"), by_default("adam")]


class Budget(Spec):
    """What one stage may spend."""

    steps: Steps = 2000
    """Optimiser steps of each stage."""
    batch: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 128
    """Samples a step."""


__all__ = ["Adam", "Budget", "OptimizerSpec", "RateDecay", "Sgd"]
