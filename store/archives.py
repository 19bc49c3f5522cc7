"""Finished studies as archives: what one holds, and writing one's jobs into a project under fresh ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, text

from bfc_core.records import Result
from store import results, series, snapshots, tensors
from store.errors import Conflict, NotFound
from store.ids import new_id
from store.states import TERMINAL
from store.tables import job_dependencies, jobs

FORMAT = "bfc-lab-archive"
VERSION = 1
#: the last entry: sha256 by name of all others but tensors, whose names are their hashes
CHECKSUMS = "checksums.json"
TENSORS = "tensors/"
#: what of a job's row goes into an archive and comes back as it was
KEPT = (
    "kind", "name", "labels", "version", "spec", "spec_hash", "state", "priority", "member_key", "device",
    "device_class", "dtype", "threads", "estimate", "limits", "attempt", "progress_done", "progress_total",
    "progress_unit", "error", "summary", "provenance", "created_at", "started_at", "finished_at", "run_seconds",
)  # fmt: skip
_IMPORTED_MARK = 1


class TensorPlace(NamedTuple):
    """A tensor's content in the store, by its hash."""

    id: int
    bytes: int


class Member(NamedTuple):
    """One job of an archive being written: its row, results, series and snapshots, by the ids it came with."""

    origin_id: str
    parent: str | None
    after: Sequence[str]
    row: Mapping[str, Any]
    result: Result | None
    result_hash: str | None
    points: Sequence[series.Points]
    snapshots: Sequence[Mapping[str, Any]]


class Differs(ValueError):
    """What was written has another hash than the archive says."""


def manifest(
    connection: Connection, project_id: str, job_id: str
) -> tuple[dict[str, Any], dict[str, TensorPlace]]:
    """What an archive of the job and its members holds, and where its tensors lie, by hash.

    Raises `NotFound`, and `Conflict` for a job that has not ended.
    """
    query = select(jobs).where(
        jobs.c.project_id == project_id, (jobs.c.id == job_id) | (jobs.c.parent_id == job_id)
    )
    rows = connection.execute(query.order_by(jobs.c.parent_id.nulls_first(), jobs.c.id)).mappings().all()
    if not any(row["id"] == job_id for row in rows):
        raise NotFound("job", job_id)
    rows = sorted(rows, key=lambda row: (row["id"] != job_id, row["id"]))
    if rows[0]["state"] not in TERMINAL:
        raise Conflict("export", rows[0]["state"], "only a finished job can be exported")
    ids = [row["id"] for row in rows]
    after, hashes = _needs(connection, ids), _hashes(connection, ids)
    kept, places = _snapshots(connection, ids)
    told = [
        {"id": row["id"], "parent": row["parent_id"] if row["parent_id"] == job_id else None}
        | {"after": after.get(row["id"], []), "result_hash": hashes.get(row["id"])}
        | {"snapshots": kept.get(row["id"], []), "job": {name: row[name] for name in KEPT}}
        for row in rows
    ]
    return {"format": FORMAT, "version": VERSION, "root": job_id, "jobs": told}, places


def write(connection: Connection, project_id: str, key_id: str | None, members: Sequence[Member]) -> str:
    """Writes the jobs of an archive, the root first, whose tensors the project holds already; the root's new id.

    Raises `Differs` where a result or snapshot has another hash than the archive says.
    """
    ids = {member.origin_id: new_id("job") for member in members}
    connection.execute(insert(jobs), [_row(member, ids, project_id, key_id) for member in members])
    waits = [
        {"job_id": ids[member.origin_id], "needs_id": ids[needed]}
        for member in members
        for needed in member.after
        if needed in ids
    ]
    if waits:
        connection.execute(insert(job_dependencies), waits)
    for member in members:
        _write_content(connection, project_id, ids[member.origin_id], member)
    return ids[members[0].origin_id]


def _row(member: Member, ids: Mapping[str, str], project_id: str, key_id: str | None) -> dict[str, Any]:
    provenance = dict(member.row["provenance"]) | {"imported_from": member.origin_id}
    return {name: member.row.get(name) for name in KEPT} | {
        "id": ids[member.origin_id],
        "project_id": project_id,
        "parent_id": None if member.parent is None else ids[member.parent],
        "origin_id": member.origin_id,
        "key_id": key_id,
        "provenance": provenance,
        "reason": "imported",
    }


def _write_content(connection: Connection, project_id: str, job_id: str, member: Member) -> None:
    """Epoch 0 was never leased: the database lets only imported jobs carry it."""
    if member.result is not None:
        results.write(connection, job_id, 0, member.result)
        found = results.summary(connection, job_id)
        if found is None or found[1].hex() != member.result_hash:
            raise Differs(f"the results of {member.origin_id} have another hash than the archive says")
    if member.points:
        series.write(connection, [series.Batch(job_id, 0, _IMPORTED_MARK, list(member.points))])
    for kept in member.snapshots:
        fresh = snapshots.Fresh(
            project_id, job_id, 0, _IMPORTED_MARK, kept["step"], kept["kind"], kept["meta"], kept["packed"]
        )
        made = snapshots.write(connection, [fresh])[0]
        if bytes(snapshots.get(connection, project_id, made)["hash"]).hex() != kept["hash"]:
            raise Differs(f"a snapshot of {member.origin_id} has another hash than the archive says")


def packed_head(hash_: bytes, dtype: str, shape: Sequence[int], size: int) -> tensors.Packed:
    """A tensor that the project holds already, by its hash: nothing is sent again."""
    return tensors.Packed(hash_, dtype, tuple(shape), size, ())


def _needs(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    query = select(job_dependencies).where(
        job_dependencies.c.job_id.in_(ids), job_dependencies.c.needs_id.in_(ids)
    )
    found: dict[str, list[str]] = {}
    for row in connection.execute(query.order_by(job_dependencies.c.needs_id)):
        found.setdefault(row.job_id, []).append(row.needs_id)
    return found


def _hashes(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(
        text("SELECT job_id, hash FROM results WHERE job_id = ANY(:ids)"), {"ids": list(ids)}
    )
    return {row.job_id: bytes(row.hash).hex() for row in rows}


def _snapshots(
    connection: Connection, ids: Sequence[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, TensorPlace]]:
    """Weights and features by job; checkpoints are for going on, not for keeping."""
    rows = connection.execute(
        text("""
            SELECT s.id, s.job_id, s.step, s.kind, s.meta, s.hash, p.name, t.id AS tensor, t.dtype, t.shape, t.bytes,
                   t.hash AS content
              FROM snapshots s JOIN snapshot_tensors p ON p.snapshot_id = s.id JOIN tensors t ON t.id = p.tensor_id
             WHERE s.job_id = ANY(:ids) AND s.kind <> 'checkpoint' ORDER BY s.job_id, s.id, p.position"""),
        {"ids": list(ids)},
    )
    found: dict[str, dict[str, dict[str, Any]]] = {}
    places: dict[str, TensorPlace] = {}
    for row in rows:
        content = bytes(row.content).hex()
        places[content] = TensorPlace(row.tensor, row.bytes)
        head = {
            "id": row.id,
            "step": row.step,
            "kind": row.kind,
            "meta": row.meta,
            "hash": bytes(row.hash).hex(),
        }
        kept = found.setdefault(row.job_id, {}).setdefault(row.id, head | {"tensors": []})
        kept["tensors"].append(
            {"name": row.name, "dtype": row.dtype, "shape": list(row.shape), "hash": content}
        )
    return {job: list(each.values()) for job, each in found.items()}, places
