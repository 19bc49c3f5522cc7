"""What a measure answers when its definition does not apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Undefined:
    """A measure that has no value here, and why: never NaN, never a silent zero."""

    reason: str

    def __str__(self) -> str:
        return f"undefined: {self.reason}"


Scalar: TypeAlias = float | Undefined

NOT_FINITE = Undefined("features are not finite")
CONSTANT = Undefined("features do not vary")


def jsonable(value: Scalar) -> float | str:
    """The value as a result table carries it: a number, or ``undefined: reason``."""
    return str(value) if isinstance(value, Undefined) else float(value)


def map_defined(values: Array, undefined: NDArray[np.bool_], why: Undefined) -> list[Scalar]:
    """One answer a member: ``values (K,)``, with ``why`` where ``undefined (K,)``."""
    return [
        why if bad or not np.isfinite(value) else float(value)
        for value, bad in zip(values.tolist(), undefined.tolist(), strict=True)
    ]
