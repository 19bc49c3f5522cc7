"""A study whose members have ended is concluded once, under a lease like any other work."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

# Its state is `running` already, as long as its members were; only the lease is new.
CLAIM = text("""
    UPDATE jobs SET epoch = epoch + 1, attempt = attempt + 1, worker_id = :worker,
           lease_until = clock_timestamp() + make_interval(secs => :lease)
     WHERE id = (SELECT id FROM jobs WHERE conclude_due AND state = 'running' AND kind IN ('study', 'sweep')
                    AND (lease_until IS NULL OR lease_until < clock_timestamp())
                    AND (not_before IS NULL OR not_before < clock_timestamp())
                  ORDER BY priority DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, project_id, kind, spec, epoch, attempt, trace_id, lost_attempts""")

BEGIN = text("""
    INSERT INTO attempts (job_id, epoch, number, worker_id, worker_name, device)
    SELECT j.id, j.epoch, j.attempt, j.worker_id, w.name, w.device
      FROM jobs j JOIN workers w ON w.id = j.worker_id WHERE j.id = :id""")


def claim(connection: Connection, worker_id: str, lease_seconds: float) -> Row[Any] | None:
    """Takes one study that is due; None when none is."""
    row = connection.execute(CLAIM, {"worker": worker_id, "lease": lease_seconds}).one_or_none()
    if row is not None:
        connection.execute(BEGIN, {"id": row.id})
    return row


def due(connection: Connection) -> bool:
    """True when a study waits to be concluded and nobody is at it."""
    return bool(
        connection.execute(
            text("""SELECT EXISTS (SELECT 1 FROM jobs WHERE conclude_due AND state = 'running'
                       AND (lease_until IS NULL OR lease_until < clock_timestamp())
                       AND (not_before IS NULL OR not_before < clock_timestamp()))""")
        ).scalar_one()
    )
