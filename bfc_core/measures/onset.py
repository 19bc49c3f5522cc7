"""When a level was learnt."""

from __future__ import annotations

from collections.abc import Sequence

from bfc_core.measures.undefined import Undefined

LEARNT = 0.01
"""Feature error below which a level counts as learnt (SCIENCE §3)."""


def onset(steps: Sequence[int], values: Sequence[float], threshold: float = LEARNT) -> int | Undefined:
    """The first step from which on every value of a series stays below `threshold`.

    Raises ValueError where steps and values differ in number.
    """
    if len(steps) != len(values):
        raise ValueError(f"{len(steps)} steps and {len(values)} values")
    found: int | Undefined = Undefined(f"not below {threshold:g} at the end")
    for step, value in zip(reversed(steps), reversed(values), strict=True):
        if not value < threshold:
            return found
        found = step
    return found
