"""Probes of stored weights see what probes in training saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from bfc_core import specs
from bfc_core.records import Failure, Metric, Result, Snapshot, Tensor
from bfc_core.run import run
from tests.bfc_core.training.packs import alone, small

JOB = "job_01hzy3v7k2q8s4t6w9x0"
PROBES: list[dict[str, Any]] = [{"kind": "feature_error", "inputs": 1000}, {"kind": "movement"}]


@dataclass
class Kept:
    id: str
    job_id: str
    step: int
    meta: dict[str, Any]
    spec: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass
class Fetched:
    snapshots: list[Kept]


def trained() -> tuple[list[Kept], list[Metric]]:
    spec = small("layerwise_then_joint", probes=PROBES, snapshots={"weights": {"every": 1000}})
    records = alone(spec)
    kept = [record for record in records if isinstance(record, Snapshot)]
    stored = [
        Kept(f"snap_{i:020d}", JOB, one.step, one.meta, specs.dump(spec), dict(one.tensors))
        for i, one in enumerate(kept)
    ]
    return stored, [record for record in records if isinstance(record, Metric)]


def probe_of(of: dict[str, Any], **changes: Any) -> specs.ProbeSpec:
    return specs.ProbeSpec.model_validate({"of": of, "probes": PROBES, **changes})


def test_a_probe_of_snapshots_reads_what_training_read() -> None:
    stored, told = trained()
    spec = probe_of({"snapshots": [one.id for one in stored]})
    keys = ("feature_error", "movement", "movement_stage")
    found = [record for record in run(spec, inputs=Fetched(stored)) if isinstance(record, Metric)]
    wanted = [m for m in told if m.key in keys and m.step > 0]
    assert [(m.step, m.key, m.layer) for m in found] == [(m.step, m.key, m.layer) for m in wanted]
    assert [m.value for m in found] == pytest.approx([m.value for m in wanted], rel=1e-5, abs=1e-12)


def test_a_probe_of_a_job_reads_its_newest_weights() -> None:
    stored, _ = trained()
    records = list(run(probe_of({"job": JOB}), inputs=Fetched(stored)))
    result = records[-1]
    assert isinstance(result, Result)
    assert {row["snapshot"] for row in result.tables["readings"].records()} == {stored[-1].id}
    assert result.summary["snapshots"] == 1
    assert 0 < result.summary["feature_error_2"] < 1


def test_the_probes_seed_draws_the_inputs() -> None:
    stored, _ = trained()
    values = []
    for seed in (0, 1):
        records = list(run(probe_of({"job": JOB}, seed=seed), inputs=Fetched(stored)))
        values.append(records[-1].summary["feature_error_2"])  # type: ignore[union-attr]
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], rel=0.2)


def test_weights_that_do_not_fit_are_named() -> None:
    stored, _ = trained()
    del stored[-1].tensors["W3"]
    failure = list(run(probe_of({"job": JOB}), inputs=Fetched(stored)))[-1]
    assert isinstance(failure, Failure)
    assert stored[-1].id in failure.message
