"""Which arithmetic the device does well: found once, at the start of a run, and kept with its checkpoints."""

from __future__ import annotations

from typing import Literal

import torch

from bfc_core.specs import TrainSpec

Precision = Literal["float32", "bfloat16"]


def chosen_precision(spec: TrainSpec, device: torch.device, dtype: torch.dtype) -> Precision:
    """The spec's precision; `auto` is bfloat16 where the device multiplies it natively and dtype is float32.

    A function of the device's model alone, never of a timing, so that equal devices give equal bits.
    """
    if spec.precision != "auto":
        return spec.precision
    if dtype != torch.float32:
        return "float32"
    return "bfloat16" if native_bfloat16(device) else "float32"


def native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware of their own, faster than float32's.

    On processors that is AMX. AVX-512 alone multiplies bfloat16 too, but small networks train at three quarters of
    float32's speed on it, the conversions included.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
