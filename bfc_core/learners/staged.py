"""The paper's learner with two maps a level: a wide W that makes the output, a narrow K that makes the features.

    S_l = K_l [x, h_1, h(S_j)]_{j<l} + c_l,   F = b + Σ_l a_l |W_l [x, h_1, h(S_j)]_{j<l} + d_l|²

The objective adds the distance of the two quadratic forms, |K_lᵀK_l − W_lᵀW_l|², and the squared norms of both, so that
K is distilled from W while W stays easy to train. The narrow maps are named `W2`, `W3`, … as in the plain network,
since they are its features; the wide ones `U2`, … with biases `d3`, …; with trained read-outs `v2`, … weigh the wide
neurons' squares. Source: Allen-Zhu and Li, arXiv 2001.04413, §3 and Algorithm 1. Letters as in `quadratic_densenet`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from bfc_core.learners.base import Plan, Program, Weights
from bfc_core.learners.quadratic_densenet import QuadraticStack, teacher_width
from bfc_core.specs.schedule import Staged
from bfc_core.specs.train import TrainSpec


class StagedStack(QuadraticStack):
    """K of them; a row's features are its narrow maps', its output its wide maps'."""

    def __init__(
        self, rows: Sequence[TrainSpec], read_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        schedule = rows[0].schedule
        assert isinstance(schedule, Staged)
        self.wide = schedule.wide
        self.regulariser, self.distillation = schedule.regulariser, schedule.distillation
        super().__init__(rows, read_dim, device, dtype)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            fan = self.fan_in(layer)
            found |= {f"W{layer}": (self.width, fan), f"U{layer}": (self.wide, fan)}
            if layer > 2:
                found |= {f"c{layer}": (self.width,), f"d{layer}": (self.wide,)}
            if self.signed:
                found[f"v{layer}"] = (self.wide,)
        return {**found, "b": ()}

    def features(self, weights: Weights, u: Tensor) -> dict[int, Tensor]:
        return self._levels(weights, u, self.layers, detached=None)[0]

    def forward(self, weights: Weights, u: Tensor, plan: Plan) -> Tensor:
        narrow = self._levels(weights, u, plan.present, self._cut(plan))
        output = weights["b"][:, None].expand(-1, u.shape[1])
        for layer in plan.present:
            z = self._map(weights, f"U{layer}", f"d{layer}", layer, u, narrow[1])
            output = output + self._wide_part(weights, layer, z)
        return (self.output_scale * output).unsqueeze(2)

    def penalty(self, weights: Weights, plan: Plan) -> Tensor:
        """What the objective of each row adds (K,): distillation and norms of the present levels."""
        total = torch.zeros(self.rows, dtype=self.dtype, device=self.device)
        for layer in plan.present:
            k, w = self._joined(weights, "W", "c", layer), self._joined(weights, "U", "d", layer)
            norms = k.square().sum((1, 2)) + w.square().sum((1, 2))
            total = total + self.distillation * form_distance(k, w) + self.regulariser * norms
        return total

    def program(self, plan: Plan) -> Program | None:  # noqa: ARG002  always differentiated
        return None

    def flops(self, plan: Plan, row: int) -> int:
        wide = sum(6 * self.wide * self.fan_in(layer) for layer in plan.present)
        return super().flops(plan, row) + wide

    def _joined(self, weights: Weights, name: str, bias: str, layer: int) -> Tensor:
        """A map with its bias as a last column (K, m, fan-in + 1): the form's value at [·, 1]."""
        w = weights[f"{name}{layer}"]
        return w if layer == 2 else torch.cat([w, weights[f"{bias}{layer}"][:, :, None]], dim=2)

    def _wide_part(self, weights: Weights, layer: int, z: Tensor) -> Tensor:
        if self.signed:
            return (z.square() @ weights[f"v{layer}"][:, :, None]).squeeze(2)
        return self.readout[:, layer - 2, None] * z.square().sum(2)

    def _draw_layer(self, layer: int, generator: Generator) -> dict[str, Tensor]:
        """As the plain network's, the wide map after the narrow one; trained read-outs ±1/√(2k), as if α_l = ±1."""
        k, fan = teacher_width(self.specs[0]), self.fan_in(layer)
        found = {
            "W": torch.randn(self.width, fan, generator=generator, dtype=torch.float64),
            "U": torch.randn(self.wide, fan, generator=generator, dtype=torch.float64),
        }
        named = {f"{name}{layer}": w * math.sqrt(k / (len(w) * fan)) for name, w in found.items()}
        if layer > 2:
            named |= {f"c{layer}": torch.zeros(self.width), f"d{layer}": torch.zeros(self.wide)}
        if self.signed:
            signs = torch.ones(self.wide)
            signs[1::2] = -1
            named[f"v{layer}"] = signs / math.sqrt(2 * k)
        return named


def form_distance(k: Tensor, w: Tensor) -> Tensor:
    """|KᵀK − WᵀW|² (K,) of maps k (K, m, f), w (K, m', f), without the f × f forms."""
    own = (k @ k.mT).square().sum((1, 2)) + (w @ w.mT).square().sum((1, 2))
    return own - 2 * (k @ w.mT).square().sum((1, 2))
