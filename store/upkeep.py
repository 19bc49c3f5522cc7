"""What grows is pruned in small batches: events, bells, deliveries, keys of idempotency, workers, tensors."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, Engine, text

from store import tensors
from store.engine import transact

BATCH = 5000

IDEMPOTENCY_HOURS = 24
DELIVERY_DAYS = 30
# A finished job's steps stay told for a month; its series, results and audit stay as long as the job.
EVENT_DAYS = 30
WORKER_DAYS = 7

_PRUNE = {
    "idempotency_keys": f"""
        DELETE FROM idempotency_keys WHERE (project_id, key) IN (
            SELECT project_id, key FROM idempotency_keys
             WHERE created_at < now() - interval '{IDEMPOTENCY_HOURS} hours' LIMIT :batch)""",
    "deliveries": f"""
        DELETE FROM deliveries WHERE id IN (
            SELECT id FROM deliveries WHERE state <> 'pending'
               AND created_at < now() - interval '{DELIVERY_DAYS} days' LIMIT :batch)""",
    "events": f"""
        DELETE FROM events WHERE (job_id, seq) IN (
            SELECT e.job_id, e.seq FROM events e JOIN jobs j ON j.id = e.job_id
             WHERE e.at < now() - interval '{EVENT_DAYS} days' AND e.kind IN ('progress', 'metric', 'log')
               AND j.finished_at < now() - interval '{EVENT_DAYS} days' LIMIT :batch)""",
    "workers": f"""
        DELETE FROM workers WHERE id IN (
            SELECT id FROM workers WHERE state = 'gone' AND ended_at < now() - interval '{WORKER_DAYS} days'
             LIMIT :batch)""",
    # A bell this old has long been rung again from the ledger.
    "outbox": """
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE created_at < now() - interval '1 day' LIMIT :batch)""",
}


def prune(connection: Connection, table: str) -> int:
    """Deletes one batch of what is past keeping; how many rows."""
    return connection.execute(text(_PRUNE[table]), {"batch": BATCH}).rowcount


def all_of_it(engine: Engine) -> dict[str, int]:
    """One batch of everything, each a transaction of its own; rows by table."""
    found = {table: transact(engine, partial(prune, table=table)) for table in _PRUNE}
    return found | {"tensors": transact(engine, tensors.collect)}
