"""Tables from rows kept as dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from bfc_core.records import Column, Table
from bfc_core.studies.member import Member
from bfc_core.studies.outcomes import Outcome

Type = Literal["string", "integer", "number", "boolean"]

REL = Column("relative_test_error", "number", "Var y")
FAILED = (
    Column("key", "string"),
    Column("kind", "string"),
    Column("name", "string"),
    Column("seed", "integer"),
    Column("state", "string"),
    Column("code", "string"),
    Column("message", "string"),
    Column("step", "integer", "step"),
    Column("layer", "integer"),
)


def columns(type_: Type, *names: str, unit: str | None = None) -> tuple[Column, ...]:
    """Columns of one type."""
    return tuple(Column(name, type_, unit) for name in names)


def table(heads: Iterable[Column], rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows under their columns; what a row lacks is None, what no column names is left out."""
    heads = tuple(heads)
    return Table(heads, tuple(tuple(row.get(head.name) for head in heads) for row in rows))


def failed_runs(members: Iterable[Member], outcomes: Mapping[str, Outcome]) -> Table:
    """One row for each member that did not succeed, with what it said."""
    return table(FAILED, (row for member in members if (row := _failed(member, outcomes.get(member.key)))))


def _failed(member: Member, outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is not None and outcome.ended:
        return None
    error = (outcome.error if outcome else None) or {}
    seed = member.labels.get("seed", "")
    return {
        "key": member.key,
        "kind": member.kind,
        "name": member.name,
        "seed": int(seed) if seed.isdigit() else None,
        "state": outcome.state if outcome else "missing",
        "code": error.get("code"),
        "message": error.get("message"),
        "step": error.get("step"),
        "layer": error.get("layer"),
    }
