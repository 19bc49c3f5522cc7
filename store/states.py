"""The states of a job and every step between them: the one place; the database enforces the same table."""

from typing import Literal, get_args

State = Literal[
    "waiting", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]
STATES: tuple[str, ...] = get_args(State)

LEASED = ("running", "pausing", "cancelling")
TERMINAL = ("succeeded", "failed", "cancelled")

TRANSITIONS: dict[str, tuple[str, ...]] = {
    # waiting → running | pausing | cancelling are a study's: its members start, pause or end.
    "waiting": ("queued", "running", "pausing", "paused", "cancelling", "cancelled"),
    "queued": ("running", "waiting", "paused", "cancelled", "failed"),
    # running → queued: a lost lease, drain or outage.
    "running": ("succeeded", "failed", "queued", "pausing", "cancelling"),
    "pausing": ("paused", "succeeded", "failed", "cancelling"),
    # paused → waiting | running | cancelling are a study's, or a job's that still has something to wait for.
    "paused": ("queued", "waiting", "running", "cancelling", "cancelled"),
    "cancelling": ("cancelled",),
    # Only `retry` leaves these two.
    "failed": ("queued", "waiting"),
    "cancelled": ("queued", "waiting"),
    # Only deletion leaves this one.
    "succeeded": (),
}


def may(source: str, target: str) -> bool:
    """True when a job may step from `source` to `target`."""
    return target in TRANSITIONS[source]
