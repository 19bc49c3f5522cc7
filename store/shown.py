"""A job as the API shows it, spelt by Postgres: one expression for one job, a page and a reply to a change.

The row leaves the database as JSON text and is passed on as it is; nothing is parsed and spelt again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from sqlalchemy import Connection, Select, Text, literal_column, select, text

from store.errors import NotFound
from store.tables import jobs

_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
# Progress of this attempt and those before it, at the pace so far.
_ETA = """CASE WHEN jobs.state = 'running' AND jobs.progress_done > 0 AND jobs.progress_total >= jobs.progress_done
    THEN round((extract(epoch FROM now() - jobs.started_at) * (jobs.progress_total - jobs.progress_done)
                / jobs.progress_done)::numeric, 3) END"""
SHOWN = f"""json_build_object(
    'id', jobs.id, 'project', jobs.project_id, 'kind', jobs.kind, 'name', coalesce(jobs.name, ''),
    'labels', jobs.labels, 'version', jobs.version, 'spec', jobs.spec, 'spec_hash', jobs.spec_hash,
    'state', jobs.state, 'reason', jobs.reason,
    'progress', json_build_object('done', jobs.progress_done, 'total', nullif(jobs.progress_total, 0),
                                  'unit', jobs.progress_unit, 'eta_seconds', {_ETA}),
    'attempt', jobs.attempt, 'parent', jobs.parent_id, 'member_key', jobs.member_key, 'pack', jobs.pack_id,
    'priority', jobs.priority,
    'after', coalesce((SELECT json_agg(d.needs_id ORDER BY d.needs_id) FROM job_dependencies d
                       WHERE d.job_id = jobs.id), '[]'::json),
    'limits', jobs.limits, 'device', coalesce(jobs.device_class, jobs.device), 'estimate', jobs.estimate,
    'origin_id', jobs.origin_id, 'origin_snapshot', jobs.origin_snapshot_id,
    'created_at', {_TIME.format("jobs.created_at")}, 'queued_at', {_TIME.format("jobs.queued_at")},
    'started_at', {_TIME.format("jobs.started_at")}, 'finished_at', {_TIME.format("jobs.finished_at")},
    'error', jobs.error, 'result', jobs.summary, 'provenance', jobs.provenance)::text"""

_ONE = f"SELECT {SHOWN} FROM jobs WHERE jobs.id = %s AND jobs.project_id = %s"


class Filters(NamedTuple):
    """What a list of jobs is narrowed to; empty fields narrow nothing."""

    states: Sequence[str] = ()
    kinds: Sequence[str] = ()
    parent_id: str | None = None
    top: bool = False
    labels: Mapping[str, str] = {}
    name: str | None = None
    spec_hash: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


async def read_one(connection: AsyncConnection[Any], project_id: str, job_id: str) -> str | None:
    """One job's JSON by primary key, the hottest read there is; None in another project."""
    cursor = await connection.execute(_ONE, (job_id, project_id), prepare=True)
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


def one(connection: Connection, project_id: str, job_id: str) -> str:
    """One job's JSON inside a transaction; `NotFound` in another project."""
    query = _shown().where(jobs.c.id == job_id, jobs.c.project_id == project_id)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise NotFound("job", job_id)
    return str(found)


def page(
    connection: Connection, project_id: str, filters: Filters, before_id: str | None, limit: int
) -> list[tuple[str, str]]:
    """Ids and JSON of the newest jobs first, older than `before_id`."""
    query = _narrowed(select(jobs.c.id, _column()), filters).where(jobs.c.project_id == project_id)
    if before_id is not None:
        query = query.where(jobs.c.id < before_id)
    rows = connection.execute(query.order_by(jobs.c.id.desc()).limit(limit))
    return [(row[0], row[1]) for row in rows]


def members(
    connection: Connection, study_id: str, states: Sequence[str], after_id: str | None, limit: int
) -> list[tuple[str, str]]:
    """Ids and JSON of a study's members in its order, past `after_id`."""
    query = select(jobs.c.id, _column()).where(jobs.c.parent_id == study_id)
    if states:
        query = query.where(jobs.c.state.in_(states))
    if after_id is not None:
        query = query.where(jobs.c.id > after_id)
    return [(row[0], row[1]) for row in connection.execute(query.order_by(jobs.c.id).limit(limit))]


def first_with(connection: Connection, project_id: str, kind: str, spec_hash: str) -> str | None:
    """The id of the first succeeded job of that spec that no study owns, for `reuse`."""
    query = text("""
        SELECT id FROM jobs WHERE project_id = :project AND spec_hash = :hash AND kind = :kind
           AND state = 'succeeded' AND parent_id IS NULL ORDER BY id LIMIT 1""")
    arguments = {"project": project_id, "hash": spec_hash, "kind": kind}
    found = connection.execute(query, arguments).scalar_one_or_none()
    return None if found is None else str(found)


def _column() -> Any:
    return literal_column(SHOWN, Text)


def _shown() -> Select[tuple[str]]:
    return select(_column())


def _narrowed(query: Select[Any], filters: Filters) -> Select[Any]:
    if filters.states:
        query = query.where(jobs.c.state.in_(filters.states))
    if filters.kinds:
        query = query.where(jobs.c.kind.in_(filters.kinds))
    if filters.parent_id is not None:
        query = query.where(jobs.c.parent_id == filters.parent_id)
    if filters.top:
        query = query.where(jobs.c.parent_id.is_(None))
    if filters.labels:
        query = query.where(jobs.c.labels.contains(dict(filters.labels)))
    if filters.name is not None:
        query = query.where(jobs.c.name == filters.name)
    if filters.spec_hash is not None:
        query = query.where(jobs.c.spec_hash == filters.spec_hash)
    if filters.created_after is not None:
        query = query.where(jobs.c.created_at > filters.created_after)
    if filters.created_before is not None:
        query = query.where(jobs.c.created_at < filters.created_before)
    return query


_TENSOR = """json_build_object('name', p.name, 'dtype', t.dtype, 'shape', t.shape, 'bytes', t.bytes,
    'hash', 'sha256:' || encode(t.hash, 'hex'))"""
SNAPSHOT = f"""json_build_object('id', snapshots.id, 'job', snapshots.job_id, 'step', snapshots.step,
    'kind', snapshots.kind, 'bytes', snapshots.bytes, 'hash', 'sha256:' || encode(snapshots.hash, 'hex'),
    'meta', snapshots.meta, 'created_at', {_TIME.format("snapshots.created_at")},
    'tensors', coalesce((SELECT json_agg({_TENSOR} ORDER BY p.position) FROM snapshot_tensors p
        JOIN tensors t ON t.id = p.tensor_id WHERE p.snapshot_id = snapshots.id), '[]'::json))::text"""
DATASET = f"""json_build_object('id', datasets.id, 'name', datasets.name, 'format', datasets.format,
    'bytes', datasets.bytes, 'hash', 'sha256:' || encode(datasets.hash, 'hex'), 'meta', datasets.meta,
    'created_at', {_TIME.format("datasets.created_at")},
    'tensors', coalesce((SELECT json_agg({_TENSOR} ORDER BY p.position) FROM dataset_tensors p
        JOIN tensors t ON t.id = p.tensor_id WHERE p.dataset_id = datasets.id), '[]'::json))::text"""


def snapshot(connection: Connection, project_id: str, snapshot_id: str) -> str:
    """One snapshot's JSON; `NotFound` in another project."""
    query = text(f"SELECT {SNAPSHOT} FROM snapshots WHERE id = :id AND project_id = :project")
    return _single(connection, query, "snapshot", snapshot_id, project_id)


def snapshots_of(
    connection: Connection, job_id: str, kind: str | None, after_id: str | None, limit: int
) -> list[tuple[str, str]]:
    """Ids and JSON of a job's snapshots, oldest first, past `after_id`."""
    query = text(f"""
        SELECT id, {SNAPSHOT} FROM snapshots WHERE job_id = :job
           AND (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:after AS text) IS NULL OR id > :after)
         ORDER BY id LIMIT :limit""")
    arguments = {"job": job_id, "kind": kind, "after": after_id, "limit": limit}
    return [(row[0], row[1]) for row in connection.execute(query, arguments)]


def dataset(connection: Connection, project_id: str, dataset_id: str) -> str:
    """One data set's JSON; `NotFound` in another project."""
    query = text(f"SELECT {DATASET} FROM datasets WHERE id = :id AND project_id = :project")
    return _single(connection, query, "data set", dataset_id, project_id)


def datasets_of(
    connection: Connection, project_id: str, before_id: str | None, limit: int
) -> list[tuple[str, str]]:
    """Ids and JSON of a project's data sets, newest first."""
    query = text(f"""
        SELECT id, {DATASET} FROM datasets WHERE project_id = :project
           AND (CAST(:before AS text) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit""")
    arguments = {"project": project_id, "before": before_id, "limit": limit}
    return [(row[0], row[1]) for row in connection.execute(query, arguments)]


def _single(connection: Connection, query: Any, noun: str, id_: str, project_id: str) -> str:
    found = connection.execute(query, {"id": id_, "project": project_id}).scalar_one_or_none()
    if found is None:
        raise NotFound(noun, id_)
    return str(found)
