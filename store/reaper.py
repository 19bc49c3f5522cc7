"""Leases that their holders no longer renew are ended here, so that no job stays `running` without a process."""

from __future__ import annotations

import time

from sqlalchemy import Connection, text

from store.endings import LONGEST_WAIT_SECONDS, Ending, end, exhausted
from store.settle import count_members, lock_parents
from store.workers import PRESENCE

# With the time between two looks, `period`, a dead worker is noticed before a third beat is missing.
MISSED_BEATS = 2

# A lapsed lease; or missed beats of a holder whose connection is gone as well. A stopped or starved worker
# keeps its connection and so its whole lease; just after a restart of the database nobody has one.
LAPSED = text("""
    SELECT j.id, j.kind, j.epoch, j.lost_attempts, j.limits, w.name AS worker,
           j.lease_until < clock_timestamp() AS lapsed
      FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
     WHERE j.state IN ('running', 'pausing', 'cancelling') AND j.lease_until IS NOT NULL
       AND clock_timestamp() > pg_postmaster_start_time() + make_interval(secs => :settle)
       AND (j.lease_until < clock_timestamp()
            OR (j.lease_until < clock_timestamp() + make_interval(secs => :lease - :missed)
                AND (w.id IS NULL OR w.heard_at < clock_timestamp() - make_interval(secs => :missed))
                AND NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND classid = CAST(:class AS bigint)::oid
                    AND objid = (hashtext(j.worker_id)::bigint & 4294967295)::oid)))
     ORDER BY j.id LIMIT :limit""")

# The same question again, under the locks: a beat may have come between.
STILL = text("""
    SELECT id FROM jobs WHERE id = ANY(:ids) AND state IN ('running', 'pausing', 'cancelling')
       AND lease_until < clock_timestamp() + make_interval(secs => :lease - :missed)
     ORDER BY id FOR UPDATE SKIP LOCKED""")

LOST_CONCLUSION = text("""
    UPDATE jobs SET epoch = epoch + 1, worker_id = NULL, lease_until = NULL, lost_attempts = lost_attempts + 1,
           not_before = CASE WHEN lost_attempts > 0 THEN clock_timestamp()
                             + make_interval(secs => least(:longest, 2.0 ^ (lost_attempts - 1))) END
     WHERE id = ANY(:ids) RETURNING id""")


class Judge:
    """Whether one may judge others: who was away itself leaves everybody a whole lease to be heard again."""

    def __init__(self, lease_seconds: float, heartbeat_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._away_seconds = 3 * heartbeat_seconds + 1.0
        self._heard = time.monotonic()
        self._from = 0.0

    def heard(self) -> None:
        """The database has just answered."""
        now = time.monotonic()
        if now - self._heard > self._away_seconds:
            self._from = now + self._lease_seconds
        self._heard = now

    @property
    def may(self) -> bool:
        now = time.monotonic()
        return now >= self._from and now - self._heard <= self._away_seconds


def period(heartbeat_seconds: float) -> float:
    """Seconds between two looks for lost holders."""
    return max(0.1, heartbeat_seconds / 2)


def reap(
    connection: Connection,
    lease_seconds: float,
    heartbeat_seconds: float,
    *,
    settle_seconds: float | None = None,
    limit: int = 500,
) -> dict[str, str]:
    """Ends the attempts of lost holders; the new state of each of their jobs.

    Running ones are queued again and go on from their checkpoints; pausing ones are paused, cancelling ones
    cancelled, studies concluded by another. For `settle_seconds` after a start of the database (default: a
    lease) nobody is judged: all holders have to come back first.
    """
    times = {"lease": lease_seconds, "missed": MISSED_BEATS * heartbeat_seconds}
    rows = connection.execute(
        LAPSED,
        times
        | {
            "settle": lease_seconds if settle_seconds is None else settle_seconds,
            "class": PRESENCE,
            "limit": limit,
        },
    ).all()
    if not rows:
        return {}
    lock_parents(connection, [row.id for row in rows])
    still = set(connection.execute(STILL, times | {"ids": [row.id for row in rows]}).scalars())
    rows = [row for row in rows if row.id in still]
    endings, conclusions = [], []
    for row in rows:
        why = "its lease lapsed" if row.lapsed else "its connection was lost"
        said = f"worker {row.worker or 'unknown'} fell silent: {why}"
        if row.kind in ("study", "sweep") and not exhausted(row):
            conclusions.append(row.id)
        else:
            endings.append(Ending(row.id, row.epoch, "lost", reason=said, detail={"reason": said}))
    states = end(connection, endings, fence=True) if endings else {}
    return states | _conclude_again(connection, conclusions)


def mend(connection: Connection) -> None:
    """Takes up what a crash may have left between two transactions: studies not told of a member's step."""
    studies = connection.execute(
        text("""
            SELECT s.id FROM jobs s WHERE s.kind IN ('study', 'sweep') AND NOT s.conclude_due
               AND ((s.state = 'waiting' AND EXISTS (SELECT 1 FROM jobs m WHERE m.parent_id = s.id AND m.attempt > 0))
                 OR (s.state IN ('waiting', 'running', 'pausing', 'cancelling') AND NOT EXISTS (
                     SELECT 1 FROM jobs m WHERE m.parent_id = s.id
                        AND m.state NOT IN ('succeeded', 'failed', 'cancelled', 'paused'))))
             ORDER BY s.id LIMIT 100""")
    ).scalars()
    for study in list(studies):
        count_members(connection, study)


def _conclude_again(connection: Connection, ids: list[str]) -> dict[str, str]:
    if not ids:
        return {}
    connection.execute(
        text("""UPDATE attempts SET ended_at = clock_timestamp(), outcome = 'lost'
                 WHERE job_id = ANY(:ids) AND ended_at IS NULL"""),
        {"ids": ids},
    )
    again = connection.execute(LOST_CONCLUSION, {"ids": ids, "longest": LONGEST_WAIT_SECONDS}).scalars()
    return dict.fromkeys(again, "running")
