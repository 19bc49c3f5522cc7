"""The worker's log: lines of one job carry its id and the trace of the request that submitted it."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from store.claims import Claimed


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with what `of_job` gave."""
        said: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "from": record.name,
            "message": record.getMessage(),
        }
        said |= getattr(record, "data", {})
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


class TextLines(logging.Formatter):
    """The same for eyes."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the trace at its end."""
        trace = getattr(record, "data", {}).get("trace_id")
        return super().format(record) + (f"  [{trace}]" if trace else "")


def of_job(job: Claimed) -> dict[str, Any]:
    """Keyword arguments of a log call about an attempt at this job."""
    ids = {"job_id": job.id, "attempt": job.attempt, "epoch": job.epoch, "trace_id": job.trace_id}
    return {"extra": {"data": {name: value for name, value in ids.items() if value is not None}}}


def write_logs(form: str) -> None:
    """Logs to stderr, as text or as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Celery raises the root's level to its own `--loglevel`.
    logging.getLogger("worker").setLevel(logging.INFO)
