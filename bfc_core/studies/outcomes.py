"""How members ended, and how a study reads them.

A reading is a number, `DIVERGED` for a run that blew up, or None for one that is missing: failed for another
reason, cancelled, never run, or silent on what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bfc_core.records import Table

DIVERGED = math.inf
Reading = float | None

Series = Callable[[Sequence[str]], Iterable[Mapping[str, Any]]]
"""Keys -> the member's series of these keys: `{"key", "layer", "steps": […], "values": […]}`, one a layer."""

BOUNDARIES = {"boundaries": "layer", "probes": "block"}
"""Tables of a training that hold every reading at initialisation and stage ends, and their column of layers."""


@dataclass(frozen=True)
class Outcome:
    """How one member ended: its final state, its result where it has one, its error where it has not.

    `tables` holds `records.Table` or the same as JSON.
    """

    key: str
    state: str
    summary: Mapping[str, Any] | None = None
    tables: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    series: Series | None = None

    @property
    def ended(self) -> bool:
        return self.state == "succeeded" and self.summary is not None

    @property
    def diverged(self) -> bool:
        return self.state == "failed" and (self.error or {}).get("code") == "diverged"

    def number(self, name: str) -> Reading:
        """A number of the summary."""
        if self.diverged:
            return DIVERGED
        return _finite((self.summary or {}).get(name)) if self.ended else None

    def flag(self, name: str) -> bool | None:
        """A yes or no of the summary; None where it says neither."""
        value = (self.summary or {}).get(name) if self.ended else None
        return value if isinstance(value, bool) else None

    @cached_property
    def answers(self) -> tuple[int, int] | None:
        """(n, bits): which of the n test inputs are classified rightly, the first being the highest of the bits.

        None for a run that keeps no answers.
        """
        table = (self.tables or {}).get("answers") if self.ended else None
        if table is None:
            return None
        (row,) = (table if isinstance(table, Table) else Table.of(table)).records()
        padding = -row["samples"] % 8
        return row["samples"], int(row["right"], 16) >> padding

    def curves(
        self, wanted: Sequence[tuple[str, int | None]]
    ) -> dict[tuple[str, int | None], list[tuple[int, float]]]:
        """(key, layer) -> (step, value) in rising order of steps; at least those at the stages' ends."""
        found = {place: dict(self._boundaries.get(place, ())) for place in wanted}
        keys = list(dict.fromkeys(key for key, _ in wanted))
        for part in self.series(keys) if self.series else ():
            points = found.get((part["key"], part.get("layer")))
            if points is not None:
                pairs = zip(part["steps"], part["values"], strict=True)
                points.update((int(step), value) for step, value in pairs if _finite(value) is not None)
        return {place: sorted(points.items()) for place, points in found.items()}

    def last(self, key: str, layer: int | None = None) -> Reading:
        """The last reading of a run that ended; `DIVERGED` for one that did."""
        if self.diverged:
            return DIVERGED
        found = self._boundaries.get((key, layer)) if self.ended else None
        return found[-1][1] if found else None

    def at(self, step: int, key: str, layer: int | None = None) -> Reading:
        """The reading at a stage's end, or the last one before it."""
        found = [value for at, value in self._boundaries.get((key, layer), ()) if at <= step]
        return found[-1] if found and self.ended else None

    @cached_property
    def _boundaries(self) -> dict[tuple[str, int | None], list[tuple[int, float]]]:
        """(key, layer) -> (step, value) at initialisation and stage ends."""
        found: dict[tuple[str, int | None], list[tuple[int, float]]] = {}
        for name, layer in BOUNDARIES.items():
            table = (self.tables or {}).get(name)
            if table is not None:
                for row in (table if isinstance(table, Table) else Table.of(table)).records():
                    if _finite(row["value"]) is not None:
                        found.setdefault((row["key"], row[layer]), []).append((row["step"], row["value"]))
        return found


MISSING = Outcome("", "missing")


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
