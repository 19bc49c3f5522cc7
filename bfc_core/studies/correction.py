"""The correction study: members, tables and claims about backward feature correction.

Source: Allen-Zhu and Li, arXiv 2001.04413; definitions and verdicts as in docs/science.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bfc_core import specs
from bfc_core.records import Column, Result, Table
from bfc_core.registry import deed
from bfc_core.specs.data import Hierarchical
from bfc_core.specs.model import QuadraticDensenet
from bfc_core.studies import claims, correction_claims
from bfc_core.studies.arms import Arm, arms, layers, of_pictures, own_cell, with_probes
from bfc_core.studies.beside import COLUMNS as BASELINE_COLUMNS
from bfc_core.studies.beside import baseline_members, baseline_row, most_baselines
from bfc_core.studies.member import Member, packed
from bfc_core.studies.outcomes import DIVERGED, MISSING, Outcome
from bfc_core.studies.rates import stuck_rates
from bfc_core.studies.readings import log_ratio
from bfc_core.studies.side_by_side import side_by_side
from bfc_core.studies.tables import REL, columns, failed_runs, table

OWN_READOUT = "own"
"""Stands for the read-out of networks that have but one."""

PAIRS = ("before_after", "init_after", "init_before")
COSINES = ("weight_correlation", "raw_cosine", "aligned_cosine", "matched_cosine")


@dataclass(frozen=True, slots=True)
class Run:
    """One training of the study: an arm, a read-out, a seed, and how it ended."""

    arm: Arm
    readout: str
    index: int
    seed: int
    spec: specs.TrainSpec
    outcome: Outcome = MISSING

    @property
    def key(self) -> str:
        return f"{self.readout}/{self.arm.name}/{self.index}"

    @property
    def last_stage(self) -> int:
        """The step at which the last stage starts: what `before` means in `before` and `after`."""
        return sum(stage.steps for stage in specs.stages(self.spec)[:-1])

    @property
    def second_stage_end(self) -> int:
        """The step at which a window's freed levels have had their second training, with or without higher ones."""
        return sum(stage.steps for stage in specs.stages(self.spec)[:2])


@deed(specs.CorrectionSpec)
class Correction:
    """What the word `correction` does."""

    def __init__(self, spec: specs.CorrectionSpec) -> None:
        self.spec = spec

    def size(self) -> int:
        trained, beside = len(self.readouts()) * self.spec.seeds * len(arms(self.spec)), self.spec.baselines
        return trained + (most_baselines(beside.learners, beside.seeds) if beside else 0)

    def members(self) -> list[Member]:
        """Every arm at every seed and read-out, then the baselines; one seed's arms are packed together."""
        runs = list(self.runs())
        trained = [_member(run) for run in runs]
        beside = self.spec.baselines
        return packed(trained, [f"{run.readout}/{run.index}" for run in runs]) + (
            baseline_members(self.spec, beside.learners, beside.seeds) if beside else []
        )

    def runs(self, outcomes: Mapping[str, Outcome] | None = None) -> Iterator[Run]:
        """Every training, by read-out, seed and arm, with its outcome where there is one."""
        base, found = self.spec.base, arms(self.spec)
        for readout in self.readouts():
            changes: dict[str, Any] = {"probes": with_probes(self.spec)}
            if readout != OWN_READOUT:
                changes["model"] = base.model.model_copy(update={"readout": readout})
            for index in range(self.spec.seeds):
                seed = self.spec.member_seed(index)
                for arm in found:
                    spec = base.arm(arm.schedule, seed, **{**changes, **arm.changes})
                    run = Run(arm, readout, index, seed if isinstance(seed, int) else index, spec)
                    yield run if outcomes is None else _with_outcome(run, outcomes)

    def readouts(self) -> tuple[str, ...]:
        return self.spec.readouts if isinstance(self.spec.base.model, QuadraticDensenet) else (OWN_READOUT,)

    def conclude(self, outcomes: Mapping[str, Outcome]) -> Result:
        """Tables, stuck rates, and claims, from however many members there are."""
        runs = chosen(list(self.runs(outcomes)))
        members = self.members()
        beside = [member for member in members if member.kind == "baseline"]
        asked = correction_claims.assemble(self.spec, runs)
        tables = {
            "runs": self._runs_table(runs),
            "how_deep": self._how_deep(runs),
            "gains": table(self._gains(), correction_claims.gains(self.spec, runs)),
            "how_much": table(HOW_MUCH, _how_much(runs, layers(self.spec))),
            "frontier": table(FRONTIER, _frontier(self.spec, runs)),
            "which_part": table(WHICH_PART, _which_part(runs)),
            "baselines": table(BASELINE_COLUMNS, (baseline_row(m, outcomes.get(m.key)) for m in beside)),
            "failed_runs": failed_runs(members, outcomes),
            "stuck_rates": stuck_rates(
                columns("string", "schedule", "readout"),
                (((run.arm.name, run.readout), run.outcome) for run in runs if run.arm.table == "runs"),
            ),
            "curves": table(CURVES, _curves(runs, layers(self.spec))),
            "stages": table(STAGES, _stages(runs)),
        }
        if of_pictures(self.spec):
            tables["side_by_side"] = side_by_side(runs)
        summary = {
            "claims": [claim for family in asked for claim in claims.judge(family)],
            "unanswered": list(correction_claims.unanswered(self.spec, runs)),
            "stuck": tables["stuck_rates"].records(),
            "seeds": self.spec.seeds,
            "members": len(members),
            "failed": len(tables["failed_runs"].rows),
        }
        return Result(summary, tables)

    def families(self) -> list[list[claims.Claim]]:
        """The claims that will be judged, each family in its order; their values are not there yet."""
        return correction_claims.assemble(self.spec, self._planned)

    def unanswered(self) -> list[dict[str, Any]]:
        return list(correction_claims.unanswered(self.spec, self._planned))

    @cached_property
    def _planned(self) -> list[Run]:
        """Every training, before any has run."""
        return list(self.runs({}))

    def _runs_table(self, runs: Iterable[Run]) -> Table:
        numbers = layers(self.spec)
        heads = (
            *columns("string", "schedule", "readout"),
            *columns("integer", "seed"),
            REL,
            *columns("number", "test_accuracy") * _is_classified(self.spec),
            *self._features(),
            *columns("integer", "updates", unit="step"),
            *columns("boolean", "stuck"),
            *columns("integer", *(f"updates_{i}" for i in numbers), unit="step"),
            *columns("integer", *(f"onset_{i}" for i in numbers), unit="step") * (not of_pictures(self.spec)),
            *columns("integer", "flops", unit="FLOP"),
            *columns("string", "state"),
        )
        return table(heads, (_row(run, numbers) for run in runs if run.arm.table == "runs"))

    def _features(self) -> tuple[Column, ...]:
        """How good each level's features are: against the teacher's, or of pictures, by a linear probe."""
        if of_pictures(self.spec):
            return columns("number", *(f"probe_accuracy_{i}" for i in layers(self.spec)))
        return columns("number", *(f"feature_error_{i}" for i in layers(self.spec)), unit="Var z*")

    def _gains(self) -> tuple[Column, ...]:
        unit = "points" if of_pictures(self.spec) else "log10 ratio"
        return (
            *columns("integer", "train_up_to", "free", "over"),
            *columns("string", "readout", "verdict"),
            *columns(
                "number",
                *(f"{a}_{b}" for a in ("step", "control") for b in ("gain", "low", "high")),
                unit=unit,
            ),
        )

    def _how_deep(self, runs: Iterable[Run]) -> Table:
        numbers = layers(self.spec)
        heads = (
            *columns("integer", "train_up_to", "free"),
            *columns("string", "control", "readout"),
            *columns("integer", "seed"),
            REL,
            *columns("number", "test_accuracy") * _is_classified(self.spec),
            *columns("integer", "updates", unit="step"),
            *columns("boolean", "stuck"),
            *self._features(),
            *columns("number", *(f"lambda_{i}" for i in numbers[:-1])),
            *columns("number", "rate"),
            *columns("integer", *(f"updates_{i}" for i in numbers), unit="step"),
            *columns("integer", "flops", unit="FLOP"),
            *columns("string", "state"),
        )
        return table(heads, (_row(run, numbers) for run in runs if run.arm.table == "how_deep"))


HOW_MUCH = (
    *columns("integer", "layer"),
    *columns("string", "pair", "measure", "readout"),
    *columns("integer", "seed"),
    *columns("number", "value"),
)
FRONTIER = (
    *columns("integer", "layer"),
    *columns("number", "penalty", "rate"),
    *columns("string", "readout"),
    *columns("integer", "seed"),
    *columns("number", "lambda"),
    REL,
    *columns("number", "gain", unit="log10 ratio"),
    *columns("string", "state"),
)
WHICH_PART = (
    *columns("integer", "layer"),
    *columns("string", "part"),
    *columns("integer", "index"),
    *columns("string", "readout"),
    *columns("integer", "seed"),
    *columns("number", "initial", "before", "after", "longer", "chance", "weakest"),
    *columns("string", "gap"),
)
CURVES = (
    *columns("string", "schedule", "readout"),
    *columns("integer", "seed"),
    *columns("string", "key"),
    *columns("integer", "layer"),
    Column("step", "integer", "step"),
    *columns("number", "value"),
)
STAGES = (
    *columns("string", "schedule"),
    *columns("integer", "stage"),
    *columns("integer", "start", "end", unit="step"),
)


def _member(run: Run) -> Member:
    labels = {"schedule": run.arm.name, "readout": run.readout, "seed": str(run.seed)}
    name = f"{run.arm.name.replace('_', ' ')} · {run.readout} · seed {run.seed}"
    start = f"{run.readout}/{run.arm.start}/{run.index}" if run.arm.start else None
    return Member(run.key, "train", name, run.spec, labels, after=(start,) if start else (), start=start)


def chosen(runs: Sequence[Run]) -> list[Run]:
    """The runs, of those that differ only in the rate of their later stages the one best on validation."""
    tried: dict[tuple[str, str, int], Run] = {}
    kept = []
    for run in runs:
        if run.arm.base is None:
            kept.append(run)
            continue
        place = (run.arm.base, run.readout, run.index)
        if place not in tried or _validation(run) > _validation(tried[place]):
            tried[place] = run
    named = [replace(run, arm=replace(run.arm, name=str(run.arm.base))) for run in tried.values()]
    return kept + named


def _validation(run: Run) -> float:
    """Validation accuracy, or minus the validation error; minus infinity for a run that has neither."""
    accuracy, error = (
        run.outcome.number("validation_accuracy"),
        run.outcome.number("relative_validation_error"),
    )
    if run.outcome.diverged or (accuracy is None and error is None):
        return -math.inf
    return accuracy if accuracy is not None else -float(error or 0.0)


def _with_outcome(run: Run, outcomes: Mapping[str, Outcome]) -> Run:
    return Run(run.arm, run.readout, run.index, run.seed, run.spec, outcomes.get(run.key, MISSING))


def _is_classified(spec: specs.CorrectionSpec) -> bool:
    return of_pictures(spec)


def _finite(reading: float | None) -> float | None:
    return None if reading is None or reading == float("inf") else reading


def _count(reading: float | None) -> int | None:
    return None if reading is None or reading == DIVERGED else int(reading)


def _row(run: Run, numbers: tuple[int, ...]) -> dict[str, Any]:
    """A row of `runs` and of `how_deep`; a run that did not succeed has no numbers, but keeps its row."""
    stages = specs.stages(run.spec)
    outcome = run.outcome
    row: dict[str, Any] = {
        "schedule": run.arm.name,
        "readout": run.readout,
        "seed": run.seed,
        "train_up_to": run.arm.train_up_to,
        "free": run.arm.free,
        "control": run.arm.control,
        "rate": run.arm.rate,
        "relative_test_error": _finite(outcome.number("relative_test_error")),
        "test_accuracy": _finite(outcome.number("test_accuracy")),
        "updates": sum(stage.steps for stage in stages),
        "stuck": outcome.flag("stuck"),
        "flops": specs.estimate(run.spec).flops,
        "state": "diverged" if outcome.diverged else outcome.state,
    }
    for i in numbers:
        row[f"feature_error_{i}"] = _finite(outcome.last("feature_error", i))
        row[f"probe_accuracy_{i}"] = _finite(outcome.last("linear_accuracy", i))
        row[f"lambda_{i}"] = outcome.at(run.second_stage_end, "lambda", i)
        row[f"onset_{i}"] = _count(outcome.number(f"onset_{i}"))
        row[f"updates_{i}"] = sum(stage.steps for stage in stages if i in stage.train)
    return row


def _how_much(runs: Iterable[Run], numbers: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """How far each layer moved while all trained together after having trained one by one."""
    for run in runs:
        if run.arm.name != "layerwise_then_joint":
            continue
        for layer in numbers:
            readings = [(pair, measure, f"{measure}/{pair}") for pair in PAIRS for measure in COSINES]
            for pair, measure, key in [*readings, ("before_after", "lambda", "lambda")]:
                value = _finite(run.outcome.last(key, layer))
                if value is not None:
                    place = {"layer": layer, "pair": pair, "measure": measure}
                    yield {**place, "readout": run.readout, "seed": run.seed, "value": value}


def _frontier(study: specs.CorrectionSpec, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """What layerwise-then-joint gains over layerwise, and how far each lower level moved for it, by penalty and rate."""
    layerwise = {(run.readout, run.index): run.outcome for run in runs if run.arm.name == "layerwise"}
    ways = [run for run in runs if run.arm.table == "frontier"]
    free = [run for run in runs if run.arm.name == "layerwise_then_joint"] if ways else []
    for run in (*ways, *free):
        before = layerwise.get((run.readout, run.index), MISSING).number("relative_test_error")
        error = run.outcome.number("relative_test_error")
        gain = log_ratio(before, error)
        for layer in layers(study)[:-1]:
            yield {
                "layer": layer,
                "penalty": run.arm.penalty or 0.0,
                "rate": run.arm.rate or study.base.optimizer.rate,
                "readout": run.readout,
                "seed": run.seed,
                "lambda": _finite(run.outcome.last("lambda", layer)),
                "relative_test_error": _finite(error),
                "gain": gain if math.isfinite(gain) else None,
                "state": "diverged" if run.outcome.diverged else run.outcome.state,
            }


def _which_part(runs: Iterable[Run]) -> Iterator[dict[str, Any]]:
    """What of each teacher neuron is held at initialisation, before and after correction, and after longer training."""
    runs = list(runs)
    longer = {(run.readout, run.index): run.outcome for run in runs if run.arm.name == "longer"}
    for run in runs:
        if run.arm.name != "layerwise_then_joint" and run.arm.table != "cells":
            continue
        if not isinstance(run.spec.data, Hierarchical):
            return
        weakest, gap = own_cell(run.spec.data)
        for layer, part, index, key in captured_keys(run.spec):
            after = _finite(run.outcome.last(key, layer))
            if after is None:
                continue
            control = longer.get((run.readout, run.index), MISSING) if run.arm.table == "runs" else MISSING
            yield {
                "layer": layer,
                "part": part,
                "index": index,
                "readout": run.readout,
                "seed": run.seed,
                "initial": _initial(run, key, layer),
                "before": run.outcome.at(run.last_stage, key, layer),
                "after": after,
                "longer": _finite(control.last(key, layer)),
                "chance": _finite(run.outcome.last("captured_chance", layer)),
                "weakest": weakest,
                "gap": gap,
            }


def captured_keys(spec: specs.TrainSpec) -> Iterator[tuple[int, str, int, str]]:
    """(layer, part, index, series) of everything that `captured` can report of a hierarchical target."""
    data = spec.data
    if not isinstance(data, Hierarchical):
        return
    for layer in range(2, data.levels + 1):
        for part in ("captured", "captured_effective"):
            if layer == data.levels:
                yield layer, f"{part}_subspace", 0, f"{part}/subspace"
            else:
                for index in range(data.width):
                    yield layer, part, index, f"{part}/{index}"


def _initial(run: Run, key: str, layer: int) -> float | None:
    initial = _finite(run.outcome.last(key.replace("captured/", "captured_initial/"), layer))
    return initial if key.startswith("captured/") else run.outcome.at(0, key, layer)


def _curves(runs: Iterable[Run], numbers: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Every point of the series that the figures draw, of the main arms."""
    keys: list[tuple[str, int | None]] = [
        ("test_error", None),
        ("relative_test_error", None),
        *(("feature_error", layer) for layer in numbers),
    ]
    for run in runs:
        if run.arm.table != "runs":
            continue
        head = {"schedule": run.arm.name, "readout": run.readout, "seed": run.seed}
        for (key, layer), points in run.outcome.curves(keys).items():
            for step, value in points:
                yield {**head, "key": key, "layer": layer, "step": step, "value": value}


def _stages(runs: Iterable[Run]) -> Iterator[dict[str, Any]]:
    """When each stage of each arm starts and ends."""
    seen = set()
    for run in runs:
        if run.arm.table == "runs" and run.arm.name not in seen:
            seen.add(run.arm.name)
            start = 0
            for number, stage in enumerate(specs.stages(run.spec), start=1):
                yield {"schedule": run.arm.name, "stage": number, "start": start, "end": start + stage.steps}
                start += stage.steps
