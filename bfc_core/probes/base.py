"""What a probe is: a function from its spec and a view of a stack to readings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bfc_core.measures import Scalar, Undefined
from bfc_core.training.view import View, When

__all__ = ["Probe", "Reading", "View", "When"]

DEGENERATE = "what it is measured against does not vary"


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured number a member: values (K,) under `key`, of `layer` where the key has layers.

    Where the input is degenerate `undefined` holds the reason and the values are not used. A single value that is
    not finite is undefined for the reason in `whys`, one a member, so that NaN never reaches a table.
    """

    key: str
    values: Tensor
    layer: int | None = None
    unit: str | None = None
    undefined: str | None = None
    whys: Sequence[str | None] = ()

    def answers(self) -> list[Scalar]:
        """One a member: a finite number, or why there is none."""
        values: list[float] = self.values.tolist()
        if self.undefined is not None:
            return [Undefined(self.undefined)] * len(values)
        whys = self.whys or [None] * len(values)
        return [
            value if math.isfinite(value) else Undefined(why or DEGENERATE)
            for value, why in zip(values, whys, strict=True)
        ]


#: The deed of a probe's spec class.
Probe = Callable[[Any, View], Iterable[Reading]]
