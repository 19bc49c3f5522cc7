"""When a level was learnt."""

from __future__ import annotations

from collections.abc import Sequence

from bfc_core.measures.undefined import Undefined

LEARNT = 0.01
"""Feature error below which a level counts as learnt (docs/science.md)."""
LATE = Undefined(f"not below {LEARNT:g} at the end")


def onset_so_far(before: int | None, step: int, value: float, threshold: float = LEARNT) -> int | None:
    """The first step since which every value is below `threshold`, of a series that goes on with `value`."""
    if not value < threshold:
        return None
    return step if before is None else before


def onset(steps: Sequence[int], values: Sequence[float], threshold: float = LEARNT) -> int | Undefined:
    """The first step from which on every value of a series stays below `threshold`.

    Raises ValueError where steps and values differ in number.
    """
    if len(steps) != len(values):
        raise ValueError(f"{len(steps)} steps and {len(values)} values")
    found: int | None = None
    for step, value in zip(steps, values, strict=True):
        found = onset_so_far(found, step, value, threshold)
    return Undefined(f"not below {threshold:g} at the end") if found is None else found
