"""The housekeeping loop of the API process: in small batches, one process at a time."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from api.lab import Lab
from store import housekeeping as store

LOG = logging.getLogger("bfc.housekeeping")
PERIOD_SECONDS = 300.0
FIRST_SECONDS = 30.0
PAUSE_SECONDS = 1.0
BATCH = 200


async def housekeeping(lab: Lab) -> None:
    """Keep house for ever."""
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        more = False
        try:
            more = await lab.write(keep_house, lab.settings.retention_days)
        except (SQLAlchemyError, OSError) as fault:
            LOG.warning("housekeeping waits for the database: %s", type(fault).__name__)
        await asyncio.sleep(PAUSE_SECONDS if more else PERIOD_SECONDS)


def keep_house(connection: Connection, retention_days: float | None) -> bool:
    """One batch; True where there is likely more to do."""
    if not store.take_turn(connection):
        return False
    old = [*store.expired(connection, retention_days, BATCH), *store.over_size(connection, BATCH)]
    removed = store.remove(connection, old) if old else 0
    pruned = store.prune(connection, BATCH)
    if removed or pruned:
        LOG.info("housekeeping: %d jobs past their retention, %d other rows", removed, pruned)
    return removed >= BATCH or pruned >= BATCH
