"""Answers of the torch-free measures, member by member, as readings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bfc_core.measures import Scalar, Undefined
from bfc_core.probes.base import Reading


def reading(key: str, answers: Sequence[Scalar], layer: int | None = None) -> Reading:
    """One answer a member; undefined as a whole, with the first reason, where no member has a number.

    A single member without a number is left out by the engine, which drops what is not finite.
    """
    values = [torch.nan if isinstance(one, Undefined) else one for one in answers]
    undefined = next((one.reason for one in answers if isinstance(one, Undefined)), None)
    none_defined = all(isinstance(one, Undefined) for one in answers)
    tensor = torch.tensor(values, dtype=torch.float64)
    return Reading(key, tensor, layer, undefined=undefined if none_defined else None)
