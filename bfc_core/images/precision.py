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
    """Whether bfloat16 products run in hardware rather than through float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: tuple[str, ...] = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in capabilities)
