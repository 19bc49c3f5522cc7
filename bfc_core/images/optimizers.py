"""SGD and Adam by torch's fused kernels, called directly.

`torch.optim` imports the compiler at its first step, which costs seconds of CPU in every fresh process.
Letters: p parameters, g gradients, v and m running means.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bfc_core import specs
from bfc_core.specs import OptimizerSpec

Named = dict[str, nn.Parameter]


class Optimizer:
    """State of one stage's optimiser: buffers by parameter name, in their parameter's memory layout."""

    def __init__(self, spec: OptimizerSpec, parameters: Named, undecayed: Iterable[str] = ()) -> None:
        self.spec = spec
        self.parameters = parameters
        spared = set(undecayed)
        self._groups = [
            (names, decay)
            for names, decay in (
                ([name for name in parameters if name not in spared], spec.weight_decay),
                ([name for name in parameters if name in spared], 0.0),
            )
            if names
        ]
        kinds = ("momentum",) if isinstance(spec, specs.Sgd) else ("mean", "square")
        self.buffers = {
            f"{name}.{kind}": torch.zeros_like(p) for name, p in parameters.items() for kind in kinds
        }
        self.buffers = {name: buffer.detach() for name, buffer in self.buffers.items()}
        self.steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at `rate`; every parameter has a gradient."""
        self.steps += 1
        for names, decay in self._groups:
            parameters: list[Tensor] = [self.parameters[name] for name in names]
            gradients = [p.grad for p in parameters if p.grad is not None]
            if isinstance(self.spec, specs.Sgd):
                self._sgd(names, parameters, gradients, rate, decay)
            else:
                self._adam(names, parameters, gradients, rate, decay)

    def clear(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def _sgd(
        self,
        names: list[str],
        parameters: list[Tensor],
        gradients: list[Tensor],
        rate: float,
        decay: float,
    ) -> None:
        assert isinstance(self.spec, specs.Sgd)
        # The kernel under torch.optim.SGD; its first step sets v = g, which from v = 0 is the same.
        torch._fused_sgd_(
            parameters,
            gradients,
            [self.buffers[f"{name}.momentum"] for name in names],
            weight_decay=decay,
            momentum=self.spec.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=self.spec.nesterov and self.spec.momentum > 0,
            maximize=False,
            is_first_step=False,
        )

    def _adam(
        self,
        names: list[str],
        parameters: list[Tensor],
        gradients: list[Tensor],
        rate: float,
        decay: float,
    ) -> None:
        assert isinstance(self.spec, specs.Adam)
        count = torch.full((), float(self.steps), device=parameters[0].device)
        torch._fused_adamw_(
            parameters,
            gradients,
            [self.buffers[f"{name}.mean"] for name in names],
            [self.buffers[f"{name}.square"] for name in names],
            [],
            [count] * len(names),
            lr=rate,
            beta1=self.spec.betas[0],
            beta2=self.spec.betas[1],
            weight_decay=decay,
            eps=self.spec.epsilon,
            amsgrad=False,
            maximize=False,
        )

    def restore(self, buffers: dict[str, Tensor], steps: int) -> None:
        """Take over saved buffers; the layout stays the parameter's, since the kernels walk raw memory."""
        for name, value in buffers.items():
            self.buffers[name].copy_(value)
        self.steps = steps


def clip(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale gradients so that their joint norm is at most `largest`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
