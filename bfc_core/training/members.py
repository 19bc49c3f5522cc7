"""Who listens to a pack: each member with its place, and what the caller decides about all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from bfc_core import specs
from bfc_core.specs.train import TrainSpec
from bfc_core.training.checkpoints import Place

#: At least two signs of life a second.
PROGRESS_SECONDS = 0.4


@dataclass
class Member:
    """One slot of a pack."""

    slot: int
    spec: TrainSpec
    place: Place = field(default_factory=Place)
    #: its records are wanted, and it has not ended
    live: bool = True
    #: (stage, step) up to which its records were told before this attempt
    heard: tuple[int, int] = (0, -1)

    def __post_init__(self) -> None:
        self.total = specs.total_steps(self.spec)

    def listens(self, stage: int, step: int) -> bool:
        """Whether a record made after `step` updates of `stage` is news to it."""
        return self.live and (stage, step) > self.heard


class Clock:
    """Says, between two steps, whether it is time for a checkpoint or a sign of life."""

    def __init__(self, members: Sequence[Member], asked: Callable[[], bool] | None) -> None:
        intervals = [member.spec.snapshots.checkpoint.every_seconds for member in members]
        self.interval = min(intervals, default=30.0)
        self.asked = asked
        self._answered = False
        now = time.monotonic()
        self._progress, self._checkpoint = now, now

    def progress_due(self) -> bool:
        """True at most every `PROGRESS_SECONDS`."""
        now = time.monotonic()
        if now - self._progress < PROGRESS_SECONDS:
            return False
        self._progress = now
        return True

    def checkpoint_due(self) -> bool:
        """True when the interval has passed, and once whenever the caller begins to ask."""
        asks = self.asked is not None and self.asked()
        fresh = asks and not self._answered
        self._answered = asks
        if not fresh and time.monotonic() - self._checkpoint < self.interval:
            return False
        self.checkpointed()
        return True

    def checkpointed(self) -> None:
        """A checkpoint has just been made."""
        self._checkpoint = time.monotonic()


@dataclass(frozen=True)
class Audience:
    """Which slots are read: `active` at the start, less what `gone` reports on the way."""

    active: Container[int] | None = None
    gone: Callable[[], set[int]] | None = None

    def wants(self, slot: int) -> bool:
        return self.active is None or slot in self.active

    def leave(self, members: Sequence[Member]) -> None:
        """Stops reading the members that have gone; their slots keep computing."""
        if self.gone is None:
            return
        lost = self.gone()
        for member in members:
            if member.slot in lost:
                member.live = False
