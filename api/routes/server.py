"""The server about itself: workers, queues, usage, health, metrics."""

from __future__ import annotations

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
from api.replies import json_reply
from api.routing import router
from api.settings import is_loopback
from api.submission import VERSION
from store import usage

routes = router("server")
BROKER_SECONDS = 2.0


@routes.get("/v1/workers", **answers(model=Page[WorkerReply]))
async def list_workers(lab: TheLab, who: Reader) -> Response:
    """List the living workers with their device, memory, and this project's jobs on them."""
    return _all(await lab.read(usage.workers, who.project))


@routes.get("/v1/queues", **answers(model=Page[QueueReply]))
async def list_queues(lab: TheLab, who: Reader) -> Response:
    """List the queues of the device classes (`auto` takes any device) with this project's jobs in them."""
    return _all(await lab.read(usage.queues, who.project))


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


def _all(rows: Any) -> Response:
    return json_reply({"items": [dict(row) for row in rows], "next": None})


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


def _ledger(connection: Connection) -> bytes:
    jobs, workers, facts = usage.watched(connection)
    registry = CollectorRegistry()
    by_state = GaugeMetricFamily("bfc_jobs", "Jobs in the ledger", labels=["kind", "state"])
    for row in jobs:
        by_state.add_metric([row["kind"], row["state"]], row["count"])
    living = GaugeMetricFamily("bfc_workers", "Workers that are alive", labels=["device_class", "state"])
    for row in workers:
        living.add_metric([row["device_class"], row["state"]], row["count"])
    single = [
        GaugeMetricFamily(f"bfc_{name}", name.replace("_", " "), value=float(value))
        for name, value in facts.items()
    ]
    registry.register(_Fixed([by_state, living, *single]))
    return bytes(generate_latest(registry))


class _Fixed:
    """A collector of what was read just now."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self.families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self.families
