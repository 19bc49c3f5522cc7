"""Baselines on the same samples: members and rows, shared by `correction` and `duel`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

from pydantic import ValidationError

from bfc_core import specs
from bfc_core.records import Column
from bfc_core.studies.member import Member
from bfc_core.studies.outcomes import DIVERGED, MISSING, Outcome
from bfc_core.studies.tables import REL, columns

COLUMNS = (
    *columns("string", "learner", "group", "inputs_as"),
    *columns("integer", "samples", "seed"),
    REL,
    Column("validation_error", "number", "Var y"),
    *columns("boolean", "grid_edge"),
    Column("cpu_seconds", "number", "s"),
    *columns("string", "state"),
)
"""Of a duel's `runs` and of a correction study's `baselines`."""

InputsAs = Literal["x", "x_and_h1"]
INPUTS: tuple[InputsAs, ...] = ("x", "x_and_h1")


def most_baselines(learners: Collection[str], seeds: int) -> int:
    """How many members these are at most."""
    return len(learners) * len(INPUTS) * seeds


def baseline_members(
    study: specs.CorrectionSpec | specs.DuelSpec,
    learners: Iterable[str],
    seeds: int,
    samples: int | None = None,
) -> list[Member]:
    """Each learner on both inputs and the study's first `seeds` seeds, at `samples` labels or the base's number.

    None where the base draws fresh samples at each step and no number is given: a baseline needs a fixed set.
    """
    data = study.base.data if samples is None else study.base.data.model_copy(update={"samples": samples})
    count = getattr(data, "samples", None)
    if not isinstance(count, int):
        return []
    return [
        member
        for learner in learners
        for inputs_as in INPUTS
        for index in range(min(seeds, study.seeds))
        for member in _member(study, learner, inputs_as, index, data, count)
    ]


def _member(
    study: specs.CorrectionSpec | specs.DuelSpec,
    learner: str,
    inputs_as: InputsAs,
    index: int,
    data: Any,
    count: int,
) -> Iterator[Member]:
    """The member, or none where the squares of these inputs say nothing."""
    seed, (group, baseline) = study.member_seed(index), specs.LEARNERS[learner]
    number = seed if isinstance(seed, int) else index
    try:
        spec = specs.BaselineSpec(
            data=data, baseline=baseline, inputs_as=inputs_as, seed=seed,
            device=study.base.device, dtype=study.base.dtype,
        )  # fmt: skip
    except ValidationError:
        return
    labels = {
        "learner": learner,
        "group": group,
        "inputs_as": inputs_as,
        "samples": str(count),
        "seed": str(number),
    }
    name = f"{learner} on {inputs_as.replace('_', ' ')} · N {count} · seed {number}"
    yield Member(f"{learner}/{inputs_as}/{count}/{index}", "baseline", name, spec, labels)


def _finite(value: float | None) -> float | None:
    return None if value == DIVERGED else value


def baseline_row(member: Member, outcome: Outcome | None) -> dict[str, Any]:
    """The row of one baseline; without numbers where it did not succeed."""
    outcome = outcome or MISSING
    row: dict[str, Any] = {name: member.labels[name] for name in ("learner", "group", "inputs_as")}
    row |= {name: int(member.labels[name]) for name in ("samples", "seed")}
    for name in ("relative_test_error", "validation_error", "cpu_seconds"):
        row[name] = _finite(outcome.number(name))
    return {
        **row,
        "cpu_seconds": row["cpu_seconds"]
        if member.kind == "baseline"
        else _finite(outcome.number("train_seconds")),
        "grid_edge": outcome.flag("grid_edge"),
        "stuck": outcome.flag("stuck"),
        "state": "diverged" if outcome.diverged else outcome.state,
    }
