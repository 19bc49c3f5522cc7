"""What a probe sees of a stack in mid-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Generator, Tensor

from bfc_core.specs import TrainSpec
from bfc_core.targets.base import Teacher

#: `init`: as initialised. `before`: at the start of the last stage begun. `now`: at this step.
When = Literal["now", "before", "init"]


class View(Protocol):
    """K members of a stack that share target and data streams, so that inputs and teacher are one for all.

    Everything is computed without gradients on the member's device. Letters: n inputs, d coordinates, q numbers
    a learner reads, m features of a layer, P numbers a block of weights holds.
    """

    specs: tuple[TrainSpec, ...]
    step: int
    stage: int

    @property
    def members(self) -> int:
        """K."""
        ...

    @property
    def teacher(self) -> Teacher:
        """The target; raises `AttributeError` where the data has none (images)."""
        ...

    @property
    def layers(self) -> tuple[int, ...]:
        """The learner's layers that are present now, numbered as in the teacher (blocks of other networks: 1…B)."""
        ...

    def inputs(self, role: str, count: int) -> Tensor:
        """Fresh x (count, d), the same at every step, arm and attempt for equal (`role`, `count`, data seed)."""
        ...

    def features(self, x: Tensor, when: When = "now") -> dict[int, Tensor]:
        """x (n, d) -> layer -> z (K, n, m), of every layer of the learner, present or not."""
        ...

    def outputs(self, x: Tensor, when: When = "now") -> Tensor:
        """x (n, d) -> F (K, n) with the layers present now."""
        ...

    def weights(self, when: When = "now") -> Mapping[str, Tensor]:
        """Named trainable blocks (K, …), such as `W2` (K, m, fan-in), `c3` (K, m), `b` (K,)."""
        ...

    def forward(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Differentiable F (K, n) at `weights` (K, …): for tangent kernels and gradients with respect to inputs."""
        ...

    def generator(self, name: str) -> Generator:
        """A CPU stream of the probe's own, the same at every step and arm of one data seed."""
        ...
