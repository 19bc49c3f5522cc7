"""Probes of stored weights of image networks, run after the fact: each snapshot is read as in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from bfc_core import specs
from bfc_core.probes.stored import COLUMNS, Stored
from bfc_core.records import Failure, Metric, Progress, Record, Result, Table
from bfc_core.specs import ProbeSpec, TrainSpec
from bfc_core.specs.data import UPLOADED_KINDS, Uploaded
from bfc_core.specs.train import OfJob

from .anchors import unpack
from .data import prepare
from .datasets import DatasetError
from .engine import Inputs
from .precision import chosen_precision
from .probing import Prober
from .stage import Plan, plans
from .trainee import Trainee


def of_images(snapshots: Sequence[Stored]) -> bool:
    """Whether these are weights of networks trained on uploaded data."""
    return bool(snapshots) and snapshots[0].spec.get("data", {}).get("kind") in UPLOADED_KINDS


def probe_stored(
    spec: ProbeSpec, snapshots: Sequence[Stored], device: torch.device, inputs: Inputs
) -> Iterator[Record]:
    """Readings of every snapshot as metrics at its step, and all of them in the table `readings`.

    `of` a job reads its newest weights. `before` is the end of the stage before, where it was kept, else the
    initialisation.
    """
    chosen = list(snapshots)
    if isinstance(spec.of, OfJob):
        chosen = [max(snapshots, key=lambda one: one.step)]
    rows: list[tuple[Any, ...]] = []
    for done, stored in enumerate(chosen, 1):
        try:
            metrics = list(read(spec, stored, snapshots, device, inputs))
        except (KeyError, ValueError, DatasetError) as error:
            yield Failure(
                "unreadable", f"snapshot {stored.id} does not fit its spec: {error}", step=stored.step
            )
            return
        yield from metrics
        rows += [(stored.id, stored.job_id, m.step, m.key, m.layer, m.value) for m in metrics]
        yield Progress(done, len(chosen), "snapshot")
    newest = {key if layer is None else f"{key}_{layer}": value for _, _, _, key, layer, value in rows}
    yield Result({"snapshots": len(chosen), **newest}, {"readings": Table(COLUMNS, tuple(rows))})


def read(
    spec: ProbeSpec, stored: Stored, among: Sequence[Stored], device: torch.device, inputs: Inputs
) -> Iterator[Metric]:
    """What the probes of `spec` show on one snapshot.

    Raises ValueError or DatasetError where network and data do not fit each other.
    """
    train: TrainSpec = specs.load("train", stored.spec)
    train = train.model_copy(update={"probes": spec.probes, "data": spec.data or train.data})
    if not isinstance(train.data, Uploaded):
        raise ValueError(f"a network on images does not read {train.data.kind}")
    data = prepare(train.data, inputs.dataset(train.data.dataset), specs.seeds(train.seed).data, device)
    dtype = torch.float64 if train.dtype == "float64" else torch.float32
    precision = stored.meta.get("precision") or chosen_precision(train, device, dtype)
    trainee = Trainee(train, data, dtype, precision)
    plan = _plan(train, stored)
    trainee.enter(plan)
    trainee.adopt({name: unpack(value) for name, value in stored.tensors.items()})
    trainee.prepare(plan)
    before = _before(stored, among)
    if before is not None:
        trainee.restore_before({f"before.{k}": unpack(v) for k, v in before.items()})
    prober = Prober(trainee)
    for record in prober.readings(plan, plan.stage.steps, stored.step, end=True):
        if isinstance(record, Metric):
            yield record


def _plan(train: TrainSpec, stored: Stored) -> Plan:
    """The stage under way when the snapshot was taken."""
    every = plans(train)
    stage = int(stored.meta.get("stage", len(every)))
    return every[min(max(1, stage), len(every)) - 1]


def _before(stored: Stored, among: Sequence[Stored]) -> Mapping[str, Any] | None:
    """Network weights at the end of the stage before, of the same job, where they were kept."""
    wanted = stored.meta.get("stage", 1) - 1
    for other in among:
        same = other.job_id == stored.job_id and other.meta.get("end_of_stage")
        if same and other.meta.get("stage") == wanted:
            prefix = "network."
            return {k.removeprefix(prefix): v for k, v in other.tensors.items() if k.startswith(prefix)}
    return None
