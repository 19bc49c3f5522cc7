"""Small trainings for the engine's laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bfc_core.records import Checkpoint, Metric, Record, Result, Snapshot
from bfc_core.run import run, run_pack
from bfc_core.specs import TrainSpec

SMALL_DATA = {"kind": "hierarchical", "input_dim": 8, "width": 2, "samples": 300, "test_samples": 400}


def small(
    schedule: str | dict[str, Any] = "joint", *, seed: int = 0, steps: int = 30, **changes: Any
) -> TrainSpec:
    """A training of some milliseconds; `changes` are fields of the spec, merged one level deep."""
    body: dict[str, Any] = {
        "data": dict(SMALL_DATA),
        "model": {"kind": "quadratic_densenet", "width": 4},
        "schedule": {"kind": schedule} if isinstance(schedule, str) else schedule,
        "budget": {"steps": steps, "batch": 16},
        "optimizer": {"kind": "adam", "warmup_steps": 5},
        "probes": [],
        "snapshots": {"weights": {"every": 1_000_000}, "features": None},
        "seed": seed,
    }
    for name, value in changes.items():
        body[name] = {**body[name], **value} if isinstance(value, dict) and name in body else value
    return TrainSpec.model_validate(body)


def alone(spec: TrainSpec, **options: Any) -> list[Record]:
    """All records of one training."""
    return list(run(spec, **options))


def together(pack: Sequence[TrainSpec], **options: Any) -> dict[int, list[Record]]:
    """All records of a pack, by slot."""
    found: dict[int, list[Record]] = {slot: [] for slot in range(len(pack))}
    for slot, record in run_pack(pack, **options):
        found[slot].append(record)
    return found


def numbers(records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """What must be equal bit for bit: metrics, snapshots and the result, less its seconds."""
    found: list[tuple[Any, ...]] = []
    for record in records:
        if isinstance(record, Metric):
            found.append((record.step, record.key, record.layer, record.value))
        elif isinstance(record, Snapshot):
            found.append((record.step, record.kind, {name: one.data for name, one in record.tensors.items()}))
        elif isinstance(record, Result):
            summary = {name: value for name, value in record.summary.items() if not name.endswith("_seconds")}
            found.append((summary, record.tables))
    return found


def final_weights(records: Sequence[Record]) -> dict[str, Any]:
    """The last weights kept, as arrays."""
    kept = [record for record in records if isinstance(record, Snapshot) and record.kind == "weights"]
    return {name: tensor.numpy() for name, tensor in kept[-1].tensors.items()}


def result(records: Sequence[Record]) -> Result:
    """How a training ended; fails when it did not end well."""
    last = records[-1]
    assert isinstance(last, Result), last
    return last


def checkpoints(records: Sequence[Record]) -> list[Checkpoint]:
    return [record for record in records if isinstance(record, Checkpoint)]
