"""What a probe is: a function from its spec and a view of a stack to readings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bfc_core.training.view import View, When

__all__ = ["Probe", "Reading", "View", "When"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured number a member: values (K,) under `key`, of `layer` where the key has layers.

    Where the input is degenerate `undefined` holds the reason and the values are not used; a single value that
    is not finite is dropped by the engine, so that NaN never reaches a table.
    """

    key: str
    values: Tensor
    layer: int | None = None
    unit: str | None = None
    undefined: str | None = None


#: The deed of a probe's spec class.
Probe = Callable[[Any, View], Iterable[Reading]]
