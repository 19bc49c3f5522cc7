"""The information-gap study: what each layer adds, for joint and layerwise training.

Source: after Alain and Bengio, arXiv 1610.01644.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bfc_core import specs
from bfc_core.records import Result
from bfc_core.registry import deed
from bfc_core.specs import probe as words
from bfc_core.studies import intervals
from bfc_core.studies.arms import MAIN
from bfc_core.studies.claims import Claim
from bfc_core.studies.member import Member, packed
from bfc_core.studies.outcomes import DIVERGED, MISSING, Outcome
from bfc_core.studies.tables import REL, columns, failed_runs, table

SCHEDULES = ("joint", "layerwise", "layerwise_then_joint")
RUNS = (
    *columns("string", "schedule"),
    *columns("integer", "seed", "layer"),
    *columns("number", "probe", "initial", "shuffled", "gap"),
    REL,
    *columns("number", "test_accuracy"),
    *columns("string", "state"),
)
CURVES = (
    *columns("string", "schedule"),
    *columns("integer", "seed"),
    *columns("string", "key"),
    *columns("integer", "layer", "step"),
    *columns("number", "value"),
)
GAPS = (
    *columns("string", "schedule"),
    *columns("integer", "layer", "seeds"),
    *columns("number", "gap", "low", "high"),
)


@dataclass(frozen=True, slots=True)
class Run:
    schedule: str
    seed: int
    member: Member


@deed(specs.InformationGapSpec)
class InformationGap:
    """What the word `information_gap` does."""

    def __init__(self, spec: specs.InformationGapSpec) -> None:
        self.spec = spec
        self.layers = specs.layers(spec.base.arm(MAIN["joint"], 0))

    def size(self) -> int:
        return self.spec.seeds * len(SCHEDULES)

    def members(self) -> list[Member]:
        """Joint, layerwise and both in turn, at every seed, probed at every layer."""
        runs = list(self._runs())
        return packed([run.member for run in runs], [str(run.seed) for run in runs])

    def _runs(self) -> Iterator[Run]:
        for index in range(self.spec.seeds):
            seed = self.spec.member_seed(index)
            number = seed if isinstance(seed, int) else index
            for schedule in SCHEDULES:
                spec = self.spec.base.arm(MAIN[schedule], seed, probes=self._probes())
                labels = {"schedule": schedule, "seed": str(number)}
                name = f"{schedule.replace('_', ' ')} · seed {number}"
                yield Run(schedule, number, Member(f"{schedule}/{index}", "train", name, spec, labels))

    def _probes(self) -> tuple[Any, ...]:
        """The base's probes, the layers' probe, and what each layer adds to those below."""
        base = self.spec.base.probes
        own = words.TwoLayer() if self.spec.probe == "two_layer" else words.Linear()
        needed: tuple[Any, ...] = (own, words.InformationGap())
        kinds = {probe.kind for probe in base}
        return (*base, *(probe for probe in needed if probe.kind not in kinds))

    def conclude(self, outcomes: Mapping[str, Outcome]) -> Result:
        """Table `runs` by layer, and the median gap of each layer with its interval."""
        rows = [row for run in self._runs() for row in self._rows(run, outcomes.get(run.member.key, MISSING))]
        failed = failed_runs(self.members(), outcomes)
        gaps = table(GAPS, self._gaps(rows))
        summary = {"gaps": gaps.records(), "claims": [], "seeds": self.spec.seeds, "failed": len(failed.rows)}
        tables = {"runs": table(RUNS, rows), "gaps": gaps, "failed_runs": failed}
        return Result(summary, {**tables, "curves": table(CURVES, self._curves(outcomes))})

    def _curves(self, outcomes: Mapping[str, Outcome]) -> Iterator[dict[str, Any]]:
        """Test errors, and the layers' probes, at every recorded step."""
        named = (self.spec.probe, f"{self.spec.probe}_accuracy", "information_gap")
        keys: list[tuple[str, int | None]] = [("test_error", None)]
        keys += [(key, layer) for key in named for layer in self.layers]
        for run in self._runs():
            head = {"schedule": run.schedule, "seed": run.seed}
            for (key, layer), points in outcomes.get(run.member.key, MISSING).curves(keys).items():
                for step, value in points:
                    yield {**head, "key": key, "layer": layer, "step": step, "value": value}

    def _rows(self, run: Run, outcome: Outcome) -> Iterator[dict[str, Any]]:
        key = self.spec.probe
        for layer in self.layers:
            read = {
                "probe": _last(outcome, layer, key, f"{key}_accuracy"),
                "initial": _last(outcome, layer, f"{key}_initial", f"{key}_accuracy_initial"),
                "shuffled": _last(outcome, layer, f"{key}_shuffled", f"{key}_accuracy_shuffled"),
                "gap": outcome.last("information_gap", layer),
                "relative_test_error": outcome.number("relative_test_error"),
                "test_accuracy": outcome.number("test_accuracy"),
            }
            numbers = {name: None if value == DIVERGED else value for name, value in read.items()}
            state = "diverged" if outcome.diverged else outcome.state
            yield {"schedule": run.schedule, "seed": run.seed, "layer": layer, **numbers, "state": state}

    def _gaps(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Medians over the seeds that have the gap: an estimate, not a claim."""
        for schedule in SCHEDULES:
            for layer in self.layers:
                rows_here = [row for row in rows if (row["schedule"], row["layer"]) == (schedule, layer)]
                here = [row["gap"] for row in rows_here if row["gap"] is not None]
                if here:
                    low, high = intervals.order_interval(here)
                    known = intervals.rank(len(here)) > 0
                    yield {
                        "schedule": schedule,
                        "layer": layer,
                        "seeds": len(here),
                        "gap": intervals.median(here),
                        "low": low if known else None,
                        "high": high if known else None,
                    }

    def unanswered(self) -> list[dict[str, Any]]:
        return []

    def families(self) -> list[list[Claim]]:
        """An information gap is an estimate; nothing is claimed."""
        return []


def _last(outcome: Outcome, layer: int, *keys: str) -> float | None:
    """The last reading under the first of these keys that has one: errors for numbers, accuracies for classes."""
    return next((value for key in keys if (value := outcome.last(key, layer)) is not None), None)
