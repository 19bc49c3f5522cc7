"""What a learner promises to the engine: a stack of K networks of one shape.

Letters: K rows of the stack, n samples, q numbers read of each, o outputs, m features of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from bfc_core.specs import Hold
from bfc_core.specs.schedule import Backward

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one stage asks of a stack: which layers stand, and for each row which train and how gradients flow."""

    present: tuple[int, ...]
    train: tuple[tuple[int, ...], ...]
    backward: tuple[Backward, ...]
    batch: int
    hold: Hold | None = None

    def subset(self, rows: Sequence[int]) -> Plan:
        """The plan of some rows."""
        train = tuple(self.train[i] for i in rows)
        return replace(self, train=train, backward=tuple(self.backward[i] for i in rows))


class Program(Protocol):
    """The arithmetic of one stage for a stack, on buffers of its own.

    `values` and `gradients` are flat; `blocks` lists for each block of weights its owner layer (None: always
    trains), and the views of values and gradients as (K, size).
    """

    values: Tensor
    gradients: Tensor
    blocks: list[tuple[Tensor, Tensor]]

    def gradient(self, batch: Tensor, norm: Tensor) -> None:
        """batch (K, B, q + 1 + o) of [u, 1, y]: fills `gradients`, and `norm` (K,) of the residuals."""
        ...

    def load(self, weights: Weights) -> None:
        """Copy named weights in; they are also what a hold is relative to."""
        ...

    def outputs(self, u: Tensor) -> Tensor:
        """u (K, n, q) -> F (K, n, o) at the present values, without gradients."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Copies of the named weights, those of absent layers as they were loaded."""
        ...

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views or copies (K, …) of a tensor laid out as `values`."""
        ...

    def join(self, named: Weights, flat: Tensor) -> None:
        """The inverse of `split`."""
        ...


class Learner(Protocol):
    """K networks of one shape."""

    rows: int
    layers: tuple[int, ...]
    output_dim: int
    output_scale: float
    device: torch.device
    dtype: torch.dtype

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each block of weights -> its shape in one row."""
        ...

    def subset(self, rows: Sequence[int]) -> Learner:
        """The stack of some rows, sharing their constants."""
        ...

    def initial(self) -> dict[str, Tensor]:
        """Named weights (K, …) as the `init` stream of each row draws them."""
        ...

    def redrawn(self, row: int, layers: Sequence[int], stage: int) -> dict[str, Tensor]:
        """The blocks of `row` that belong to `layers`, drawn anew for `stage`: name -> (…)."""
        ...

    def owner(self, name: str) -> int | None:
        """The layer that a block of weights belongs to; None for the global bias, which always trains."""
        ...

    def features(self, weights: Weights, u: Tensor) -> dict[int, Tensor]:
        """u (K, n, q) -> layer -> z (K, n, m)."""
        ...

    def forward(self, weights: Weights, u: Tensor, plan: Plan) -> Tensor:
        """u (K, n, q) -> F (K, n, o), differentiable in weights and u."""
        ...

    def local_outputs(self, weights: Weights, u: Tensor, plan: Plan) -> list[Tensor]:
        """For each present layer what its own loss sees (K, n, o); gradients reach that layer only."""
        ...

    def penalty(self, weights: Weights, plan: Plan) -> Tensor | None:
        """What the objective of each row adds to its squared error (K,), or None."""
        ...

    def program(self, plan: Plan) -> Program | None:
        """A gradient by hand for this plan, or None where the engine differentiates `forward`."""
        ...

    def flops(self, plan: Plan, row: int) -> int:
        """Floating-point operations of one sample's forward and backward pass in one row."""
        ...


#: The deed of a model's spec class: (train specs of the rows, teachers of the rows, device, dtype) -> learner.
LearnerDeed = Any
