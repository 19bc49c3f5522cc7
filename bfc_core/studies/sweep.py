"""A sweep: one training at each point of a grid over fields of the spec."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bfc_core import specs
from bfc_core.records import Column, Result, Table
from bfc_core.registry import deed
from bfc_core.studies.claims import Claim
from bfc_core.studies.member import Member, packed
from bfc_core.studies.outcomes import MISSING, Outcome
from bfc_core.studies.tables import Type, columns, failed_runs, table

MOST_CURVES = 400
"""Members up to which a sweep keeps their curves: more could not be told apart."""


@deed(specs.SweepSpec)
class Sweep:
    """What the word `sweep` does."""

    def __init__(self, spec: specs.SweepSpec) -> None:
        self.spec = spec

    def size(self) -> int:
        return math.prod(len(values) for values in self.spec.grid.values())

    def members(self) -> list[Member]:
        """One train member a point, in the grid's order, the last field turning fastest."""
        found = [_member(i, point, spec) for i, (point, spec) in enumerate(self.spec.points())]
        return packed(found, [member.key for member in found])

    def conclude(self, outcomes: Mapping[str, Outcome]) -> Result:
        """Table `runs`: the grid's fields, then every number and flag of the members' summaries."""
        members = self.members()
        points = [point for point, _ in self.spec.points()]
        ended = [outcomes.get(member.key, MISSING) for member in members]
        names = [name for name in _scalars(ended) if name not in self.spec.grid]
        heads = (
            *(Column(path, _type(values)) for path, values in self.spec.grid.items()),
            *(
                Column(name, _type([(one.summary or {}).get(name) for one in ended if one.ended]))
                for name in names
            ),
            *columns("string", "state"),
        )
        rows = [_row(point, one, names) for point, one in zip(points, ended, strict=True)]
        failed = failed_runs(members, outcomes)
        sizes = {path: len(values) for path, values in self.spec.grid.items()}
        summary = {"members": len(members), "failed": len(failed.rows), "grid": sizes}
        tables = {"runs": table(heads, rows), "failed_runs": failed}
        if len(members) <= MOST_CURVES:
            tables["curves"] = self._curves(points, ended)
        return Result(summary, tables)

    def _curves(self, points: Sequence[Mapping[str, Any]], ended: Sequence[Outcome]) -> Table:
        """Test and feature errors at every recorded step, under the grid's fields."""
        numbers = sorted({layer for _, spec in self.spec.points() for layer in specs.layers(spec)})
        keys: list[tuple[str, int | None]] = [
            ("test_error", None),
            *(("feature_error", layer) for layer in numbers),
        ]
        heads = (
            *(Column(path, _type(values)) for path, values in self.spec.grid.items()),
            *columns("string", "key"),
            *columns("integer", "layer", "step"),
            *columns("number", "value"),
        )
        rows = (
            {**_cells(point), "key": key, "layer": layer, "step": step, "value": value}
            for point, outcome in zip(points, ended, strict=True)
            for (key, layer), curve in outcome.curves(keys).items()
            for step, value in curve
        )
        return table(heads, rows)

    def unanswered(self) -> list[dict[str, Any]]:
        return []

    def families(self) -> list[list[Claim]]:
        """A sweep claims nothing."""
        return []


def _member(index: int, point: Mapping[str, Any], spec: specs.TrainSpec) -> Member:
    said = ", ".join(f"{path} {_cell(value)}" for path, value in point.items())
    labels = {path: str(_cell(value))[:256] for path, value in point.items()}
    return Member(str(index), "train", said[:200], spec, labels)


def _row(point: Mapping[str, Any], outcome: Outcome, names: Sequence[str]) -> dict[str, Any]:
    summary = outcome.summary if outcome.ended and outcome.summary else {}
    return {
        **{name: summary.get(name) for name in names},
        **_cells(point),
        "state": "diverged" if outcome.diverged else outcome.state,
    }


def _scalars(outcomes: Sequence[Outcome]) -> list[str]:
    """Names of the numbers and flags in the summaries, in order of first appearance."""
    found: dict[str, None] = {}
    for outcome in outcomes:
        for name, value in (outcome.summary or {}).items() if outcome.ended else ():
            if isinstance(value, int | float | bool):
                found.setdefault(name)
    return list(found)


def _cell(value: Any) -> Any:
    """A value of the grid as one cell: lists and objects as JSON."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else value


def _cells(point: Mapping[str, Any]) -> dict[str, Any]:
    return {path: _cell(value) for path, value in point.items()}


def _type(values: Sequence[Any]) -> Type:
    """The narrowest column type that holds all values."""
    kinds = {type(_cell(value)) for value in values if value is not None}
    if kinds <= {bool}:
        return "boolean"
    if kinds <= {int}:
        return "integer"
    return "number" if kinds <= {int, float} else "string"
