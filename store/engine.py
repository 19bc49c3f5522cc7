"""How a process meets the database: one pool, short transactions, and the errors worth a second try."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from store.config import Config

T = TypeVar("T")

# deadlock_detected, serialization_failure: the transaction was innocent and may simply run again.
AGAIN = ("40P01", "40001")
# Raised by our own triggers: see migrations.
STALE_EPOCH = "BF001"
BAD_TRANSITION = "BF002"


def sqlalchemy_url(url: str) -> str:
    """`postgresql://…` as SQLAlchemy wants it for psycopg 3."""
    for head in ("postgresql://", "postgres://"):
        if url.startswith(head):
            return "postgresql+psycopg://" + url[len(head) :]
    return url


def libpq_url(url: str) -> str:
    """The same address for psycopg itself and for the tools of PostgreSQL."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def connect(config: Config, *, pool_size: int = 5, max_overflow: int = 10, name: str = "bfc") -> Engine:
    """An engine for `config.database_url`; connects only when first used.

    Timeouts keep a cut network or a forgotten transaction from holding a row for ever.
    """
    engine = create_engine(
        sqlalchemy_url(config.database_url),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_pre_ping=True,
        pool_recycle=1800,
        # The latest first: what a large read has left in one connection's buffers is there for the next.
        pool_use_lifo=True,
        connect_args={
            "application_name": name,
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "options": "-c timezone=UTC -c idle_in_transaction_session_timeout=60s -c lock_timeout=30s",
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare_at_once(connection: object, _record: object) -> None:
        # The same few statements run for ever: plan them once a connection.
        connection.prepare_threshold = 2  # type: ignore[attr-defined]

    over = threading.Event()

    @event.listens_for(engine, "engine_disposed")
    def _end(_engine: Engine) -> None:
        over.set()

    @event.listens_for(engine, "checkin")
    def _close_late(_connection: object, record: ConnectionPoolEntry) -> None:
        # One that was out, or still being made, when its pool was disposed of comes back to a pool that nobody empties.
        if over.is_set():
            record.close()

    return engine


def sqlstate(error: BaseException) -> str | None:
    """The five letters PostgreSQL gave `error`, if it came from there."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    return getattr(origin, "sqlstate", None)


def is_outage(error: BaseException) -> bool:
    """True when the database cannot be reached or is going away, as against a statement that is wrong."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is None:
        return isinstance(error, OperationalError)
    # 08: connection, 57P: shutdown or crash, 53: out of disk, memory, connections, 25006: a standby,
    # 55P03: somebody else has long held what we need.
    return state.startswith(("08", "57P", "53")) or state in ("25006", "55P03")


def transact(engine: Engine, work: Callable[[Connection], T], *, tries: int = 5) -> T:
    """Runs `work` in one transaction; again, a little later, when the database had to break a deadlock."""
    for left in range(tries - 1, -1, -1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if left == 0 or sqlstate(error) not in AGAIN:
                raise
            time.sleep(0.02 * (tries - left))
    raise AssertionError("unreachable")
