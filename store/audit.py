"""Each attempt of a job and how it ended, each step between states, and the attempt whose results count."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from store.jobs import exists
from store.tables import attempts, audit

ATTEMPT = ("number", "epoch", "worker_id", "worker_name", "device", "started_at", "ended_at", "outcome",
           "from_step", "confirmed_step", "counts", "detail")  # fmt: skip
STEP = ("at", "source", "target", "epoch", "worker_id", "actor", "reason")


def of_job(connection: Connection, project_id: str, job_id: str) -> dict[str, Any]:
    """`{"attempts": […], "steps": […], "counts": epoch | None}`, oldest first; `NotFound` as in `jobs.get`."""
    exists(connection, project_id, job_id)
    tries = connection.execute(
        select(*(attempts.c[name] for name in ATTEMPT))
        .where(attempts.c.job_id == job_id)
        .order_by(attempts.c.epoch)
    )
    steps = connection.execute(
        select(*(audit.c[name] for name in STEP)).where(audit.c.job_id == job_id).order_by(audit.c.id)
    )
    found = [dict(row) for row in tries.mappings()]
    return {
        "attempts": found,
        "steps": [dict(row) for row in steps.mappings()],
        "counts": next((one["epoch"] for one in found if one["counts"]), None),
    }
