"""What figures read: a study's tables and summary, and numbers over seeds."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bfc_core.records import Table
from bfc_core.studies import intervals

Row = dict[str, Any]
CAPTION_WIDTH = 150
NARROW = 86
"""The width of a caption over a single panel, in characters."""
MOST_GROUPS = 8


@dataclass(frozen=True)
class Study:
    """A finished study as figures see it. `tables` holds `records.Table` or the same as JSON."""

    tables: Mapping[str, Any]
    summary: Mapping[str, Any]

    def rows(self, name: str) -> list[Row]:
        """The rows of a table; none where the study has no such table."""
        found = self.tables.get(name)
        if found is None:
            return []
        return (found if isinstance(found, Table) else Table.of(found)).records()

    def claims(self, *names: str) -> list[Mapping[str, Any]]:
        """The judged claims of these names."""
        return [claim for claim in self.summary.get("claims") or () if claim["claim"] in names]

    @property
    def seeds(self) -> int:
        return int(self.summary.get("seeds") or 0)


def over_seeds(values: Iterable[float | None], planned: int, worst: float) -> Row:
    """Median and interval of one value a seed; seeds without a value rank as `worst`, so that none is dropped.

    `low` and `high` are None below six seeds.
    """
    found = [value for value in values if value is not None]
    ranked = found + [worst] * max(0, planned - len(found))
    low, high = intervals.order_interval(ranked)
    known = intervals.rank(len(ranked)) > 0
    return {
        "median": intervals.median(ranked),
        "low": low if known else None,
        "high": high if known else None,
    }


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of some of their fields, in order of first appearance."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def readouts(rows: Iterable[Row]) -> list[str]:
    """The read-outs among the rows, the headlined one first."""
    return sorted({row["readout"] for row in rows}, key=lambda name: (name != "signed", name))


def caption(*sentences: str, width: int = CAPTION_WIDTH) -> list[str]:
    """Sentences as lines of a caption, each beginning its own."""
    return [line for sentence in sentences if sentence for line in textwrap.wrap(sentence, width)]


LINES = "Thin lines: seeds; thick: median; band"
DOTS = "Dots: seeds; line: median; bar"


def interval_rule(planned: int, marks: str = LINES) -> str:
    """How the bands are made, in words."""
    r = intervals.rank(planned)
    if r == 0:
        return f"n = {planned}: too few seeds for an interval of the median, so no band is drawn."
    rule = f"order statistics {r} and {planned + 1 - r}, {intervals.coverage(planned):.1%}"
    return f"n = {planned} seeds. {marks}: interval of the median ({rule})."


def stuck_words(rates: Sequence[Row], named: str, *, hollow: bool = True) -> str:
    """How many runs stuck or diverged, by group where these are few; `named` is a format over a row's fields."""
    parts = []
    for row in rates:
        if row["stuck"] or row["diverged"]:
            lost = f" and {row['diverged']} diverged" if row["diverged"] else ""
            parts.append(f"{named.format_map(row)} {row['stuck']} of {row['n']}{lost}")
    n, stuck, diverged = (sum(row[name] for row in rates) for name in ("n", "stuck", "diverged"))
    return _stuck_sentence(n, stuck, diverged, parts if len(parts) <= MOST_GROUPS else [], hollow)


def stuck_in(rows: Iterable[Row], *, hollow: bool = True) -> str:
    """The same of a table's rows, where these say whether they stuck."""
    known = [row for row in rows if row["stuck"] is not None or row["state"] == "diverged"]
    diverged = sum(row["state"] == "diverged" for row in known)
    return _stuck_sentence(len(known), sum(row["stuck"] is True for row in known), diverged, [], hollow)


def _stuck_sentence(n: int, stuck: int, diverged: int, parts: Sequence[str], hollow: bool) -> str:
    if not n:
        return ""
    lost = f", {diverged} diverged" if diverged else ""
    drawn = " (hollow)" if hollow else ""
    return f"Stuck runs{drawn}: {stuck} of {n}{lost}" + (f" ({'; '.join(parts)})." if parts else ".")


def verdict_words(claims: Iterable[Mapping[str, Any]]) -> str:
    """Verdicts in brief: claim, where, and word."""
    parts = []
    for claim in claims:
        place = [str(claim["readout"])] if claim.get("readout") in ("fixed", "signed") else []
        place += [f"{key} {claim[key]}" for key in ("level", "row", "samples") if key in claim]
        where = f" ({', '.join(place)})" if place else ""
        parts.append(f"{claim['claim'].replace('_', ' ')}{where}: {claim['verdict'].replace('_', ' ')}")
    return "Verdicts. " + "; ".join(parts) + "." if parts else ""


def positive(value: float | None) -> bool:
    """Whether a logarithmic axis can show it."""
    return value is not None and math.isfinite(value) and value > 0
