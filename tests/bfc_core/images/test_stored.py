"""Probes of kept weights read what probes read in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bfc_core import run, specs
from bfc_core.records import Failure, Metric, Result, Snapshot, Tensor
from tests.bfc_core.images.conftest import Given

Make = Callable[..., specs.TrainSpec]


@dataclass
class Kept:
    id: str
    job_id: str
    step: int
    kind: str
    meta: dict[str, Any]
    spec: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass
class Fetched:
    given: Given
    snapshots: list[Kept] = field(default_factory=list)

    def dataset(self, dataset_id: str) -> Any:
        return self.given.dataset(dataset_id)


def test_a_stored_network_reads_as_it_did_in_training(tiny: Make, given: Given) -> None:
    probes = [{"kind": "linear", "inputs": 100}, {"kind": "cka", "inputs": 60, "against": "before"}]
    kept = {"weights": {"every": 100}, "features": None}
    spec = tiny(probes=probes, snapshots=kept, schedule={"kind": "window", "train_up_to": 2, "free": 1})
    records = list(run(spec, inputs=given))
    told = {(r.key, r.layer): r.value for r in records if isinstance(r, Metric) and r.step == 12}
    fetched = Fetched(given)
    for number, one in enumerate(record for record in records if isinstance(record, Snapshot)):
        stored = Kept(
            f"snap_{number}", "job", one.step, one.kind, one.meta, specs.dump(spec), dict(one.tensors)
        )
        fetched.snapshots.append(stored)
    probe = specs.ProbeSpec.model_validate({"of": {"job": "job_0123456789abcdef"}, "probes": probes})
    *found, result = run(probe, inputs=fetched)
    read = {(r.key, r.layer): r.value for r in found if isinstance(r, Metric)}
    assert read == {place: told[place] for place in read}
    assert {key for key, _ in read} == {
        "linear_accuracy",
        "cka",
        "cka_biased",
        "test_error",
        "validation_error",
    }
    assert isinstance(result, Result)
    assert result.summary["snapshots"] == 1


def test_weights_of_another_network_are_told_apart(tiny: Make, given: Given) -> None:
    data = {"kind": "hierarchical"}
    probe = specs.ProbeSpec.model_validate(
        {"of": {"job": "job_0123456789abcdef"}, "probes": [{"kind": "linear"}], "data": data}
    )
    stored = Kept("snap_1", "job", 0, "weights", {}, specs.dump(tiny()), {})
    (failure,) = run(probe, inputs=Fetched(given, [stored]))
    assert isinstance(failure, Failure)
    assert "does not read hierarchical" in failure.message
