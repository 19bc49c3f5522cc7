"""The runs of one read-out, by arm and seed: what claims are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bfc_core.studies.outcomes import MISSING, Outcome, Reading

if TYPE_CHECKING:
    from bfc_core.studies.correction import Run

Values = tuple[float, ...]


class Seeds:
    """The runs of one read-out, by arm and seed, and which of them a claim has looked at."""

    def __init__(self, readout: str, runs: Sequence[Run], count: int) -> None:
        self.readout = readout
        self.runs = {(run.arm.name, run.index): run for run in runs if run.readout == readout}
        self.count = count

    def outcome(self, arm: str, index: int) -> Outcome:
        run = self.runs.get((arm, index))
        return run.outcome if run else MISSING

    def error(self, arm: str) -> list[Reading]:
        """rel of an arm, one a seed."""
        return [self.outcome(arm, i).number("relative_test_error") for i in range(self.count)]

    def feature_error(self, arm: str, level: int) -> list[Reading]:
        return [self.outcome(arm, i).last("feature_error", level) for i in range(self.count)]

    def measured(self, used: Sequence[str]) -> int:
        """Seeds whose members of these arms all ended by themselves."""
        return sum(all(_ended(self.outcome(arm, i)) for arm in used) for i in range(self.count))


def _ended(outcome: Outcome) -> bool:
    return outcome.ended or outcome.diverged


Found = tuple[dict[str, Any], dict[str, Values], Sequence[str]]
"""Where a claim stands, its components' values, and the arms it needs."""
