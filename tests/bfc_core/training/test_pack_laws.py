"""What packing may not change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bfc_core.records import Failure, Metric, Result
from tests.bfc_core.training.packs import alone, final_weights, numbers, result, small, together

ARMS = (
    "joint",
    "layerwise",
    "layerwise_then_joint",
    "detached",
    "longer",
    "upper_frozen",
    "cyclic",
    "reinitialised",
)


@pytest.mark.parametrize("readout", ["fixed", "signed"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_packed_equals_alone_to_rounding_after_50_steps(readout: str, dtype: str, tolerance: float) -> None:
    pack = [small(seed=seed, steps=50, dtype=dtype, model={"readout": readout}) for seed in range(5)]
    packed = together(pack)
    for slot, spec in enumerate(pack):
        ours, theirs = final_weights(packed[slot]), final_weights(alone(spec))
        for name, block in theirs.items():
            assert np.linalg.norm(ours[name] - block) <= tolerance * max(np.linalg.norm(block), 1e-3), name


def test_a_member_does_not_know_its_neighbours() -> None:
    """Other seeds, rates, clips and gaps around it: the same bits, as long as the stack has the same shape."""
    mine = small(seed=3, data={"gap": [1, -0.7]})
    quiet = together([mine, *(small(seed=seed) for seed in range(4, 8))])
    wild = [
        small(seed=seed, optimizer={"rate": 0.01 * seed, "clip": None}, data={"gap": [0.2, 2.0]})
        for seed in range(14, 18)
    ]
    assert numbers(quiet[0]) == numbers(together([mine, *wild])[0])


def test_a_diverging_neighbour_changes_nothing() -> None:
    """The stack goes on with NaN in a row; probes, whose solvers refuse NaN, go on too."""
    probed: dict[str, Any] = {"probes": [{"kind": "feature_error", "inputs": 1000}]}
    mine = small("layerwise_then_joint", seed=3, **probed)
    calm = together([mine, small(seed=4, **probed)])
    stormy = together(
        [mine, small(seed=4, optimizer={"rate": 1000.0, "clip": None, "betas": [0.9, 0.99]}, **probed)]
    )
    assert numbers(calm[0]) == numbers(stormy[0])
    assert isinstance(stormy[1][-1], Failure)


def test_a_diverged_run_says_step_layer_and_what_to_try() -> None:
    records = alone(small(optimizer={"kind": "sgd", "rate": 100.0, "clip": None}))
    failure = records[-1]
    assert isinstance(failure, Failure)
    assert failure.code == "diverged"
    assert failure.step is not None
    assert 1 <= failure.step <= 30
    assert failure.layer in (2, 3)
    assert "clip" in (failure.hint or "")
    assert all(math.isfinite(record.value) for record in records if isinstance(record, Metric))


@pytest.mark.parametrize("kind", ["feature_error", "captured", "weight_correlation"])
def test_a_network_lost_in_its_last_update_ends_failed_and_tells_no_number(kind: str) -> None:
    """No later step would read its loss: the test error tells, before any probe meets its features."""
    wild: dict[str, Any] = {"kind": "sgd", "rate": 1000.0, "clip": None, "warmup_steps": 0}
    probed: dict[str, Any] = {"probes": [{"kind": kind}]}
    mine = small(seed=3, steps=1, **probed)
    calm = small(seed=4, steps=1, optimizer={**wild, "rate": 1e-3}, **probed)
    pack = [calm, small(seed=5, steps=1, optimizer=wild, **probed)]
    told = together(pack)
    failure = told[1][-1]
    assert isinstance(failure, Failure)
    assert (failure.code, failure.step) == ("diverged", 1)
    assert "test error" in failure.message
    assert isinstance(told[0][-1], Result)
    assert all(math.isfinite(one.value) for one in told[1] if isinstance(one, Metric))
    assert isinstance(alone(mine)[-1], Result)


def test_a_network_that_overflows_as_it_is_drawn_ends_failed_at_step_0() -> None:
    model = {"kind": "mlp", "width": 4, "depth": 40, "activation": "quadratic"}
    spec = small(steps=5, probes=[{"kind": "feature_error"}])
    failure = alone(type(spec).model_validate({**spec.model_dump(mode="json"), "model": model}))[-1]
    assert isinstance(failure, Failure)
    assert failure.step == 0
    assert "fewer layers" in (failure.hint or "")


def test_slots_that_nobody_reads_compute_unread() -> None:
    pack = [small(arm, seed=seed) for arm in ARMS for seed in (0, 1)]
    everyone = together(pack)
    for active in ({0}, {5, 9}, {len(pack) - 1}):
        some = together(pack, active=active)
        for slot, records in some.items():
            assert numbers(records) == (numbers(everyone[slot]) if slot in active else [])


def test_a_member_that_leaves_changes_nothing_for_the_rest() -> None:
    pack = [small("layerwise_then_joint", seed=seed) for seed in range(3)]
    everyone = together(pack)
    left = together(pack, gone=lambda: {1})
    assert numbers(left[0]) == numbers(everyone[0])
    assert numbers(left[2]) == numbers(everyone[2])
    assert not any(isinstance(record, Result) for record in left[1])


def test_arms_with_equal_stages_are_told_equal_numbers() -> None:
    pack = [small("layerwise"), small("layerwise_then_joint"), small("detached")]
    told = together(pack)
    curves = []
    for slot in range(3):
        curves.append(
            [entry for entry in numbers(told[slot]) if isinstance(entry[0], int) and entry[0] <= 60]
        )
    assert curves[0] == curves[1] == curves[2]
    assert curves[0]


def test_a_named_schedule_equals_its_stages_spelled_out() -> None:
    spelled = {
        "kind": "stages",
        "stages": [{"present": [2], "train": [2]}, {"present": [2, 3], "train": [3]}, {}],
    }
    named, listed = (
        [record for record in alone(small(schedule)) if isinstance(record, Metric)]
        for schedule in ("layerwise_then_joint", spelled)
    )
    assert named == listed
    assert named


def test_the_same_spec_gives_the_same_bits_again() -> None:
    spec = small("cyclic", model={"readout": "signed"}, probes=[{"kind": "feature_error", "inputs": 1000}])
    assert numbers(alone(spec)) == numbers(alone(spec))


def test_updates_are_counted_by_layer() -> None:
    summary = result(alone(small("layerwise_then_joint", steps=10))).summary
    assert (summary["updates"], summary["updates_2"], summary["updates_3"]) == (30, 20, 20)
