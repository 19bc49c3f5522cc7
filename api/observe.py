"""Structured logs and Prometheus counts of the API process."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import Scope

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
REQUESTS = Counter("bfc_http_requests", "Requests answered", ["method", "route", "status"], registry=REGISTRY)
SECONDS = Histogram(
    "bfc_http_request_seconds",
    "Seconds to answer, event streams apart",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
STREAMS = Gauge("bfc_event_streams", "Event streams open", registry=REGISTRY)
STREAMS_DROPPED = Counter(
    "bfc_event_streams_dropped", "Event streams cut because they read too slowly", registry=REGISTRY
)
EVENTS_SENT = Counter("bfc_events_sent", "Events handed to streams", registry=REGISTRY)
RENDERS = Counter("bfc_renders", "Figures and comparisons asked for", ["outcome"], registry=REGISTRY)
DELIVERIES = Counter(
    "bfc_webhook_attempts", "Attempts to deliver to a webhook", ["outcome"], registry=REGISTRY
)
LOG = logging.getLogger("bfc.access")


@dataclass(frozen=True, slots=True)
class Ids:
    """What ties the log lines of one request together, and to the job's own lines in the worker."""

    request_id: str
    trace_id: str


_current: ContextVar[Ids | None] = ContextVar("bfc_request", default=None)
_counters: dict[tuple[str, str, int], tuple[Any, Any]] = {}


def begin(request_id: str, trace_id: str) -> Ids:
    """Log lines of this task carry these ids from now on."""
    ids = Ids(request_id, trace_id)
    _current.set(ids)
    return ids


def end(scope: Scope, method: str, status: int, seconds: float) -> None:
    """Count one request and write its line."""
    route = str(getattr(scope.get("route"), "path_format", "unmatched"))
    count, histogram = _metrics(method if len(method) < 8 else "other", route, status)
    count.inc()
    if not scope.get("bfc.stream"):
        histogram.observe(seconds)
    if LOG.isEnabledFor(logging.INFO):
        LOG.info(
            "%s %s %d", method, route, status,
            extra={"data": {"path": scope["path"], "status": status, "seconds": round(seconds, 6)} | _job(scope)},
        )  # fmt: skip


def _metrics(method: str, route: str, status: int) -> tuple[Any, Any]:
    """The child metrics, remembered: looking them up by label costs more than counting."""
    name = (method, route, status)
    if name not in _counters:
        _counters[name] = REQUESTS.labels(method, route, str(status)), SECONDS.labels(method, route)
    return _counters[name]


def _job(scope: Scope) -> dict[str, str]:
    made = str(scope.get("bfc.made", ""))
    if made.startswith("/v1/jobs/"):
        return {"job_id": made.removeprefix("/v1/jobs/")}
    id_ = scope.get("path_params", {}).get("job_id")
    return {"job_id": id_} if isinstance(id_, str) else {}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the ids of the request it was written in."""
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        ids = _current.get()
        if ids is not None:
            line |= {"request_id": ids.request_id, "trace_id": ids.trace_id}
        line |= getattr(record, "data", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """The same for eyes."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the request's id at its end."""
        ids = _current.get()
        return super().format(record) + (f"  [{ids.request_id}]" if ids else "")


def set_up_logs(form: str) -> None:
    """Send this process's logs to stderr as `json` or `text`; requests are told in `json` only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    LOG.setLevel(logging.INFO if form == "json" else logging.WARNING)
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
