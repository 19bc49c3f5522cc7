"""Answers of the torch-free measures, member by member, as readings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bfc_core.measures import Scalar, Undefined
from bfc_core.probes.base import Reading


def reading(key: str, answers: Sequence[Scalar], layer: int | None = None) -> Reading:
    """One answer a member: its number, or its own reason why there is none."""
    values = [torch.nan if isinstance(one, Undefined) else one for one in answers]
    whys = [one.reason if isinstance(one, Undefined) else None for one in answers]
    return Reading(key, torch.tensor(values, dtype=torch.float64), layer, whys=whys)
