"""Results: a summary and named tables, written once, by the attempt that counts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, text

from bfc_core.records import Result, Table
from bfc_core.specs import canonical
from store.tables import result_tables, results


def write(connection: Connection, job_id: str, epoch: int, result: Result) -> None:
    """Writes the result of a job. The database refuses a stale epoch, and a second result."""
    tables = {name: finite(table.json()) for name, table in result.tables.items()}
    summary = finite(result.summary)
    connection.execute(
        insert(results),
        {"job_id": job_id, "epoch": epoch, "summary": summary, "hash": content_hash(summary, tables)},
    )
    if tables:
        connection.execute(
            insert(result_tables),
            [
                {"job_id": job_id, "name": name, "position": place, "epoch": epoch} | table
                for place, (name, table) in enumerate(tables.items())
            ],
        )


def finite(value: Any) -> Any:
    """`value` with None where a number is none: JSON has no word for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def content_hash(summary: Mapping[str, Any], tables: Mapping[str, Any]) -> bytes:
    """sha256 of the canonical JSON of a result: equal results have equal hashes, on any server."""
    return hashlib.sha256(canonical({"summary": dict(summary), "tables": dict(tables)}).encode()).digest()


def get(connection: Connection, job_id: str) -> dict[str, Any] | None:
    """`{"summary": …, "tables": {name: {"columns", "rows"}}, "hash": bytes}`; None before the job has succeeded."""
    head = connection.execute(
        select(results.c.summary, results.c.hash).where(results.c.job_id == job_id)
    ).one_or_none()
    if head is None:
        return None
    rows = connection.execute(
        select(result_tables.c.name, result_tables.c["columns"], result_tables.c["rows"])
        .where(result_tables.c.job_id == job_id)
        .order_by(result_tables.c.position)
    ).mappings()
    tables = {row["name"]: {"columns": row["columns"], "rows": row["rows"]} for row in rows}
    return {"summary": head.summary, "tables": tables, "hash": bytes(head.hash)}


def summary(connection: Connection, job_id: str) -> tuple[dict[str, Any], bytes] | None:
    """The summary and the hash of the whole result, without reading its tables."""
    row = connection.execute(
        select(results.c.summary, results.c.hash).where(results.c.job_id == job_id)
    ).one_or_none()
    return None if row is None else (row.summary, bytes(row.hash))


def table(connection: Connection, job_id: str, name: str) -> Table | None:
    """One table; None when there is none of that name."""
    row = (
        connection.execute(
            select(result_tables.c["columns"], result_tables.c["rows"]).where(
                result_tables.c.job_id == job_id, result_tables.c.name == name
            )
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else Table.of(dict(row))


def of_members(connection: Connection, study_id: str) -> Sequence[Any]:
    """Every member of a study as its conclusion needs it: key, state, error, summary, tables; in order."""
    return connection.execute(
        text("""
            SELECT j.id, j.member_key, j.state, j.error, r.summary,
                   (SELECT json_object_agg(t.name, json_build_object('columns', t.columns, 'rows', t.rows))
                      FROM result_tables t WHERE t.job_id = j.id) AS tables
              FROM jobs j LEFT JOIN results r ON r.job_id = j.id
             WHERE j.parent_id = :id ORDER BY j.id"""),
        {"id": study_id},
    ).all()
