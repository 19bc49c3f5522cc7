"""Rings the bell for committed jobs, beside the requests: a client never waits for the broker.

The bells stand in the outbox with their jobs; one that cannot be rung now is rung later, here or by a worker's relay.
"""

from __future__ import annotations

import asyncio
import logging

from anyio import to_thread
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store.bell import Bell, BellError
from store.outbox import relay

LOG = logging.getLogger("bfc.bell")
RETRY_SECONDS = 2.0


class Ringer:
    """Relays the outbox whenever something may have been put there."""

    def __init__(self, engine: Engine, redis_url: str) -> None:
        self.engine = engine
        self.redis_url = redis_url
        self._due = asyncio.Event()

    def soon(self) -> None:
        """Something was committed that may hold bells."""
        self._due.set()

    async def run(self) -> None:
        """Ring for ever. Requests that come while the broker is asked are rung for together."""
        bell = await to_thread.run_sync(Bell, self.redis_url)
        failing = False
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                try:
                    await to_thread.run_sync(relay, self.engine, bell.ring)
                    failing = False
                except (BellError, SQLAlchemyError, OSError) as fault:
                    if not failing:
                        LOG.warning("the bell could not be rung and is tried again: %s", type(fault).__name__)
                    failing = True
                    await asyncio.sleep(RETRY_SECONDS)
                    self.soon()
        finally:
            bell.close()
