"""How an attempt ends, and what becomes of its job: one transaction, told to all that depend on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from bfc_core.records import Result
from store import results, series, snapshots
from store.settle import count_members, ended, lock_parents
from store.states import TERMINAL

Outcome = Literal[
    "succeeded", "failed", "cancelled", "paused", "drained", "outage", "lost", "killed", "memory", "wall_time"
]
# Attempts that end so do not count against the limit.
FREE = ("paused", "drained", "outage")
DEFAULT_ATTEMPTS = 10
MEMORY_KILLS = 2
LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one attempt: how, and with what."""

    job_id: str
    epoch: int
    outcome: Outcome
    result: Result | None = None
    error: dict[str, Any] | None = None
    reason: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


HELD = text("""
    SELECT id, kind, state, epoch, parent_id, limits, lost_attempts, memory_kills, spec -> 'snapshots' AS keep,
           conclude_due FROM jobs
     WHERE id = ANY(:ids) AND state IN ('running', 'pausing', 'cancelling') ORDER BY id FOR UPDATE""")

STEP = text("""
    UPDATE jobs SET state = :state, reason = :reason, error = CAST(:error AS jsonb), summary = CAST(:summary AS json),
           worker_id = NULL, lease_until = NULL, lost_attempts = :lost, memory_kills = :kills,
           not_before = CASE WHEN :wait > 0 THEN clock_timestamp() + make_interval(secs => :wait) END,
           cancel_at = NULL, pause_at = NULL, epoch = epoch + :fence, conclude_due = false,
           provenance = provenance || CAST(:provenance AS jsonb),
           run_seconds = run_seconds + coalesce((SELECT extract(epoch FROM clock_timestamp() - started_at)
                                                   FROM attempts WHERE job_id = :id AND epoch = :epoch), 0)
     WHERE id = :id""")

CLOSE = text("""
    UPDATE attempts SET ended_at = clock_timestamp(), outcome = :outcome, counts = :counts,
           detail = detail || CAST(:detail AS jsonb),
           confirmed_step = (SELECT max(step) FROM checkpoints WHERE job_id = :id)
     WHERE job_id = :id AND epoch = :epoch""")


def end(connection: Connection, endings: Sequence[Ending], *, fence: bool = False) -> dict[str, str]:
    """Ends attempts; the new state of each job whose epoch was still in force.

    An ending whose epoch is over is left out of the answer: another attempt has the job. `fence` is for a
    reaper, who must shut out a holder that may still be alive.
    """
    by_id = {ending.job_id: ending for ending in endings}
    lock_parents(connection, list(by_id))
    rows = [row for row in connection.execute(HELD, {"ids": list(by_id)}) if row.epoch == by_id[row.id].epoch]
    states = {row.id: _end_one(connection, row, by_id[row.id], fence) for row in rows}
    over = [job_id for job_id, state in states.items() if state in TERMINAL]
    if over:
        ended(connection, over)
    # A study that is pausing, or told to stop when a member fails, looks at its members again.
    for parent in sorted({row.parent_id for row in rows if row.parent_id is not None}):
        if any(states[row.id] == "failed" for row in rows if row.parent_id == parent):
            _stop_on_failure(connection, parent)
        count_members(connection, parent)
    return states


def _end_one(connection: Connection, row: Row[Any], ending: Ending, fence: bool) -> str:
    lost = row.lost_attempts + (ending.outcome in ("lost", "killed"))
    kills = row.memory_kills + (ending.outcome == "memory")
    state, error, reason = _verdict(row, ending, lost, kills)
    summary = None
    if state == "succeeded":
        assert ending.result is not None
        results.write(connection, row.id, row.epoch, ending.result)
        summary = json.dumps(results.finite(ending.result.summary))
    if state == "succeeded":
        # Not before: a later attempt would have to cut between points that had been put together.
        series.compact(connection, row.id, row.epoch)
    connection.execute(
        STEP,
        {
            "id": row.id,
            "state": state,
            "reason": reason,
            "error": None if error is None else _told(error),
            "summary": summary,
            "lost": lost,
            "kills": kills,
            "wait": _wait(lost + kills) if state == "queued" and ending.outcome not in FREE else 0.0,
            "fence": int(fence),
            "epoch": row.epoch,
            "provenance": _told(ending.provenance),
        },
    )
    connection.execute(
        CLOSE,
        {
            "id": row.id,
            "epoch": row.epoch,
            "outcome": ending.outcome,
            "counts": state == "succeeded",
            "detail": _told(ending.detail),
        },
    )
    if state == "succeeded" and row.kind == "train":
        snapshots.thin_checkpoints(connection, row.id, _kept(row))
    return state


def _verdict(
    row: Row[Any], ending: Ending, lost: int, kills: int
) -> tuple[str, dict[str, Any] | None, str | None]:
    """The state that follows, its error, and the reason told."""
    if row.state == "cancelling":
        return "cancelled", None, "its process is gone"
    limit = _attempts(row)
    match ending.outcome:
        case "succeeded":
            return "succeeded", None, None
        case "failed" | "wall_time":
            return "failed", ending.error, ending.reason
        case "cancelled":
            return "failed", {"code": "stopped", "message": "its process stopped unasked"}, ending.reason
        case "memory" if kills >= MEMORY_KILLS:
            return "failed", ending.error or _out_of_memory(ending), ending.reason
        case "lost" | "killed" | "memory" if lost + kills >= limit:
            return "failed", _exhausted(lost + kills, ending), ending.reason
    if row.state == "pausing":
        return "paused", None, "its process is gone"
    return "queued", None, ending.reason or _SAID[ending.outcome]


_SAID = {
    "paused": "it was paused",
    "drained": "its worker is being drained",
    "outage": "its worker could not reach the database",
    "lost": "its worker fell silent",
    "killed": "its process was killed",
    "memory": "its process ran out of memory",
}


def _told(value: dict[str, Any]) -> str:
    """As JSONB takes it: without NaN, and without the NUL that a crashed program may have printed."""
    return json.dumps(results.finite(value)).replace("\\u0000", "")


def _out_of_memory(ending: Ending) -> dict[str, Any]:
    last = ending.reason or _SAID[ending.outcome]
    return {
        "code": "out_of_memory",
        "message": f"it ran out of memory {MEMORY_KILLS} times; the last: {last}",
        "hint": "make the job smaller, or raise limits.memory_bytes where the worker has more",
    }


def _attempts(row: Row[Any]) -> int:
    return int(row.limits.get("attempts") or DEFAULT_ATTEMPTS)


def exhausted(row: Row[Any]) -> bool:
    """True when one more lost attempt is the last that the job's limits allow."""
    return bool(row.lost_attempts + 1 >= _attempts(row))


def _exhausted(attempts: int, ending: Ending) -> dict[str, Any]:
    last = ending.reason or _SAID[ending.outcome]
    return {
        "code": "attempts_exhausted",
        "message": f"{attempts} attempts were lost; the last: {last}",
        "hint": "limits.attempts sets how many may be lost; POST …/retry starts the count again",
    }


def _wait(failures: int) -> float:
    """Seconds before the next attempt: none after the first loss, then 1, 2, 4 … up to a minute."""
    return 0.0 if failures <= 1 else min(LONGEST_WAIT_SECONDS, 2.0 ** (failures - 2))


def _kept(row: Row[Any]) -> int:
    checkpoint = (row.keep or {}).get("checkpoint") or {}
    return int(checkpoint.get("keep", 1))


def _stop_on_failure(connection: Connection, study_id: str) -> None:
    """Cancels the rest of a study whose spec says that one failure is enough."""
    stops = connection.execute(
        text("SELECT coalesce((spec ->> 'stop_on_failure')::bool, false) FROM jobs WHERE id = :id"),
        {"id": study_id},
    ).scalar_one()
    if stops:
        from store.steps import cancel_members

        cancel_members(connection, study_id, "another member failed and the study's spec stops then")
