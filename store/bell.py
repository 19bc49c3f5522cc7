"""The bell: a Celery message that carries a job's id and nothing else. It is a hint; the ledger is the truth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

TASK = "worker.run_job"
# A bell that nobody answered in this time is stale; the ledger rings again.
EXPIRES_SECONDS = 600


class BellError(ConnectionError):
    """The broker cannot be reached. Nothing is lost: the bell is rung again from the ledger."""


def broker_url(redis_url: str) -> str:
    """`unix:///path` as kombu spells it."""
    return (
        "redis+socket://" + redis_url.removeprefix("unix://")
        if redis_url.startswith("unix://")
        else redis_url
    )


def settings(redis_url: str) -> dict[str, Any]:
    """What every Celery application of the lab has in common."""
    return {
        "broker_url": broker_url(redis_url),
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_create_missing_queues": True,
        "broker_transport_options": {"socket_timeout": 5, "socket_connect_timeout": 2},
    }


class Bell:
    """Rings by name, so that whoever rings need not import the worker. Safe to share between threads."""

    def __init__(self, redis_url: str) -> None:
        self._app = Celery("bfc-bell", set_as_current=False)
        self._app.conf.update(settings(redis_url))
        # kombu would try for seconds to connect, while whoever rings holds a transaction.
        self._app.conf.broker_transport_options = {**self._app.conf.broker_transport_options, "max_retries": 0}

    def ring(self, device_class: str, job_id: str) -> None:
        """Rings for the workers of one class; `BellError` at once when the broker is away."""
        try:
            self._app.send_task(
                TASK, args=[job_id], queue=f"bfc.{device_class}", expires=EXPIRES_SECONDS, retry=False
            )
        except (OperationalError, OSError) as error:
            raise BellError(str(error)) from error

    def close(self) -> None:
        self._app.close()


@contextlib.contextmanager
def bell(redis_url: str) -> Iterator[Bell]:
    """A bell for the length of a block."""
    one = Bell(redis_url)
    try:
        yield one
    finally:
        one.close()
