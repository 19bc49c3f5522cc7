"""Workers: who is there, what each has, when it was last heard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, text

# Each worker holds a session lock under this class and its own number: it ends with its connection.
PRESENCE = 0x62_66_63


@dataclass(frozen=True, slots=True)
class Standing:
    """What a worker says of itself when it registers."""

    id: str
    name: str
    host: str
    pid: int
    device_class: str
    device: str
    version: str
    memory_bytes: int
    device_memory_bytes: int = 0
    hardware: Mapping[str, Any] = field(default_factory=dict)


def register(connection: Connection, worker: Standing) -> None:
    """Writes a worker that has just started."""
    connection.execute(
        text("""
            INSERT INTO workers (id, name, host, pid, device_class, device, version, memory_bytes, memory_free_bytes,
                                 device_memory_bytes, device_memory_free_bytes, hardware)
            VALUES (:id, :name, :host, :pid, :device_class, :device, :version, :memory_bytes, :memory_bytes,
                    :device_memory_bytes, :device_memory_bytes, CAST(:hardware AS jsonb))"""),
        {name: getattr(worker, name) for name in worker.__slots__}
        | {"hardware": json.dumps(dict(worker.hardware))},
    )


def present(connection: Connection, worker_id: str) -> None:
    """Marks the worker as there for as long as this very connection lives.

    Shared, because a connection that was cut without a word still holds it: its successor must not wait for that.
    """
    connection.execute(
        text("SELECT pg_advisory_lock_shared(:class, hashtext(:id))"), {"class": PRESENCE, "id": worker_id}
    )


def hear(
    connection: Connection,
    worker_id: str,
    state: str,
    memory_free_bytes: int,
    device_memory_free_bytes: int = 0,
    *,
    disk_full: bool = False,
) -> bool:
    """A sign of life, and whether its disk leaves no room for jobs; True when an operator has asked the worker to drain."""
    return bool(
        connection.execute(
            text("""
                UPDATE workers SET heard_at = clock_timestamp(), state = :state, ended_at = NULL,
                       memory_free_bytes = :free, device_memory_free_bytes = :device_free,
                       hardware = CASE WHEN :full THEN hardware || '{"disk_full": true}' ELSE hardware - 'disk_full' END
                 WHERE id = :id RETURNING drain"""),
            {
                "id": worker_id,
                "state": state,
                "free": memory_free_bytes,
                "device_free": device_memory_free_bytes,
                "full": disk_full,
            },
        ).scalar_one_or_none()
    )


def leave(connection: Connection, worker_id: str) -> None:
    """The worker has ended in good order."""
    connection.execute(
        text("UPDATE workers SET state = 'gone', ended_at = clock_timestamp() WHERE id = :id"),
        {"id": worker_id},
    )


def drain(connection: Connection, worker_id: str) -> bool:
    """Asks a worker to keep checkpoints, give its jobs back and end; False when there is none."""
    result = connection.execute(
        text("UPDATE workers SET drain = true WHERE id = :id AND state <> 'gone'"), {"id": worker_id}
    )
    return result.rowcount > 0


def bury(connection: Connection, silent_seconds: float) -> int:
    """Marks workers that have long been silent, and whose connection is gone, as gone; how many."""
    result = connection.execute(
        text("""
            UPDATE workers SET state = 'gone', ended_at = clock_timestamp()
             WHERE state <> 'gone' AND heard_at < clock_timestamp() - make_interval(secs => :silent)
               AND NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND classid = CAST(:class AS bigint)::oid
                    AND objid = (hashtext(workers.id)::bigint & 4294967295)::oid)"""),
        {"silent": silent_seconds, "class": PRESENCE},
    )
    return result.rowcount


def live(connection: Connection) -> Sequence[RowMapping]:
    """Workers that have not gone, with what they hold at the moment."""
    return (
        connection.execute(
            text("""
                SELECT w.*, extract(epoch FROM clock_timestamp() - w.heard_at) AS silent_seconds,
                       coalesce((SELECT jsonb_agg(j.id ORDER BY j.id) FROM jobs j
                                  WHERE j.worker_id = w.id AND j.state IN ('running', 'pausing', 'cancelling')), '[]')
                       AS jobs
                  FROM workers w WHERE w.state <> 'gone' ORDER BY w.id""")
        )
        .mappings()
        .all()
    )


def largest_memory(connection: Connection, device: str) -> int | None:
    """Bytes of the largest live worker that takes jobs of `device` (`auto`, `cpu`, `cuda`, `cuda:N`)."""
    return connection.execute(
        text("""SELECT max(memory_bytes) FROM workers WHERE state <> 'gone'
                   AND (:device = 'auto' OR device_class = :device OR device = :device)"""),
        {"device": device},
    ).scalar_one_or_none()


def queues(connection: Connection) -> Sequence[RowMapping]:
    """What waits and runs for each class of device."""
    return (
        connection.execute(
            text("""
                SELECT coalesce(device_class, device) AS queue,
                       count(*) FILTER (WHERE state = 'queued') AS queued,
                       count(*) FILTER (WHERE state <> 'queued') AS running,
                       min(queued_at) FILTER (WHERE state = 'queued') AS oldest
                  FROM jobs WHERE state IN ('queued', 'running', 'pausing', 'cancelling')
                   AND kind NOT IN ('study', 'sweep') GROUP BY 1 ORDER BY 1""")
        )
        .mappings()
        .all()
    )
