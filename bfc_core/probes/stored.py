"""Probes of weights that were kept, run after the fact: a view of each snapshot, read as in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.learners.base import Learner, Plan
from bfc_core.records import Column, Failure, Progress, Record, Result, Table
from bfc_core.records import Tensor as Kept
from bfc_core.registry import deed_of
from bfc_core.specs import ProbeSpec, Seeds, TrainSpec
from bfc_core.specs.data import SYNTHETIC
from bfc_core.training.checkpoints import unpack
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.gauge import Finding, Gauge


class Stored(Protocol):
    """A weight snapshot with the train spec of the job that kept it."""

    id: str
    job_id: str
    step: int
    meta: dict[str, Any]
    spec: dict[str, Any]
    tensors: Mapping[str, Kept]


COLUMNS = (
    Column("snapshot", "string"),
    Column("job", "string"),
    Column("step", "integer", "step"),
    Column("key", "string"),
    Column("layer", "integer"),
    Column("value", "number"),
)


def probe_stored(spec: ProbeSpec, snapshots: Sequence[Stored], device: torch.device) -> Iterator[Record]:
    """Readings of every snapshot as metrics at its step, and all of them in the table `readings`.

    `of` a job reads its newest weights. `before` is the end of the stage before, where it was kept, else the
    initialisation. The fresh inputs are those of the probe's own seed.
    """
    chosen = list(snapshots)
    if isinstance(spec.of, specs.train.OfJob):
        chosen = [max(snapshots, key=lambda one: one.step)]
    rows: list[tuple[Any, ...]] = []
    undefined: dict[str, str] = {}
    for done, stored in enumerate(chosen):
        try:
            finding = read(spec, stored, snapshots, device)
        except (KeyError, ValueError, RuntimeError) as error:
            yield Failure(
                "unreadable", f"snapshot {stored.id} does not fit its spec: {error}", step=stored.step
            )
            return
        yield from finding.metrics
        undefined |= finding.undefined
        rows += [
            (stored.id, stored.job_id, one.step, one.key, one.layer, one.value) for one in finding.metrics
        ]
        yield Progress(done + 1, len(chosen), "snapshot")
    summary: dict[str, Any] = {"snapshots": len(chosen), **_newest(rows)}
    if undefined:
        summary["undefined"] = undefined
    yield Result(summary, {"readings": Table(COLUMNS, tuple(rows))})


def read(spec: ProbeSpec, stored: Stored, among: Sequence[Stored], device: torch.device) -> Finding:
    """What the probes of `spec` show on one snapshot.

    Raises:
        ValueError: where the data of the spec do not fit the network.
    """
    train = _as_probed(spec, stored)
    if not isinstance(train.data, SYNTHETIC):
        raise ValueError(f"{train.data.kind} has no synthetic target")
    dtype = torch.float64 if train.dtype == "float64" else torch.float32
    evaluation = Evaluation(device, dtype)
    teacher = evaluation.teacher(train)
    learner: Learner = deed_of(train.model)([train], teacher.read_dim, teacher.output_dim, device, dtype)
    initial = learner.initial()
    stages = specs.stages(train)
    stage = stages[min(stored.meta.get("stage", len(stages)), len(stages)) - 1]
    plan = Plan(stage.present, (stage.train,), (stage.backward,), stage.batch)
    now, before = _stacked(stored, initial), _weights_before(stored, among, initial)
    gauge = Gauge(learner, replace(plan, hold=None), [train], evaluation, initial, before)
    every = [range(len(train.probes))]
    return gauge.probe(now, every, [stored.step], stored.meta.get("stage", 0), stage.present)[0]


def _as_probed(spec: ProbeSpec, stored: Stored) -> TrainSpec:
    """The train spec of the snapshot, with the probe's own probes, data and stream of inputs."""
    train: TrainSpec = specs.load("train", stored.spec)
    roles = specs.seeds(train.seed)
    seed = Seeds(target=roles.target, data=spec.seed, init=roles.init, order=roles.order)
    return train.model_copy(update={"probes": spec.probes, "data": spec.data or train.data, "seed": seed})


def _weights_before(
    stored: Stored, among: Sequence[Stored], initial: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights at the end of the stage before, of the same job."""
    wanted = stored.meta.get("stage", 1) - 1
    for other in among:
        if (
            other.job_id == stored.job_id
            and other.meta.get("end_of_stage")
            and other.meta.get("stage") == wanted
        ):
            return _stacked(other, initial)
    return dict(initial)


def _stacked(stored: Stored, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The snapshot's weights as a stack of one row."""
    return {name: unpack(stored.tensors[name])[None].to(block) for name, block in like.items()}


def _newest(rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """The last value of every key, by layer, for the summary."""
    found = {}
    for _, _, _, key, layer, value in rows:
        found[key if layer is None else f"{key}_{layer}"] = value
    return found


__all__ = ["Stored", "probe_stored"]
