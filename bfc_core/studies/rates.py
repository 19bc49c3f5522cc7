"""How often runs stick, with exact intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bfc_core.records import Column, Table
from bfc_core.studies import intervals
from bfc_core.studies.outcomes import Outcome
from bfc_core.studies.tables import columns, table

NUMBERS = (
    *columns("integer", "n", "stuck", "diverged"),
    *columns("number", "rate", "low", "high"),
)


def stuck_rates(heads: Sequence[Column], runs: Iterable[tuple[tuple[Any, ...], Outcome]]) -> Table:
    """One row a group, groups named by `heads`: of the n runs that say whether they stuck, or diverged, how many did which.

    `rate` is the stuck share, [low, high] its Clopper-Pearson interval at 95 %. Groups without such a run are left out.
    """
    counts: dict[tuple[Any, ...], list[bool | None]] = {}
    for group, outcome in runs:
        stuck = None if outcome.diverged else outcome.flag("stuck")
        if outcome.diverged or stuck is not None:
            counts.setdefault(group, []).append(stuck)
    names = [head.name for head in heads]
    rows = ({**dict(zip(names, group, strict=True)), **_row(found)} for group, found in counts.items())
    return table((*heads, *NUMBERS), rows)


def _row(found: list[bool | None]) -> dict[str, Any]:
    n, stuck = len(found), sum(1 for one in found if one)
    low, high = intervals.clopper_pearson(stuck, n)
    diverged = sum(1 for one in found if one is None)
    return {"n": n, "stuck": stuck, "diverged": diverged, "rate": stuck / n, "low": low, "high": high}
