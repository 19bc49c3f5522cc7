"""What goes by itself: jobs past their retention, replies and deliveries nobody will ask for, content without owner.

A project's retention is its quotas `retention_days` (age of a finished job) and `retention_bytes` (of snapshots, the
oldest jobs go first). A job's label `retention_days` stands above them; its label `keep` (any value but `false`)
keeps it. Members go with their study.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from store import idempotency
from store.tensors import collect

#: only one process keeps house at a time
LOCK = 0x62_66_63_68
DELIVERY_DAYS = 30

_FINISHED = """j.parent_id IS NULL AND j.state IN ('succeeded', 'failed', 'cancelled')
           AND coalesce(j.labels ->> 'keep', 'false') = 'false'
           AND NOT EXISTS (SELECT 1 FROM job_dependencies d JOIN jobs w ON w.id = d.job_id
                            WHERE (d.needs_id = j.id OR d.needs_id IN (SELECT m.id FROM jobs m WHERE m.parent_id = j.id))
                              AND w.parent_id IS DISTINCT FROM j.id
                              AND w.state NOT IN ('succeeded', 'failed', 'cancelled'))"""

_EXPIRED = text(f"""
    SELECT j.id FROM jobs j
      LEFT JOIN quotas q ON q.project_id = j.project_id AND q.name = 'retention_days'
     WHERE {_FINISHED} AND j.finished_at < now() - make_interval(secs => 86400 * coalesce(
               CASE WHEN j.labels ->> 'retention_days' ~ '^[0-9]{{1,5}}$'
                    THEN CAST(j.labels ->> 'retention_days' AS float) END,
               q.amount, CAST(:days AS float)))
     ORDER BY j.finished_at LIMIT :limit""")

_OVER = text(f"""
    WITH owned AS (
        SELECT coalesce(j.parent_id, j.id) AS root, j.project_id, sum(s.bytes) AS bytes
          FROM snapshots s JOIN jobs j ON j.id = s.job_id
         WHERE j.project_id IN (SELECT project_id FROM quotas WHERE name = 'retention_bytes')
         GROUP BY 1, 2
    ), placed AS (
        SELECT owned.root, owned.project_id,
               sum(owned.bytes) OVER (PARTITION BY owned.project_id ORDER BY owned.root DESC) AS reached
          FROM owned
    )
    SELECT j.id FROM placed JOIN jobs j ON j.id = placed.root
      JOIN quotas q ON q.project_id = placed.project_id AND q.name = 'retention_bytes'
     WHERE placed.reached > q.amount AND {_FINISHED} ORDER BY j.id LIMIT :limit""")


def take_turn(connection: Connection) -> bool:
    """True for the one process that keeps house until its transaction ends."""
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar())


def expired(connection: Connection, default_days: float | None, limit: int) -> Sequence[str]:
    """Finished jobs older than their project's, their own or the server's retention."""
    rows = connection.execute(_EXPIRED, {"days": default_days, "limit": limit})
    return list(rows.scalars())


def over_size(connection: Connection, limit: int) -> Sequence[str]:
    """The oldest finished jobs of projects whose snapshots pass their `retention_bytes`."""
    return list(connection.execute(_OVER, {"limit": limit}).scalars())


def remove(connection: Connection, job_ids: Sequence[str]) -> int:
    """Deletes jobs with all they own; how many."""
    gone = text("DELETE FROM jobs WHERE id = ANY(:ids) AND state IN ('succeeded', 'failed', 'cancelled')")
    return connection.execute(gone, {"ids": list(job_ids)}).rowcount


def prune(connection: Connection, limit: int) -> int:
    """Forgets lapsed idempotency keys and old deliveries, and collects tensors without owner; how many rows."""
    old = text("""
        DELETE FROM deliveries WHERE id IN (
            SELECT id FROM deliveries WHERE state <> 'pending'
               AND created_at < now() - make_interval(days => :days) LIMIT :limit)""")
    gone = connection.execute(old, {"days": DELIVERY_DAYS, "limit": limit}).rowcount
    return gone + idempotency.prune(connection, limit) + collect(connection, limit=limit)
