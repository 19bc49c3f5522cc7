"""How soon a dead worker is noticed, the next attempt is past its checkpoint, and a cancelled job's process is gone.

Promised: noticed within 3 heartbeats, past the checkpoint within 5 s, gone within its grace + 1 s in each state.

    python -m bench.recovery [--rounds 5] [--workers 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import datetime
from typing import Any

import psutil

from bench.lab import Lab, lab

HEARTBEAT_SECONDS, GRACE_SECONDS = 0.4, 2.0
SETTINGS = {
    "BFC_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
    "BFC_CANCEL_GRACE_SECONDS": str(GRACE_SECONDS),
    "BFC_LEASE_SECONDS": "15",
}
LONG: dict[str, Any] = {
    "kind": "train",
    "spec": {"budget": {"steps": 1_000_000}, "snapshots": {"checkpoint": {"every_seconds": 1.0}}, "probes": []},
}


def main() -> None:
    """Prints a line for each promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with lab(asked.workers, **SETTINGS) as ours:
        # Nobody is judged in the first lease after a start of the database.
        time.sleep(15)
        deaths = [death(ours, index) for index in range(asked.rounds)]
        say("killed worker noticed", [one for one, _ in deaths], 3 * HEARTBEAT_SECONDS)
        say("next attempt past the checkpoint", [one for _, one in deaths], 5.0)
        for state in ("queued", "waiting", "paused"):
            say(f"cancelled while {state}", [cancel_idle(ours, state) for _ in range(asked.rounds)], GRACE_SECONDS + 1)
        for state in ("loading", "running", "pausing", "deaf"):
            say(f"cancelled while {state}", [cancel_live(ours, state) for _ in range(asked.rounds)], GRACE_SECONDS + 1)


def death(ours: Lab, seed: int) -> tuple[float, float]:
    """Seconds from kill -9 of a worker until its job is queued again, and until it is past its checkpoint."""
    job = ours.submit({**LONG, "spec": {**LONG["spec"], "seed": seed}})
    ours.until(job, lambda one: bool(one["progress"]["done"]))
    while not ours.client.get(f"/v1/jobs/{job}/snapshots").json()["items"]:
        time.sleep(0.05)
    worker = ours.worker_of(job)
    killed, began = time.time(), time.monotonic()
    worker.kill()
    ours.until(job, lambda one: one["attempt"] == 2)
    start = ours.audit(job)["attempts"][1]["from_step"]
    ours.until(job, lambda one: one["progress"]["done"] > start)
    past = time.monotonic() - began
    steps = [one for one in ours.audit(job)["steps"] if one["target"] == "queued"]
    ours.ask(job, "cancel")
    ours.until(job, lambda one: one["state"] == "cancelled")
    return datetime.fromisoformat(steps[1]["at"]).timestamp() - killed, past


def cancel_idle(ours: Lab, state: str) -> float:
    """Seconds from the request until a job without a process is cancelled."""
    first = ours.submit({**LONG, "priority": 1})
    job = ours.submit({**LONG, "after": [first]} if state == "waiting" else LONG)
    if state == "paused":
        ours.ask(job, "pause")
        ours.until(job, lambda one: one["state"] == "paused")
    seconds = cancelled(ours, job)
    ours.ask(first, "cancel")
    ours.until(first, lambda one: one["state"] == "cancelled")
    return seconds


def cancel_live(ours: Lab, state: str) -> float:
    """Seconds from the request until the process is gone and the job cancelled. `deaf`: it is stopped and hears nothing."""
    job = ours.submit(LONG)
    ours.until(job, lambda one: one["state"] == "running" and (state == "loading" or bool(one["progress"]["done"])))
    child = ours.child_of(job)
    if state == "pausing":
        ours.ask(job, "pause")
    if state == "deaf":
        child.suspend()
    return cancelled(ours, job, child)


def cancelled(ours: Lab, job: str, child: psutil.Process | None = None) -> float:
    began = time.monotonic()
    ours.ask(job, "cancel")
    ours.until(job, lambda one: one["state"] == "cancelled")
    seconds = time.monotonic() - began
    assert child is None or not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "it still computes"
    return seconds


def say(what: str, seconds: list[float], needed: float) -> None:
    middle, worst = statistics.median(seconds), max(seconds)
    print(f"{what:<34} median {middle:5.2f} s  worst {worst:5.2f} s  needed {needed:4.2f} s", flush=True)


if __name__ == "__main__":
    main()
