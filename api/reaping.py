"""Ends the leases of workers that have fallen silent, as every worker does: the last one to die has no other.

The API is there when no worker is, so that no job stays `running` without a process until somebody starts one.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from api.lab import Lab
from store import reaper

LOG = logging.getLogger("bfc.reaping")


async def reaping(lab: Lab) -> None:
    """Reap for ever."""
    lease, heartbeat = lab.config.lease_seconds, lab.config.heartbeat_seconds
    judge = reaper.Judge(lease, heartbeat)

    def look(connection: Connection) -> dict[str, str]:
        connection.execute(text("SELECT 1"))
        judge.heard()
        return reaper.reap(connection, lease, heartbeat) if judge.may else {}

    while True:
        await asyncio.sleep(reaper.period(heartbeat))
        try:
            states = await lab.write(look)
        except (SQLAlchemyError, OSError) as fault:
            LOG.debug("no reaping while the database is away: %s", type(fault).__name__)
            continue
        for job, state in states.items():
            LOG.warning("%s: its worker fell silent → %s", job, state)
        if states:
            lab.ringer.soon()
