"""Jobs: submitting, reading, listing, deleting. Steps between states: `store.steps` and `store.claims`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, text

from bfc_core import specs
from store.errors import Conflict, NotFound, QueueFull, UnknownDependency
from store.ids import new_id
from store.keys import quotas_of
from store.settle import count_members, follow
from store.states import STATES, TERMINAL
from store.tables import job_dependencies, jobs

STUDIES = ("study", "sweep")
_DATASET = re.compile(r'"(ds_[0-9a-z]+)"')
_DATA_HASHES = text("SELECT id, hash FROM datasets WHERE id = ANY(:ids) ORDER BY id")

# What a page of jobs needs; a spec may be long and is read alone.
SHORT = [
    jobs.c[name]
    for name in (
        "id", "project_id", "kind", "name", "labels", "spec_hash", "state", "priority", "parent_id",
        "member_key", "attempt", "device", "device_class", "progress_done", "progress_total", "progress_unit",
        "error", "created_at", "queued_at", "started_at", "finished_at", "limits", "reason", "version",
        "origin_id",
    )
]  # fmt: skip
WHOLE = [
    *SHORT,
    *(jobs.c[name] for name in ("spec", "summary", "provenance", "estimate", "pack_id", "slot", "trace_id")),
    *(jobs.c[name] for name in ("dtype", "threads", "event_seq", "epoch", "origin_snapshot_id")),
]


@dataclass(frozen=True, slots=True)
class Placing:
    """How a submission is placed beside the job's own words."""

    key_id: str | None = None
    trace_id: str | None = None
    origin_snapshot_id: str | None = None
    provenance: Mapping[str, Any] | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    """The server's limits, named as in `specs.Limits`, and `queued_jobs`, which a project's quota stands above."""


def submit(
    connection: Connection,
    project_id: str,
    job: specs.Job,
    members: Sequence[Any] = (),
    placing: Placing = Placing(),
) -> str:
    """Writes a job, and for a study its `members` (of `studies.members`), with what each waits for; its id.

    The bells are written to the outbox by the same transaction. Raises `UnknownDependency`, `QueueFull`.
    """
    after = list(dict.fromkeys([*job.after, *_probed(job.spec)]))
    states = _needed(connection, project_id, after)
    quotas = quotas_of(connection, project_id)
    _room(connection, project_id, max(1, len(members)), quotas.get("queued_jobs", placing.bounds.get("queued_jobs")))
    job_id = new_id("job")
    study = job.kind in STUDIES
    costs = [_cost(one.spec) for one in members]
    cost = specs.combined(costs, [one.pack for one in members]) if study else _cost(job.spec)
    met = all(state == "succeeded" for state in states.values())
    row = _row(project_id, job.kind, job.spec, cost) | {
        "id": job_id,
        "name": job.name,
        "labels": job.labels,
        "priority": job.priority,
        "version": job.version,
        "limits": _limits(job.limits, quotas, placing.bounds),
        "state": "waiting" if study or not met else "queued",
        "key_id": placing.key_id,
        "trace_id": placing.trace_id,
        "origin_snapshot_id": placing.origin_snapshot_id,
        "provenance": dict(placing.provenance or {}) | _origins(connection, job.spec),
    }
    if study:
        row |= {
            "progress_unit": "job",
            "progress_total": len(members),
            "memory_bytes": 0,
            "device_memory_bytes": 0,
        }
    connection.execute(insert(jobs), row)
    _depend(connection, [(job_id, needed) for needed in after])
    if study:
        _members(connection, row, members, after, met)
    lost = [needed for needed, state in states.items() if state in ("failed", "cancelled")]
    if lost:
        # Told at once: what it was to wait for will never succeed.
        follow(connection, lost)
    elif study and not members:
        count_members(connection, job_id)
    return job_id


def get(connection: Connection, project_id: str, job_id: str) -> RowMapping:
    """One job with its spec, summary and provenance; `NotFound` in another project."""
    query = select(*WHOLE).where(jobs.c.id == job_id, jobs.c.project_id == project_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("job", job_id)
    return row


def list_jobs(
    connection: Connection,
    project_id: str,
    *,
    states: Sequence[str] = (),
    kinds: Sequence[str] = (),
    parent_id: str | None = None,
    top: bool = False,
    labels: Mapping[str, str] | None = None,
    name: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    before_id: str | None = None,
    limit: int = 100,
) -> Sequence[RowMapping]:
    """The newest jobs first, at most `limit`; `before_id` is the last id of the page before.

    `top` leaves out the members of studies. Members of one study come in the order of the study.
    """
    query = select(*SHORT, jobs.c.summary).where(jobs.c.project_id == project_id)
    if states:
        query = query.where(jobs.c.state.in_(states))
    if kinds:
        query = query.where(jobs.c.kind.in_(kinds))
    if top:
        query = query.where(jobs.c.parent_id.is_(None))
    if labels:
        query = query.where(jobs.c.labels.contains(dict(labels)))
    if name is not None:
        query = query.where(jobs.c.name == name)
    if created_after is not None:
        query = query.where(jobs.c.created_at > created_after)
    if created_before is not None:
        query = query.where(jobs.c.created_at < created_before)
    if parent_id is not None:
        query = query.where(jobs.c.parent_id == parent_id)
    if before_id is not None:
        query = query.where(jobs.c.id < before_id)
    return connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).mappings().all()


def children(
    connection: Connection, project_id: str, job_id: str, *, after_id: str | None = None, limit: int = 100
) -> Sequence[RowMapping]:
    """The members of a study in its order, at most `limit`, past `after_id`; `NotFound` for no such job."""
    exists(connection, project_id, job_id)
    query = select(*SHORT, jobs.c.summary, jobs.c.pack_id, jobs.c.slot).where(jobs.c.parent_id == job_id)
    if after_id is not None:
        query = query.where(jobs.c.id > after_id)
    return connection.execute(query.order_by(jobs.c.id).limit(limit)).mappings().all()


def exists(connection: Connection, project_id: str, job_id: str) -> None:
    """`NotFound` unless the project has this job."""
    query = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.project_id == project_id)
    if connection.execute(query).one_or_none() is None:
        raise NotFound("job", job_id)


def needs(connection: Connection, job_id: str) -> list[str]:
    """The jobs that `job_id` waits for, or has waited for."""
    query = select(job_dependencies.c.needs_id).where(job_dependencies.c.job_id == job_id)
    return list(connection.execute(query.order_by(job_dependencies.c.needs_id)).scalars())


def delete(connection: Connection, project_id: str, job_id: str) -> None:
    """Deletes a finished job and all it owns; its tensors are collected later.

    Raises `NotFound`; `Conflict` for one that has not ended, is a study's member, or is still needed.
    """
    row = connection.execute(
        text("SELECT state, parent_id FROM jobs WHERE id = :id AND project_id = :project FOR UPDATE"),
        {"id": job_id, "project": project_id},
    ).one_or_none()
    if row is None:
        raise NotFound("job", job_id)
    if row.parent_id is not None:
        raise Conflict("delete", row.state, f"it belongs to the study {row.parent_id}; delete that")
    if row.state not in TERMINAL:
        raise Conflict("delete", row.state, "only a finished job can be deleted; cancel it first")
    users = connection.execute(
        text("""
            SELECT d.job_id FROM job_dependencies d JOIN jobs j ON j.id = d.job_id
             WHERE d.needs_id IN (SELECT id FROM jobs WHERE id = :id OR parent_id = :id)
               AND j.state NOT IN ('succeeded', 'failed', 'cancelled')
               AND j.id <> :id AND j.parent_id IS DISTINCT FROM :id LIMIT 1"""),
        {"id": job_id},
    ).scalar_one_or_none()
    if users is not None:
        raise Conflict("delete", row.state, f"the job {users} still needs it")
    connection.execute(jobs.delete().where(jobs.c.id == job_id))


def count_by_state(connection: Connection, project_id: str | None = None) -> dict[str, int]:
    """How many jobs are in each state; all projects when `project_id` is None."""
    query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    if project_id is not None:
        query = query.where(jobs.c.project_id == project_id)
    found = {str(state): int(count) for state, count in connection.execute(query)}
    return {state: found.get(state, 0) for state in STATES}


def _needed(connection: Connection, project_id: str, after: Sequence[str]) -> dict[str, str]:
    """States of the jobs to wait for, held so that none ends before this submission has committed."""
    if not after:
        return {}
    rows = connection.execute(
        text("""SELECT id, state FROM jobs WHERE id = ANY(:ids) AND project_id = :project
                 ORDER BY id FOR SHARE"""),
        {"ids": list(after), "project": project_id},
    )
    states = {row.id: row.state for row in rows}
    missing = [place for place, needed in enumerate(after) if needed not in states]
    if missing:
        raise UnknownDependency(missing, [after[place] for place in missing])
    return states


def _limits(asked: specs.Limits, quotas: Mapping[str, int], bounds: Mapping[str, float]) -> dict[str, Any]:
    """What a job may use: the least of what its body, its project (quotas `job_…`) and the server say."""
    own = asked.model_dump(mode="json", exclude_none=True)
    found = {}
    for name in specs.Limits.model_fields:
        said = [place[key] for place, key in ((own, name), (quotas, f"job_{name}"), (bounds, name)) if key in place]
        if said:
            found[name] = min(said)
    return found


def _room(connection: Connection, project_id: str, adding: int, limit: float | None) -> None:
    if limit is None:
        return
    queued = connection.execute(
        text("""SELECT count(*) FROM jobs WHERE project_id = :project AND state IN ('queued', 'waiting')
                   AND kind NOT IN ('study', 'sweep')"""),
        {"project": project_id},
    ).scalar_one()
    if queued + adding > limit:
        raise QueueFull(queued, adding, int(limit))


def _probed(spec: Any) -> tuple[str, ...]:
    """The job a probe reads is one it waits for."""
    job_id = getattr(getattr(spec, "of", None), "job", None)
    return (job_id,) if isinstance(job_id, str) else ()


def _row(project_id: str, kind: str, spec: Any, cost: specs.Estimate) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "kind": kind,
        "spec": specs.dump(spec),
        "spec_hash": specs.spec_hash(spec),
        "device": getattr(spec, "device", None) or "auto",
        "estimate": cost.json(),
        "memory_bytes": cost.memory_bytes,
        "device_memory_bytes": cost.device_memory_bytes,
        "progress_unit": "step",
        "progress_total": specs.total_steps(spec) if kind == "train" else 0,
    }


def _origins(connection: Connection, spec: Any) -> dict[str, Any]:
    """What the numbers rest on that is known at submission: spec and seed by value, stored data by its hash."""
    named = sorted(set(_DATASET.findall(json.dumps(specs.dump(spec)))))
    rows = connection.execute(_DATA_HASHES, {"ids": named}) if named else ()
    return _settled(spec) | {"data": {row.id: f"sha256:{bytes(row.hash).hex()}" for row in rows}}


def _settled(spec: Any) -> dict[str, Any]:
    dumped = specs.dump(spec)
    seed = dumped.get("seed", dumped.get("base", {}).get("seed"))
    return {"spec_hash": specs.spec_hash(spec), "seed": seed}


def _members(
    connection: Connection, study: dict[str, Any], members: Sequence[Any], after: Sequence[str], met: bool
) -> None:
    """Writes the members of `study`, in order; each waits for its own needs and for the study's."""
    ids = {member.key: new_id("job") for member in members}
    packs: dict[str, list[str]] = {}
    costs = {member.key: _cost(member.spec) for member in members}
    for member in members:
        if member.pack is not None:
            packs.setdefault(member.pack, []).append(member.key)
    names = {pack: new_id("pack") for pack in packs}
    shared = {pack: specs.together([costs[key] for key in keys]) for pack, keys in packs.items()}
    rows, waits = [], []
    for member in members:
        row = _row(study["project_id"], member.kind, member.spec, costs[member.key])
        if member.pack is not None:
            row |= {"pack_id": names[member.pack], "slot": packs[member.pack].index(member.key)}
            row["memory_bytes"], row["device_memory_bytes"] = shared[member.pack]
        else:
            row |= {"pack_id": None, "slot": None}
        rows.append(
            row
            | {
                key: study[key]
                for key in ("priority", "version", "limits", "key_id", "trace_id")
            }
            | {
                "provenance": study["provenance"] | _settled(member.spec),
                "id": ids[member.key],
                "name": member.name,
                "labels": dict(member.labels),
                "parent_id": study["id"],
                "member_key": member.key,
                "state": "waiting" if member.after or not met else "queued",
            }
        )
        waits += [(ids[member.key], ids[key]) for key in member.after]
        waits += [(ids[member.key], needed) for needed in after]
    for start in range(0, len(rows), 500):
        connection.execute(insert(jobs), rows[start : start + 500])
    _depend(connection, waits)


def _cost(spec: Any) -> specs.Estimate:
    return specs.estimate(spec)


def _depend(connection: Connection, pairs: Sequence[tuple[str, str]]) -> None:
    if pairs:
        connection.execute(
            text("""INSERT INTO job_dependencies (job_id, needs_id)
                    SELECT DISTINCT * FROM unnest(CAST(:jobs AS text[]), CAST(:needs AS text[]))"""),
            {"jobs": [job for job, _ in pairs], "needs": [needed for _, needed in pairs]},
        )
