"""The paper's learner, K networks at a time: z_l = W_l [h_j]_{j<l} + c_l, F = b + Σ_l a_l |z_l|² or b + Σ_l v_l·h_l.

Letters: K rows of the stack, n samples, q numbers read ([x, h_1]), m neurons a level, p expanded features a level.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from bfc_core import specs
from bfc_core.learners.base import Plan, Program, Weights
from bfc_core.learners.quadratic_program import QuadraticProgram
from bfc_core.registry import deed
from bfc_core.specs.data import Hierarchical
from bfc_core.specs.model import QuadraticDensenet
from bfc_core.specs.schedule import Backward, Staged
from bfc_core.specs.train import TrainSpec
from bfc_core.streams import stream


def expanded_width(model: QuadraticDensenet) -> int:
    """p: m(m+1)/2 random directions span every quadratic of m neurons; without expansion m."""
    return model.width * (model.width + 1) // 2 if model.expansion == "random" else model.width


def teacher_width(spec: TrainSpec) -> int:
    """k of the initial law N(0, k/(m·fan-in)): the teacher's, or m/2 for a target without one."""
    if isinstance(spec.data, Hierarchical):
        return spec.data.width
    return max(1, _model(spec).width // 2)


def _model(spec: TrainSpec) -> QuadraticDensenet:
    assert isinstance(spec.model, QuadraticDensenet)
    return spec.model


def fixed_readout(spec: TrainSpec, layers: Sequence[int]) -> list[float]:
    """a_l = α_l/√(2k) of each layer: a learner with this read-out is told the gap."""
    assert isinstance(spec.data, Hierarchical)
    scale = math.sqrt(2 * spec.data.width)
    return [spec.data.gap[layer - 2] / scale for layer in layers]


class QuadraticStack:
    """K quadratic DenseNets of one shape; weights are named `W2`, `W3`, …, `c3`, …, `v2`, … (signed) and `b`."""

    output_dim = 1

    def __init__(
        self, rows: Sequence[TrainSpec], read_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        model = _model(rows[0])
        self.specs = tuple(rows)
        self.rows = len(rows)
        self.layers = specs.layers(rows[0])
        self.read_dim = read_dim
        self.width = model.width
        self.expanded = expanded_width(model)
        self.signed = model.readout == "signed"
        self.random_expansion = model.expansion == "random"
        self.parametrisation = model.parametrisation
        self.output_scale = model.output_scale
        self.device, self.dtype = device, dtype
        self.reading_program: QuadraticProgram | None = None
        #: R_l (K, p, m): fixed random unit rows, of the `init` stream
        self.expansions = self._draw_expansions()
        if not self.signed:
            readout = [fixed_readout(spec, self.layers) for spec in rows]
            #: a_l (K, L − 1)
            self.readout = torch.tensor(readout, dtype=torch.float64).to(device, dtype)

    def initial(self) -> dict[str, Tensor]:
        drawn = [self._draw(row, self.layers, 0) | {"b": torch.zeros(())} for row in range(self.rows)]
        return {name: self._move(torch.stack([one[name] for one in drawn])) for name in self.shapes()}

    def redrawn(self, row: int, layers: Sequence[int], stage: int) -> dict[str, Tensor]:
        return {name: self._move(block) for name, block in self._draw(row, layers, stage).items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            found[f"W{layer}"] = (self.width, self.fan_in(layer))
            if layer > 2:
                found[f"c{layer}"] = (self.width,)
            if self.signed:
                found[f"v{layer}"] = (self.expanded,)
        return {**found, "b": ()}

    def subset(self, rows: Sequence[int]) -> QuadraticStack:
        chosen = copy.copy(self)
        chosen.specs = tuple(self.specs[i] for i in rows)
        chosen.rows = len(rows)
        chosen.reading_program = None
        index = torch.tensor(list(rows), device=self.device)
        chosen.expansions = {layer: block[index] for layer, block in self.expansions.items()}
        if not self.signed:
            chosen.readout = self.readout[index]
        return chosen

    def owner(self, name: str) -> int | None:
        return None if name == "b" else int(name[1:])

    def fan_in(self, layer: int) -> int:
        """Numbers that a layer reads: [x, h_1, h_2, …, h_{l−1}]."""
        return self.read_dim + self.expanded * (layer - 2)

    def features(self, weights: Weights, u: Tensor) -> dict[int, Tensor]:
        if any(block.requires_grad for block in (u, *weights.values())):
            return self._levels(weights, u, self.layers, detached=None)[0]
        reader = self._reader()
        reader.load({name: self._effective(weights, name) for name in weights})
        return reader.features(u)

    def _reader(self) -> QuadraticProgram:
        """A program over all levels that trains nothing, to read features with."""
        if self.reading_program is None:
            nothing: tuple[tuple[int, ...], ...] = ((),) * self.rows
            full: Backward = "full"
            self.reading_program = QuadraticProgram(self, Plan(self.layers, nothing, (full,) * self.rows, 1))
        return self.reading_program

    def forward(self, weights: Weights, u: Tensor, plan: Plan) -> Tensor:
        z, h = self._levels(weights, u, plan.present, self._cut(plan))
        output = weights["b"][:, None].expand(-1, u.shape[1])
        for layer in plan.present:
            output = output + self._part(weights, layer, z, h)
        return (self.output_scale * output).unsqueeze(2)

    def local_outputs(self, weights: Weights, u: Tensor, plan: Plan) -> list[Tensor]:
        """Layer l's loss sees the output up to l, with all below it held: layerwise training at one stroke."""
        z, h = self._levels(
            weights, u, plan.present, torch.zeros(self.rows, 1, 1, dtype=self.dtype, device=self.device)
        )
        below = weights["b"][:, None].expand(-1, u.shape[1])
        found = []
        for layer in plan.present:
            last = layer == plan.present[-1]
            output = (below if last else below.detach()) + self._part(weights, layer, z, h)
            found.append((self.output_scale * output).unsqueeze(2))
            below = below + self._part(weights, layer, z, h).detach()
        return found

    def penalty(self, weights: Weights, plan: Plan) -> Tensor | None:  # noqa: ARG002
        """Nothing: the objective is the squared error."""
        return None

    def program(self, plan: Plan) -> Program | None:
        """By hand for the standard parametrisation; the rest is differentiated."""
        plain = self.parametrisation == "standard" and self.output_scale == 1.0
        held = plan.hold is not None and plan.hold.penalty is None
        if not plain or held or "local" in plan.backward:
            return None
        return QuadraticProgram(self, plan)

    def flops(self, plan: Plan, row: int) -> int:
        lowest = min(plan.train[row], default=None)
        total = 0
        for layer in plan.present:
            expands = self.signed or layer < plan.present[-1]
            squares = 2 * self.width * self.expanded * expands * self.random_expansion
            total += 2 * self.width * self.fan_in(layer) + squares
            if lowest is not None and layer >= lowest:
                total += 2 * 2 * self.width * self.fan_in(layer) + squares
        return total

    def weight_scale(self, name: str) -> float:
        """Factor between a stored block and what it acts as: 1 in the standard parametrisation."""
        if self.parametrisation == "standard" or name[0] in "bc":
            return 1.0
        return self._deviation(name)

    def _deviation(self, name: str) -> float:
        """Standard deviation of a block's initial entries, in the parametrisation's own scale of its read-out."""
        layer = int(name[1:])
        if name[0] == "W":
            return math.sqrt(teacher_width(self.specs[0]) / (self.width * self.fan_in(layer)))
        fan = self.expanded
        return 1.0 / fan if self.parametrisation in ("mean_field", "mup") else 1.0 / math.sqrt(fan)

    def _cut(self, plan: Plan) -> Tensor | None:
        """(K, 1, 1): 0 where the row's features stop the gradient, else 1; None where no row's do."""
        if "detached" not in plan.backward:
            return None
        flows = [float(backward != "detached") for backward in plan.backward]
        return torch.tensor(flows, dtype=self.dtype, device=self.device)[:, None, None]

    def _levels(
        self, weights: Weights, u: Tensor, layers: Sequence[int], detached: Tensor | None
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """z (K, n, m) and h (K, n, p) of each layer; a row whose `detached` is 0 passes no gradient through h."""
        z: dict[int, Tensor] = {}
        h: dict[int, Tensor] = {}
        expanding = layers if self.signed else layers[:-1]
        for layer in layers:
            z[layer] = self._map(weights, f"W{layer}", f"c{layer}", layer, u, h, detached)
            if layer in expanding:
                h[layer] = self.expand(layer, z[layer])
        return z, h

    def _map(
        self,
        weights: Weights,
        name: str,
        bias: str,
        layer: int,
        u: Tensor,
        h: Mapping[int, Tensor],
        detached: Tensor | None = None,
    ) -> Tensor:
        """A linear map of what `layer` reads, [u, h_2, …, h_{l−1}], and its bias: (K, n, rows of the map)."""
        w = self._effective(weights, name)
        found = u @ w[:, :, : self.read_dim].mT
        for lower in range(2, layer):
            start = self.read_dim + self.expanded * (lower - 2)
            read = h[lower]
            if detached is not None:
                read = detached * read + (1 - detached) * read.detach()
            found = found + read @ w[:, :, start : start + self.expanded].mT
        return found if layer == 2 else found + weights[bias][:, None]

    def expand(self, layer: int, z: Tensor) -> Tensor:
        """z (K, n, m) -> h (K, n, p)."""
        if not self.random_expansion:
            return z.square()
        return ((z @ self.expansions[layer].mT).square() - 1) / math.sqrt(2.0)

    def _part(self, weights: Weights, layer: int, z: Mapping[int, Tensor], h: Mapping[int, Tensor]) -> Tensor:
        """Layer's part (K, n) of the output."""
        if self.signed:
            return (h[layer] @ self._effective(weights, f"v{layer}")[:, :, None]).squeeze(2)
        return self.readout[:, layer - 2, None] * z[layer].square().sum(2)

    def _effective(self, weights: Weights, name: str) -> Tensor:
        scale = self.weight_scale(name)
        return weights[name] if scale == 1.0 else weights[name] * scale

    def _draw_expansions(self) -> dict[int, Tensor]:
        if not self.random_expansion:
            return {}
        found = {}
        for layer in self.layers:
            drawn = []
            for spec in self.specs:
                generator = stream("init", specs.seeds(spec.seed).init, "expansion", layer)
                rows = torch.randn(self.expanded, self.width, generator=generator, dtype=torch.float64)
                drawn.append(rows / rows.norm(dim=1, keepdim=True))
            found[layer] = self._move(torch.stack(drawn))
        return found

    def _draw(self, row: int, layers: Sequence[int], stage: int) -> dict[str, Tensor]:
        """Float64 blocks of `layers`; W_l ~ N(0, k/(m·fan-in)), c_l = 0, v_l ~ N(0, 1/p) (mean_field, mup: 1/p²)."""
        seed = specs.seeds(self.specs[row].seed).init
        found: dict[str, Tensor] = {}
        for layer in layers:
            found |= self._draw_layer(
                layer, stream("init", seed, "weights", layer, *([stage] if stage else []))
            )
        return found

    def _draw_layer(self, layer: int, generator: Generator) -> dict[str, Tensor]:
        w = torch.randn(self.width, self.fan_in(layer), generator=generator, dtype=torch.float64)
        found = {f"W{layer}": w * (self._deviation(f"W{layer}") / self.weight_scale(f"W{layer}"))}
        if layer > 2:
            found[f"c{layer}"] = torch.zeros(self.width)
        if self.signed:
            v = torch.randn(self.expanded, generator=generator, dtype=torch.float64)
            scale = self.weight_scale(f"v{layer}") * max(1.0, self.output_scale)
            found[f"v{layer}"] = v * (self._deviation(f"v{layer}") / scale)
        return found

    def _move(self, block: Tensor) -> Tensor:
        return block.to(self.device, self.dtype)


@deed(QuadraticDensenet)
def quadratic_densenet(
    rows: Sequence[TrainSpec], read_dim: int, output_dim: int, device: torch.device, dtype: torch.dtype
) -> QuadraticStack:
    """The stack that trains `rows`, whose targets give `read_dim` numbers to read and one output."""
    if output_dim != 1:
        raise ValueError(f"a quadratic_densenet has one output, the target has {output_dim}")
    if isinstance(rows[0].schedule, Staged):
        # The wide network stands on this module.
        from bfc_core.learners.staged import StagedStack

        return StagedStack(rows, read_dim, device, dtype)
    return QuadraticStack(rows, read_dim, device, dtype)
