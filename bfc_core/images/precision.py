"""Which arithmetic the device does well: found once, at the start of a run, and kept with its checkpoints."""

from __future__ import annotations

import functools
import time
from typing import Literal

import torch

from bfc_core.specs import TrainSpec

Precision = Literal["float32", "bfloat16"]

#: bfloat16 must take less than this part of float32's time. Processors with units for it take .3 to .7, those that
#: emulate it 2 to 20; nothing known lies near the bound, so that equal processors choose alike, busy or not.
_WORTH = 0.9
_TURNS = 7
#: So much slower after two turns (the first one builds the kernels), and no more are taken.
_HOPELESS = 2


def chosen_precision(spec: TrainSpec, device: torch.device, dtype: torch.dtype) -> Precision:
    """The spec's precision; `auto` is bfloat16 where the device multiplies it faster and dtype is float32."""
    if spec.precision != "auto":
        return spec.precision
    if dtype != torch.float32:
        return "float32"
    return "bfloat16" if fast_bfloat16(device) else "float32"


@functools.cache
def fast_bfloat16(device: torch.device) -> bool:
    """Whether convolutions train faster in bfloat16 than in float32.

    Of a GPU its model tells; a processor is measured, once a process: a flag says that it multiplies bfloat16, not how
    fast.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    wide, narrow = _Convolution(torch.float32), _Convolution(torch.bfloat16)
    return narrow.seconds(wide) < _WORTH * wide.best


class _Convolution:
    """The middle convolution of the default network, forward and backward, on a batch of 64."""

    def __init__(self, dtype: torch.dtype) -> None:
        draws = torch.Generator().manual_seed(0)
        shapes = ((64, 32, 8, 8), (32, 32, 3, 3))
        self.leaves = [
            torch.randn(shape, generator=draws).to(dtype, memory_format=torch.channels_last).requires_grad_()
            for shape in shapes
        ]
        self.best = float("inf")

    def seconds(self, other: _Convolution) -> float:
        """CPU seconds of the fastest of a few turns taken with `other`, so that what disturbs one disturbs both."""
        for turn in range(_TURNS):
            for one in (self, other):
                one.turn()
            if turn and self.best > _HOPELESS * other.best:
                break
        return self.best

    def turn(self) -> None:
        begun = time.thread_time()
        x, weight = self.leaves
        y = torch.conv2d(x, weight, padding=1)
        torch.autograd.grad(y, self.leaves, x.detach())
        self.best = min(self.best, time.thread_time() - begun)
