"""Adam and SGD in place for a stack: rate and clip per row, one flat buffer of values.

A frozen entry has a gradient of exactly zero and fresh moments, so its update is exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bfc_core.learners.base import Program
from bfc_core.specs.optimizer import Adam, OptimizerSpec, Sgd


class StackOptimizer:
    """Moments of one stage for every row; the rows share the kind and its constants, not rate and clip."""

    def __init__(self, program: Program, optimizers: Sequence[OptimizerSpec]) -> None:
        self.program = program
        self.spec = optimizers[0]
        values = program.values
        self.moments = {name: torch.zeros_like(values) for name in self._moment_names()}
        self.scratch = torch.empty_like(values)
        peaks = torch.tensor([one.rate for one in optimizers], dtype=values.dtype, device=values.device)
        #: each entry's own peak rate, so that the arithmetic is the same whatever the neighbours' rates
        self.rates = torch.empty_like(values)
        for block in _blocks_like(self.rates, program):
            block.copy_(peaks[:, None].expand_as(block))
        clips = [float("inf") if one.clip is None else one.clip for one in optimizers]
        self.clip = torch.tensor(clips, dtype=values.dtype, device=values.device)
        self.clips = any(one.clip is not None for one in optimizers)
        self._on_cpu = values.device.type == "cpu"
        self._all_norms = values.new_zeros(len(program.blocks), len(clips))
        self._norms = list(self._all_norms)
        self._scale = values.new_zeros(len(clips))
        self._scale_column = self._scale[:, None]
        if isinstance(self.spec, Adam):
            self._slownesses = 1 / self.rates
            self._epsilons = self.spec.epsilon * self._slownesses

    def _moment_names(self) -> tuple[str, ...]:
        return ("first", "second") if isinstance(self.spec, Adam) else ("momentum",)

    @torch.no_grad()
    def step(self, index: int, factor: float) -> None:
        """One update, the `index`-th of the stage (from 0), at `factor` of the peak rate."""
        if self.clips:
            self._clip()
        if isinstance(self.spec, Adam):
            self._adam(self.spec, index, factor)
        else:
            self._sgd(self.spec, factor)

    def _clip(self) -> None:
        """Scales each row's gradient to its clip where it is longer."""
        for (_, gradient), norm in zip(self.program.blocks, self._norms, strict=True):
            torch.linalg.vector_norm(gradient, dim=1, out=norm)
        torch.linalg.vector_norm(self._all_norms, dim=0, out=self._scale)
        torch.div(self.clip, self._scale, out=self._scale).clamp_(max=1.0)
        # A factor of 1 changes no bit, so skipping cannot make a row depend on its neighbours; NaN never skips.
        if self._on_cpu and self._scale.min().item() >= 1:
            return
        for _, gradient in self.program.blocks:
            gradient.mul_(self._scale_column)

    def _adam(self, spec: Adam, index: int, factor: float) -> None:
        """values −= rate · m̂/(√v̂ + ε), with the rate moved into the denominator, where entries may differ."""
        first, second, below = self.moments["first"], self.moments["second"], self.scratch
        gradient, values = self.program.gradients, self.program.values
        beta1, beta2 = spec.betas
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # √v as 1/(1/√v): MKL's root takes five times as long for the zeros of what is frozen, thirty for denormals.
        torch.rsqrt(second, out=below).reciprocal_()
        correction = (1 - beta2 ** (index + 1)) ** 0.5
        torch.addcmul(self._epsilons, below, self._slownesses, value=1 / correction, out=below)
        if spec.weight_decay:
            self._decay(factor * spec.weight_decay)
        values.addcdiv_(first, below, value=-factor / (1 - beta1 ** (index + 1)))

    def _decay(self, amount: float) -> None:
        """Decoupled decay of what trains: frozen entries have had no gradient yet, so their moments are zero."""
        values = self.program.values
        values.addcmul_(values * (self.moments["second"] > 0), self.rates, value=-amount)

    def _sgd(self, spec: Sgd, factor: float) -> None:
        momentum, gradient, values = self.moments["momentum"], self.program.gradients, self.program.values
        if spec.weight_decay:
            gradient.addcmul_(values, (gradient != 0).to(values), value=spec.weight_decay)
        momentum.mul_(spec.momentum).add_(gradient)
        update = momentum
        if spec.nesterov:
            update = torch.add(gradient, momentum, alpha=spec.momentum, out=self.scratch)
        values.addcmul_(update, self.rates, value=-factor)


def _blocks_like(flat: Tensor, program: Program) -> list[Tensor]:
    """Views (K, size) of `flat` where the program's blocks lie."""
    sizes = [values.numel() for values, _ in program.blocks]
    parts = torch.split(flat, sizes)
    return [part.view(values.shape) for part, (values, _) in zip(parts, program.blocks, strict=True)]


__all__ = ["StackOptimizer"]
