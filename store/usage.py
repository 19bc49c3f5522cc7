"""What a project uses, the workers and the queues as it may see them, and the counts that operators watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, text

from store.jobs import count_by_state

_BYTES = text("""
    SELECT (SELECT coalesce(sum(bytes), 0) FROM snapshots WHERE project_id = :project) AS snapshot_bytes,
           (SELECT coalesce(sum(bytes), 0) FROM datasets WHERE project_id = :project) AS dataset_bytes,
           (SELECT coalesce(sum(run_seconds), 0) FROM jobs WHERE project_id = :project) AS run_seconds,
           (SELECT coalesce(json_object_agg(name, amount), '{}'::json) FROM quotas WHERE project_id = :project) AS quotas""")

_WORKERS = text("""
    SELECT w.id, w.name, w.host, w.device, w.device_class, w.version, w.memory_bytes, w.memory_free_bytes,
           w.device_memory_bytes, w.device_memory_free_bytes, w.hardware, w.started_at, w.heard_at,
           CASE WHEN w.drain AND w.state <> 'gone' THEN 'draining' ELSE w.state END AS state,
           coalesce((SELECT json_agg(j.id ORDER BY j.id) FROM jobs j WHERE j.worker_id = w.id
                        AND j.project_id = :project AND j.state IN ('running', 'pausing', 'cancelling')),
                    '[]'::json) AS jobs
      FROM workers w WHERE w.state <> 'gone' ORDER BY w.id""")

_QUEUES = text("""
    SELECT q.name,
           (SELECT count(*) FROM workers w WHERE w.state <> 'gone' AND (q.name = 'auto' OR w.device_class = q.name))
             AS workers,
           count(j.id) FILTER (WHERE j.state = 'queued') AS queued,
           count(j.id) FILTER (WHERE j.state IN ('running', 'pausing', 'cancelling')) AS running,
           extract(epoch FROM now() - min(j.queued_at) FILTER (WHERE j.state = 'queued'))::float AS oldest_seconds
      FROM (VALUES ('auto'), ('cpu'), ('cuda')) AS q(name)
      LEFT JOIN jobs j ON j.project_id = :project AND coalesce(j.device_class, j.device) = q.name
       AND j.state IN ('queued', 'running', 'pausing', 'cancelling') AND j.kind NOT IN ('study', 'sweep')
     GROUP BY q.name ORDER BY q.name""")

_JOBS = text("SELECT kind, state, count(*) AS count FROM jobs GROUP BY kind, state")
_LIVE = text("""
    SELECT name, device_class, CASE WHEN drain THEN 'draining' ELSE state END AS state, memory_free_bytes,
           device_memory_free_bytes, extract(epoch FROM now() - heard_at)::float AS silent_seconds
      FROM workers WHERE state <> 'gone' ORDER BY name, heard_at""")
_WAITING = text("""
    SELECT coalesce(device_class, device) AS device, count(*) AS count,
           extract(epoch FROM now() - min(queued_at))::float AS oldest_seconds
      FROM jobs WHERE state = 'queued' AND kind NOT IN ('study', 'sweep') GROUP BY 1""")
_ENDED = text("SELECT outcome, count(*) AS count FROM attempts WHERE outcome IS NOT NULL GROUP BY outcome")
_FACTS = text("""
    SELECT (SELECT count(*) FROM outbox) AS outbox,
           (SELECT count(*) FROM jobs WHERE state IN ('running', 'pausing', 'cancelling') AND lease_until < now())
             AS lapsed_leases,
           (SELECT count(*) FROM deliveries WHERE state = 'pending') AS pending_deliveries,
           (SELECT coalesce(sum(stored_bytes), 0) FROM tensors) AS stored_bytes,
           (SELECT coalesce(sum(lost_attempts), 0) FROM jobs) AS lost_attempts,
           pg_database_size(current_database()) AS database_bytes""")


def of_project(connection: Connection, project_id: str) -> dict[str, Any]:
    """Jobs by state, bytes and seconds of a project, and its quotas. Equal content is charged each time."""
    row = connection.execute(_BYTES, {"project": project_id}).mappings().one()
    return {"project": project_id, "jobs": count_by_state(connection, project_id)} | {
        "snapshot_bytes": int(row["snapshot_bytes"]),
        "dataset_bytes": int(row["dataset_bytes"]),
        "run_seconds": float(row["run_seconds"]),
        "quotas": row["quotas"],
    }


def workers(connection: Connection, project_id: str) -> Sequence[RowMapping]:
    """Living workers with the project's own jobs on them."""
    return connection.execute(_WORKERS, {"project": project_id}).mappings().all()


def queues(connection: Connection, project_id: str) -> Sequence[RowMapping]:
    """The queue of each device class with the project's own jobs in it."""
    return connection.execute(_QUEUES, {"project": project_id}).mappings().all()


class Watched(NamedTuple):
    """Of the whole server: jobs by kind and state, living workers, what waits by device, ended attempts, single facts."""

    jobs: Sequence[RowMapping]
    workers: Sequence[RowMapping]
    waiting: Sequence[RowMapping]
    ended: Sequence[RowMapping]
    facts: RowMapping


def watched(connection: Connection) -> Watched:
    """What operators watch."""
    jobs, workers, waiting, ended = (
        connection.execute(query).mappings().all() for query in (_JOBS, _LIVE, _WAITING, _ENDED)
    )
    return Watched(jobs, workers, waiting, ended, connection.execute(_FACTS).mappings().one())
