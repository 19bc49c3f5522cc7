"""The view that probes have of some rows of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from bfc_core import specs
from bfc_core.learners.base import Learner, Plan
from bfc_core.specs.schedule import Backward
from bfc_core.specs.train import TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.view import When


@dataclass
class StackView:
    """K rows of equal data; `learner`, `plan` and the weights are those of these rows alone."""

    specs: tuple[TrainSpec, ...]
    step: int
    stage: int
    learner: Learner
    plan: Plan
    layers: tuple[int, ...]
    evaluation: Evaluation
    found: Mapping[When, Mapping[str, Tensor]]
    _features: dict[tuple[int, When], tuple[Tensor, dict[int, Tensor]]] = field(
        default_factory=dict, repr=False
    )

    @property
    def members(self) -> int:
        return len(self.specs)

    @property
    def teacher(self) -> Teacher:
        return self.evaluation.teacher(self.specs[0])

    def inputs(self, role: str, count: int) -> Tensor:
        return self.evaluation.inputs(self.specs[0], role, count)

    @torch.no_grad()
    def features(self, x: Tensor, when: When = "now") -> dict[int, Tensor]:
        # Several probes read the same inputs; the key holds x itself, so its identity cannot pass to another.
        key = (id(x), when)
        if key not in self._features:
            self._features[key] = (x, self.learner.features(self.weights(when), self._read(x)))
        return self._features[key][1]

    @torch.no_grad()
    def outputs(self, x: Tensor, when: When = "now") -> Tensor:
        return self.forward(self.weights(when), x)

    def weights(self, when: When = "now") -> Mapping[str, Tensor]:
        return self.found[when]

    def forward(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        # A probe's derivatives are those of the network, not of the stage's stopped gradients.
        full: Backward = "full"
        plan = replace(self.plan, backward=(full,) * self.members)
        output = self.learner.forward(weights, self._read(x), plan)
        return output.squeeze(2) if output.shape[2] == 1 else output

    def generator(self, name: str) -> Generator:
        return stream("data", specs.seeds(self.specs[0].seed).data, "probe", name)

    def _read(self, x: Tensor) -> Tensor:
        u = self.teacher.embed(x.to(self.learner.device, self.learner.dtype))
        return u.expand(self.members, -1, -1)


def chosen_rows(weights: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Named blocks of some rows."""
    index = torch.tensor(list(rows))
    return {name: block[index.to(block.device)] for name, block in weights.items()}


__all__ = ["StackView", "chosen_rows"]
