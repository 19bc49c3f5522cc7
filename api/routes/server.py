"""The server about itself: workers, queues, usage, health, metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from anyio import fail_after
from fastapi import Request
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import CollectorRegistry
from redis.exceptions import RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from api import observe
from api.auth import Reader, identify
from api.documented import Responses, answers
from api.lab import Lab, TheLab
from api.models import HealthReply, Page, QueueReply, ReadyReply, UsageReply, WorkerReply
from api.replies import Cursor, Limit, NameCursor, json_reply, page_of
from api.routing import router
from api.submission import VERSION
from store import usage
from store.config import is_loopback

routes = router("server")
BROKER_SECONDS = 2.0


@routes.get("/v1/workers", **answers(model=Page[WorkerReply]))
async def list_workers(lab: TheLab, who: Reader, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List the living workers with their device, memory, and this project's jobs on them."""
    return page_of(await lab.read(usage.workers, who.project), "id", limit, cursor)


@routes.get("/v1/queues", **answers(model=Page[QueueReply]))
async def list_queues(lab: TheLab, who: Reader, limit: Limit = 100, cursor: NameCursor = None) -> Response:
    """List the queues of the device classes (`auto` takes any device) with this project's jobs in them."""
    return page_of(await lab.read(usage.queues, who.project), "name", limit, cursor)


@routes.get("/v1/usage", **answers(model=UsageReply))
async def show_usage(lab: TheLab, who: Reader) -> Response:
    """Show what the project uses and its quotas."""
    return json_reply(await lab.read(usage.of_project, who.project))


@routes.get("/healthz", tags=["health"], responses={200: {"model": HealthReply}})
async def healthz() -> Response:
    """Say that the process lives."""
    return json_reply({"status": "ok", "version": VERSION})


_READY: Responses = {
    200: {"model": ReadyReply},
    503: {"model": ReadyReply, "description": "Something it rests on is missing."},
}


@routes.get("/readyz", tags=["health"], responses=_READY)
async def readyz(lab: TheLab) -> Response:
    """Say whether database, broker and schema revision are as they must be."""
    try:
        database, schema = "ok", await lab.read(_schema)
    except (SQLAlchemyError, OSError) as fault:
        database, schema = _brief(fault), "unknown"
    broker = await _broker(lab)
    ready = (database, schema, broker) == ("ok", "ok", "ok")
    told = {
        "status": "ready" if ready else "not_ready",
        "database": database,
        "broker": broker,
        "schema": schema,
    }
    return json_reply(told, 200 if ready else 503)


_METRICS = answers()
_METRICS["responses"][200] = {
    "description": "Prometheus text.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@routes.get("/metrics", tags=["health"], **_METRICS)
async def metrics(request: Request, lab: TheLab) -> Response:
    """Tell Prometheus: requests, streams, jobs, workers, queues. Without a key on loopback, else with `admin`."""
    address = request.client.host if request.client else ""
    if not (is_loopback(address) and not lab.gate.exposed and "authorization" not in request.headers):
        await identify(request, "admin")
    content = generate_latest(observe.REGISTRY)
    try:
        content += await lab.read(_ledger)
    except (SQLAlchemyError, OSError):
        content += b"# the database cannot be read\n"
    return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")


def _schema(connection: Connection) -> str:
    from migrations.commands import head

    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    wanted = head()
    return "ok" if found == wanted else f"at {found}, {wanted} is needed; run: bfc migrate upgrade"


async def _broker(lab: Lab) -> str:
    client = redis.asyncio.Redis.from_url(lab.config.redis_url)
    try:
        with fail_after(BROKER_SECONDS):
            await client.ping()
    except (RedisError, OSError) as fault:
        return _brief(fault)
    finally:
        await client.aclose()
    return "ok"


def _brief(fault: BaseException) -> str:
    """One line without addresses or secrets: these replies are open to all."""
    return f"not reachable ({type(fault).__name__})"


#: what single facts of the ledger mean
_FACTS = {
    "outbox": "Bells that are written and not yet rung",
    "lapsed_leases": "Jobs whose worker has been silent for longer than its lease",
    "pending_deliveries": "Webhook deliveries still to be made",
    "stored_bytes": "Bytes of tensors as they are stored",
    "lost_attempts": "Attempts that ended with their worker, of all jobs there are",
    "database_bytes": "Bytes of the whole database",
}


def _ledger(connection: Connection) -> bytes:
    found = usage.watched(connection)
    families = [
        _family("jobs", "Jobs in the ledger", found.jobs, ("kind", "state"), "count"),
        _family("attempts", "Attempts that have ended", found.ended, ("outcome",), "count"),
        _family("queued_jobs", "Jobs that wait for a worker", found.waiting, ("device",), "count"),
        _family(
            "oldest_queued_seconds", "Age of the job that waits longest", found.waiting, ("device",), "oldest_seconds"
        ),
        _counted("workers", "Workers that are alive", found.workers, ("device_class", "state")),
        *(
            _family(f"worker_{name}", says, found.workers, ("name", "device_class"), name)
            for name, says in (
                ("silent_seconds", "Seconds since the worker was last heard"),
                ("memory_free_bytes", "Memory that is free on the worker's host"),
                ("device_memory_free_bytes", "Memory that is free on the worker's device"),
            )
        ),
        *(GaugeMetricFamily(f"bfc_{name}", says, value=float(found.facts[name])) for name, says in _FACTS.items()),
    ]
    registry = CollectorRegistry()
    registry.register(_Fixed(families))
    return bytes(generate_latest(registry))


def _family(name: str, says: str, rows: Any, labels: Sequence[str], value: str) -> GaugeMetricFamily:
    """A gauge with one sample a row; of rows with equal labels the last one counts."""
    family = GaugeMetricFamily(f"bfc_{name}", says, labels=labels)
    samples = {tuple(str(row[label]) for label in labels): float(row[value]) for row in rows}
    for marks, amount in samples.items():
        family.add_metric(marks, amount)
    return family


def _counted(name: str, says: str, rows: Any, labels: Sequence[str]) -> GaugeMetricFamily:
    """A gauge of how many rows have equal labels."""
    family = GaugeMetricFamily(f"bfc_{name}", says, labels=labels)
    for marks, count in Counter(tuple(str(row[label]) for label in labels) for row in rows).items():
        family.add_metric(marks, count)
    return family


class _Fixed:
    """A collector of what was read just now."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self.families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self.families
