"""Fully connected networks, K at a time, with a linear head on every layer: a network cut at a layer ends in its own.

Letters: K rows of the stack, n samples, q numbers read, m neurons a layer, o outputs. Weights are named `W1`, `c1`,
…, the head of layer l `a1` (o, m), …, and `b` (o).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.learners.base import Plan, Program, Weights
from bfc_core.registry import deed
from bfc_core.specs.model import Mlp, TreeConvnet
from bfc_core.specs.train import TrainSpec
from bfc_core.streams import stream

#: What an activation does, and the gain of the initial weights that keeps a unit second moment through it.
ACTIVATIONS: Mapping[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "relu": (torch.relu, math.sqrt(2.0)),
    "quadratic": (lambda z: (z.square() - 1) / math.sqrt(2.0), 1.0),
    "gelu": (torch.nn.functional.gelu, 1.5335),
    "tanh": (torch.tanh, 1.5927),
    "erf": (torch.erf, 1.4650),
    "linear": (lambda z: z, 1.0),
}


class MlpStack:
    """K networks of `depth` hidden layers; the output is b plus the head of the last layer that is present."""

    def __init__(
        self,
        rows: Sequence[TrainSpec],
        read_dim: int,
        output_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        model = rows[0].model
        assert isinstance(model, Mlp | TreeConvnet)
        self.specs, self.rows = tuple(rows), len(rows)
        self.layers = specs.layers(rows[0])
        self.read_dim, self.output_dim, self.width = read_dim, output_dim, model.width
        self.activation, self.gain = ACTIVATIONS[model.activation]
        self.parametrisation, self.output_scale = model.parametrisation, model.output_scale
        self.device, self.dtype = device, dtype

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            found[f"W{layer}"] = (self.width, self.fan_in(layer))
            found[f"c{layer}"] = (self.width,)
            found[f"a{layer}"] = (self.output_dim, self.head_fan_in(layer))
        return {**found, "b": (self.output_dim,)}

    def fan_in(self, layer: int) -> int:
        """Numbers that a layer reads."""
        return self.read_dim if layer == 1 else self.width

    def head_fan_in(self, layer: int) -> int:  # noqa: ARG002  wider where a layer has several places
        """Numbers that the head of a layer reads."""
        return self.width

    def subset(self, rows: Sequence[int]) -> MlpStack:
        chosen = copy.copy(self)
        chosen.specs = tuple(self.specs[i] for i in rows)
        chosen.rows = len(rows)
        return chosen

    def owner(self, name: str) -> int | None:
        return None if name == "b" else int(name[1:])

    def initial(self) -> dict[str, Tensor]:
        drawn = [self._draw(row, self.layers, 0) for row in range(self.rows)]
        found = {name: self._move(torch.stack([one[name] for one in drawn])) for name in drawn[0]}
        return {**found, "b": torch.zeros(self.rows, self.output_dim, dtype=self.dtype, device=self.device)}

    def redrawn(self, row: int, layers: Sequence[int], stage: int) -> dict[str, Tensor]:
        return {name: self._move(block) for name, block in self._draw(row, layers, stage).items()}

    def features(self, weights: Weights, u: Tensor) -> dict[int, Tensor]:
        return self._activations(weights, u, self.layers, torch.ones(()))

    def forward(self, weights: Weights, u: Tensor, plan: Plan) -> Tensor:
        flows = [float(backward != "detached") for backward in plan.backward]
        passes = torch.tensor(flows, dtype=self.dtype, device=self.device)[:, None, None]
        h = self._activations(weights, u, plan.present, passes)
        return self._read_out(weights, plan.present[-1], h[plan.present[-1]])

    def local_outputs(self, weights: Weights, u: Tensor, plan: Plan) -> list[Tensor]:
        """Each layer's own head on its own features; what it reads stops the gradient."""
        h = self._activations(weights, u, plan.present, torch.zeros((), device=self.device))
        return [self._read_out(weights, layer, h[layer]) for layer in plan.present]

    def penalty(self, weights: Weights, plan: Plan) -> Tensor | None:  # noqa: ARG002
        """Nothing: the objective is the squared error."""
        return None

    def program(self, plan: Plan) -> Program | None:  # noqa: ARG002  always differentiated
        return None

    def flops(self, plan: Plan, row: int) -> int:
        lowest = min(plan.train[row], default=None)
        read = self.head_fan_in(plan.present[-1])
        total = 2 * self.output_dim * read * (3 if lowest is not None else 1)
        for layer in plan.present:
            product = 2 * self.head_fan_in(layer) * self.fan_in(layer)
            total += product * (3 if lowest is not None and layer >= lowest else 1)
        return total

    def _activations(
        self, weights: Weights, u: Tensor, layers: Sequence[int], passes: Tensor
    ) -> dict[int, Tensor]:
        """h (K, n, m) of each layer; where `passes` is 0 a layer's input stops the gradient."""
        found: dict[int, Tensor] = {}
        h = u
        for layer in layers:
            read = h if layer == 1 else passes * h + (1 - passes) * h.detach()
            h = self.activation(self._mapped(weights, layer, read))
            found[layer] = h
        return found

    def _mapped(self, weights: Weights, layer: int, read: Tensor) -> Tensor:
        """What a layer's activation is given, of what the layer reads (K, n, q): (K, n, m)."""
        return read @ self._effective(weights, f"W{layer}").mT + weights[f"c{layer}"][:, None]

    def _read_out(self, weights: Weights, layer: int, h: Tensor) -> Tensor:
        return self.output_scale * (h @ self._effective(weights, f"a{layer}").mT + weights["b"][:, None])

    def _effective(self, weights: Weights, name: str) -> Tensor:
        factor = self.factor(name)
        return weights[name] if factor == 1.0 else weights[name] * factor

    def factor(self, name: str) -> float:
        """What a stored block is multiplied with before it acts.

        `standard` keeps variance 1/fan-in in the entries; `ntk` and `mean_field` keep it (or 1/fan-in² at the head)
        in the factor, so that entries are of size one; `mup` is `standard` with a head of 1/fan-in.
        """
        if self.parametrisation in ("standard", "mup"):
            head = name[0] == "a" and self.parametrisation == "mup"
            return 1 / math.sqrt(self.head_fan_in(int(name[1:]))) if head else 1.0
        fan = self.fan_in(int(name[1:])) if name[0] == "W" else self.head_fan_in(int(name[1:]))
        return 1 / fan if name[0] == "a" and self.parametrisation == "mean_field" else 1 / math.sqrt(fan)

    def _draw(self, row: int, layers: Sequence[int], stage: int) -> dict[str, Tensor]:
        """Float64 blocks of `layers`: W ~ N(0, gain²/fan-in) in effect, heads N(0, 1/fan-in), biases 0."""
        seed = specs.seeds(self.specs[row].seed).init
        found: dict[str, Tensor] = {}
        for layer in layers:
            generator = stream("init", seed, "weights", layer, *([stage] if stage else []))
            fan, read = self.fan_in(layer), self.head_fan_in(layer)
            gain = 1.0 if layer == 1 else self.gain
            entries = 1.0 if self.parametrisation in ("ntk", "mean_field") else 1 / math.sqrt(fan)
            head = 1.0 if self.parametrisation in ("ntk", "mean_field") else 1 / math.sqrt(read)
            head /= max(1.0, self.output_scale)
            w = torch.randn(self.width, fan, generator=generator, dtype=torch.float64)
            a = torch.randn(self.output_dim, read, generator=generator, dtype=torch.float64)
            found |= {
                f"W{layer}": gain * entries * w,
                f"c{layer}": torch.zeros(self.width),
                f"a{layer}": head * a,
            }
        return found

    def _move(self, block: Tensor) -> Tensor:
        return block.to(self.device, self.dtype)


@deed(Mlp)
def mlp(
    rows: Sequence[TrainSpec], read_dim: int, output_dim: int, device: torch.device, dtype: torch.dtype
) -> MlpStack:
    """The stack that trains `rows`, whose targets give `read_dim` numbers to read and `output_dim` outputs."""
    return MlpStack(rows, read_dim, output_dim, device, dtype)
