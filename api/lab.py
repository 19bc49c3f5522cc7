"""What one API process holds: its connections, its key ring, its streams, its working children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import anyio
from anyio import to_thread
from fastapi import Depends, Request
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Connection, Engine

from api.auth import KeyRing, Principal
from api.hosts import Gate
from api.hub import Hub
from api.outgoing import Outgoing
from api.rates import Rates
from api.rendering import Rendering
from api.ringing import Ringer
from api.settings import Settings
from store import keys
from store.config import Config
from store.engine import connect, libpq_url, transact

P = ParamSpec("P")
T = TypeVar("T")
#: threads, and so connections, that synchronous store functions may take at once
THREADS, GLANCES = 12, 4


@dataclass(slots=True)
class Lab:
    """One process's state, on `app.state.lab`."""

    config: Config
    settings: Settings
    gate: Gate
    engine: Engine
    pool: AsyncConnectionPool
    keys: KeyRing
    rates: Rates
    hub: Hub
    rendering: Rendering
    intake: Rendering
    ringer: Ringer
    outgoing: Outgoing = field(default_factory=Outgoing)
    #: whoever reads what takes tens of megabytes waits for the one before
    heavy: anyio.Lock = field(default_factory=anyio.Lock)
    threads: anyio.CapacityLimiter | None = None
    glances: anyio.CapacityLimiter | None = None
    #: uploads under way, by caller
    uploads: Counter[str] = field(default_factory=Counter)
    _local: Principal | None = None
    _tasks: AsyncExitStack = field(default_factory=AsyncExitStack)

    @classmethod
    def of(cls, config: Config, settings: Settings) -> Lab:
        """The state for these settings; nothing is connected or started yet."""
        engine = connect(config, pool_size=THREADS, max_overflow=2, name="bfc-api")
        pool = AsyncConnectionPool(
            libpq_url(config.database_url),
            min_size=1,
            max_size=8,
            open=False,
            timeout=5.0,
            kwargs={"autocommit": True, "options": "-c timezone=UTC", "application_name": "bfc-api-hot"},
        )
        return cls(
            config,
            settings,
            Gate(config, settings),
            engine,
            pool,
            KeyRing(pool),
            Rates(settings.requests_per_minute),
            Hub(engine, settings.max_streams),
            Rendering(config, settings.renderers),
            Rendering(config, 1, limit_seconds=600.0),
            Ringer(engine, config.redis_url),
        )

    @property
    def bounds(self) -> dict[str, float]:
        """What this server lets a job use, and a project queue, at most."""
        return self.config.job_limits | {"queued_jobs": self.settings.max_queued_jobs}

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """`work(connection, …)` of a store function that only reads, in a thread."""

        def run() -> T:
            # Committed, because psycopg forgets on a rollback all that the connection has prepared.
            with self.engine.begin() as connection:
                return work(connection, *args, **options)

        return await to_thread.run_sync(run, limiter=self._limiter())

    async def glance(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """As `read`, for what one statement tells: without a transaction, which costs two more round trips."""

        def run() -> T:
            with self.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return work(connection, *args, **options)

        # Few at once: libpq keeps the room of the largest row that a connection has read.
        self.glances = self.glances or anyio.CapacityLimiter(GLANCES)
        return await to_thread.run_sync(run, limiter=self.glances)

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """`work(connection, …)` in one transaction, committed before this returns."""

        def run() -> T:
            return transact(self.engine, lambda connection: work(connection, *args, **options))

        return await to_thread.run_sync(run, limiter=self._limiter())

    async def compute(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Something of milliseconds that would stall the streams."""
        return await to_thread.run_sync(partial(work, *args, **options), limiter=self._limiter())

    async def local_principal(self) -> Principal:
        """Who calls without a key where that is allowed: the machine's user, in the default project."""
        if self._local is None:
            self._local = Principal(await self.write(keys.project), rank=2, operator=True)
        return self._local

    def _limiter(self) -> anyio.CapacityLimiter:
        if self.threads is None:
            self.threads = anyio.CapacityLimiter(THREADS)
        return self.threads


async def _of_request(request: Request) -> Any:
    return request.app.state.lab


TheLab = Annotated[Lab, Depends(_of_request)]
