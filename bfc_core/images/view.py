"""The view that general probes have of one image network: a stack of K = 1.

x is network input, (n, c, h, w) or (n, d). Weights are named by block: `W<block>` (1, out, rest) is a block's
first convolution or map as a matrix; its other parameters are `W<block>.<name>` (1, …).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from torch.func import functional_call

from bfc_core import specs
from bfc_core.specs import TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher
from bfc_core.training.view import When

from .stage import Plan
from .taps import BATCH, pooled
from .trainee import Trainee


class ImageView:
    """A network in mid-training, as `bfc_core.training.view.View` promises it."""

    members = 1

    def __init__(self, trainee: Trainee, plan: Plan, step: int) -> None:
        self.trainee = trainee
        self.plan = plan
        self.specs: tuple[TrainSpec, ...] = (trainee.spec,)
        self.step = step
        self.stage = plan.index
        self.layers: tuple[int, ...] = plan.stage.present
        self._features: dict[tuple[int, When], tuple[Tensor, dict[int, Tensor]]] = {}
        self._inputs: dict[int, Tensor] = {}

    @property
    def teacher(self) -> Teacher:
        raise AttributeError("pictures have no teacher")

    def inputs(self, role: str, count: int) -> Tensor:  # noqa: ARG002 -- the view's promise names a role
        """The first `count` test inputs, whatever the role; fewer where there are fewer."""
        if count not in self._inputs:
            self._inputs[count] = self.trainee.inputs_of(self.trainee.data.test.inputs[:count])
        return self._inputs[count]

    def features(self, x: Tensor, when: When = "now") -> dict[int, Tensor]:
        """x -> block -> pooled features (1, n, d) of the blocks that are present."""
        key = (id(x), when)
        if key not in self._features:
            self._features[key] = (x, self._tapped(x, when))
        return self._features[key][1]

    def _tapped(self, x: Tensor, when: When) -> dict[int, Tensor]:
        values = self.values(when)
        found: dict[int, list[Tensor]] = {block: [] for block in self.layers}
        with self.trainee.reading():
            for rows in torch.split(x, BATCH):
                z = rows
                for number in self.layers:
                    z = self._one_block(number, values, z)
                    found[number].append(pooled(z))
        return {block: torch.cat(rows)[None] for block, rows in found.items()}

    def outputs(self, x: Tensor, when: When = "now") -> Tensor:
        """x -> scores (1, n, outputs)."""
        with torch.no_grad():
            return self.forward(self.weights(when), x)

    def weights(self, when: When = "now") -> Mapping[str, Tensor]:
        named = {}
        values = self.values(when)
        for number in self.layers:
            block = self.trainee.network.blocks[number - 1]
            main = self._main(number)
            for name, _ in block.named_parameters():
                value = values[f"blocks.{number - 1}.{name}"].detach()
                matrix = name == main
                named[f"W{number}" if matrix else f"W{number}.{name}"] = (
                    value.flatten(1) if matrix else value
                )[None]
        return named

    def _main(self, number: int) -> str:
        """The name of the first weight of a block that is a map."""
        parameters = self.trainee.network.blocks[number - 1].named_parameters()
        return next(name for name, value in parameters if value.ndim > 1)

    def forward(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Differentiable scores (1, n, outputs) at `weights`, statistics and heads as they are now."""
        values = dict(self.trainee.network.state_dict())
        for key, value in weights.items():
            layer, _, name = key.removeprefix("W").partition(".")
            number = int(layer)
            full = f"blocks.{number - 1}.{name or self._main(number)}"
            values[full] = value[0].view(values[full].shape)
        wanted = {block: f"{block}.{kind}" for block, kind in self.plan.read}
        total: Tensor | None = None
        with self.trainee.evaluation():
            for number in self.layers:
                x = self._one_block(number, values, x)
                if number in wanted:
                    scores = self.trainee.heads[wanted[number]](x)
                    total = scores if total is None else total + scores
        assert total is not None
        return total[None]

    def block_output(self, number: int, values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The output of block `number` from network inputs x, at `values`, differentiable in x."""
        for block in range(1, number + 1):
            x = self._one_block(block, values, x)
        return x

    def _one_block(self, number: int, values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        prefix = f"blocks.{number - 1}."
        own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
        output: Tensor = functional_call(self.trainee.network.blocks[number - 1], own, (x,))
        return output

    def values(self, when: When) -> Mapping[str, Tensor]:
        """All parameters and statistics of the network at a time."""
        if when == "now":
            return self.trainee.network.state_dict()
        return self.trainee.before if when == "before" else self.trainee.initial

    def generator(self, name: str) -> Generator:
        return stream("data", specs.seeds(self.trainee.spec.seed).data, "probe", name)
