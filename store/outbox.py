"""Bells that must ring: written with the job by a trigger, published after the commit, rung again when lost."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, text

Ring = Callable[[str, str], None]

TAKE = text("""
    DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING queue, job_id""")

CLASSES = text("""
    SELECT DISTINCT device_class FROM workers WHERE state <> 'gone' AND heard_at > now() - interval '1 minute'""")

UNHEARD = text("""
    SELECT coalesce(j.device_class, CASE WHEN j.device LIKE 'cuda%' THEN 'cuda' ELSE j.device END) AS queue,
           min(j.id) AS job_id
      FROM jobs j WHERE j.state = 'queued' AND (j.not_before IS NULL OR j.not_before <= now())
     GROUP BY 1
    UNION ALL
    SELECT 'auto', min(id) FROM jobs WHERE conclude_due AND state = 'running'
       AND (lease_until IS NULL OR lease_until < now()) HAVING count(*) > 0""")


def relay(engine: Engine, ring: Ring, *, limit: int = 1000) -> int:
    """Publishes the bells of committed transactions, `ring(device_class, job_id)`; how many.

    A bell leaves the outbox only after it has rung: a crash between the two rings it twice, never not at all.
    """
    with engine.begin() as connection:
        rows = connection.execute(TAKE, {"limit": limit}).all()
        if rows:
            classes = _classes(connection)
            # One job may be written twice, as when it was queued, claimed and queued again meanwhile.
            for queue, job_id in dict.fromkeys((row.queue, row.job_id) for row in rows):
                for device_class in _answering(queue, classes):
                    ring(device_class, job_id)
    return len(rows)


def unheard(connection: Connection) -> list[tuple[str, str]]:
    """One `(device_class, job_id)` for each class that has work nobody has taken: rung again from the ledger."""
    classes = _classes(connection)
    rows = connection.execute(UNHEARD).all()
    return [(name, row.job_id) for row in rows for name in _answering(row.queue, classes)]


def _classes(connection: Connection) -> set[str]:
    return set(connection.execute(CLASSES).scalars())


def _answering(queue: str, classes: set[str]) -> list[str]:
    if queue == "auto":
        # With nobody there yet, the bell waits where the commonest worker will listen.
        return sorted(classes) or ["cpu"]
    return ["cuda" if queue.startswith("cuda") else queue]
