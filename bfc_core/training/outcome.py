"""The end of a training: its summary and tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bfc_core import specs
from bfc_core.learners.base import Learner, Plan
from bfc_core.measures.onset import LATE, onset_so_far
from bfc_core.records import Column, Result, Table
from bfc_core.specs import Stage
from bfc_core.specs.data import Synthetic
from bfc_core.specs.train import TrainSpec
from bfc_core.targets.base import Teacher
from bfc_core.targets.hierarchical import HierarchicalTeacher
from bfc_core.training.checkpoints import Place
from bfc_core.training.gauge import Finding
from bfc_core.training.members import Member

#: A noise-free run whose last training error is above this part of Var y is stuck.
STUCK = 1e-2


@dataclass(frozen=True)
class Final:
    """What the last stage of a run ended with."""

    teacher: Teacher
    finding: Finding
    #: mean training loss over the last part of the last stage
    tail_loss: float
    learner: Learner


def boundary_rows(stage: int, finding: Finding) -> list[list[Any]]:
    """What was found at the end of `stage` (0: at initialisation), as rows of the table `boundaries`."""
    return [[stage, one.step, one.key, one.layer, one.value] for one in finding.metrics]


def watch(place: Place, step: int, finding: Finding) -> None:
    """Notes since when each level has been learnt; a step that was noted before, and is trained anew, says nothing."""
    if step <= place.watched:
        return
    place.watched = step
    onsets = {
        str(one.layer): onset_so_far(place.onsets.get(str(one.layer)), step, one.value)
        for one in finding.metrics
        if one.key == "feature_error"
    }
    # A new dictionary: earlier places of other members hold the old one.
    place.onsets = {**place.onsets, **onsets}


def result(member: Member, final: Final) -> Result:
    """The result of one member, whose place is past its last stage."""
    spec = member.spec
    stages = _as_taken(specs.stages(spec), member.place.taken)
    variance = final.teacher.variance
    summary: dict[str, Any] = {
        "relative_test_error": final.finding.relative_test_error,
        "relative_train_error": final.tail_loss / variance,
        "stuck": stuck(spec, stages, final.tail_loss / variance),
        "updates": sum(stage.steps for stage in stages),
        **{f"updates_{layer}": count for layer, count in updates_by_layer(spec, stages).items()},
        "flops": flops(stages, final.learner),
        "target_variance": variance,
        **_effective_gap(final.teacher),
        **_last_readings(final.finding),
        **{f"onset_{layer}": step for layer, step in member.place.onsets.items() if step is not None},
        "train_seconds": member.place.seconds,
    }
    if final.teacher.output_dim > 1:
        wrong = final.finding.value("test_error")
        summary["test_accuracy"] = None if wrong is None else 1 - wrong
    late = {f"onset_{layer}": LATE.reason for layer, step in member.place.onsets.items() if step is None}
    if member.place.undefined or late:
        summary["undefined"] = member.place.undefined | late
    return Result(summary, {"boundaries": _boundaries(member), **_target_tables(final.teacher)})


def _as_taken(stages: tuple[Stage, ...], taken: list[int]) -> tuple[Stage, ...]:
    """The stages with the updates that they took in place of their budgets."""
    return tuple(replace(stage, steps=steps) for stage, steps in zip(stages, taken, strict=True))


def stuck(spec: TrainSpec, stages: tuple[Stage, ...], relative: float) -> bool | None:
    """Whether the run is stuck; None where the word has no meaning: noisy labels, or a last stage that freezes."""
    assert isinstance(spec.data, Synthetic)
    last = stages[-1]
    everything = last.train == last.present == specs.layers(spec)
    if spec.data.label_noise or not everything:
        return None
    return relative > STUCK


def updates_by_layer(spec: TrainSpec, stages: tuple[Stage, ...]) -> dict[int, int]:
    """Updates that each layer got over all stages."""
    return {
        layer: sum(stage.steps for stage in stages if layer in stage.train) for layer in specs.layers(spec)
    }


def flops(stages: tuple[Stage, ...], learner: Learner) -> int:
    """Floating-point operations of all updates: forward passes of what is present, backward of what trains."""
    total = 0
    for stage in stages:
        plan = Plan(stage.present, (stage.train,), (stage.backward,), stage.batch)
        total += stage.steps * stage.batch * learner.flops(plan, 0)
    return total


def _last_readings(finding: Finding) -> dict[str, float]:
    """Every layer's feature error in the final state, as `feature_error_2`, …"""
    return {
        f"{one.key}_{one.layer}": one.value
        for one in finding.metrics
        if one.key == "feature_error" and one.layer is not None
    }


def _boundaries(member: Member) -> Table:
    columns = (
        Column("stage", "integer"),
        Column("step", "integer", "step"),
        Column("key", "string"),
        Column("layer", "integer"),
        Column("value", "number"),
    )
    return Table(columns, tuple(tuple(row) for row in member.place.readings))


def _effective_gap(teacher: Teacher) -> dict[str, float | None]:
    """What no quadratic in [x, h_1] holds of a target whose levels add up to y; null where it is not estimated."""
    return {"effective_gap": teacher.effective_gap} if isinstance(teacher, HierarchicalTeacher) else {}


def _target_tables(teacher: Teacher) -> dict[str, Table]:
    """Of a target whose levels add up to y: Cov(Y_l, Y_l′), and each level's α_l with the error of its scale s_l."""
    if not isinstance(teacher, HierarchicalTeacher):
        return {}
    columns = (Column("level", "integer"), Column("other", "integer"), Column("covariance", "number"))
    rows = [
        (level, other, float(teacher.covariance[i, j]))
        for i, level in enumerate(teacher.levels)
        for j, other in enumerate(teacher.levels)
    ]
    heads = (Column("level", "integer"), Column("gap", "number"), Column("scale_error", "number", "part"))
    scales = [
        (level, alpha, teacher.deviation_error[level])
        for level, alpha in zip(teacher.levels, teacher.spec.gap, strict=True)
    ]
    return {"level_covariance": Table(columns, tuple(rows)), "level_scales": Table(heads, tuple(scales))}
