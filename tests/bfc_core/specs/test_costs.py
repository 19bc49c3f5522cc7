"""The estimate made before anything is queued: never less than what was measured, and hung on the field that it hangs on."""

from __future__ import annotations

from typing import Any

import pytest

from bfc_core import specs, studies
from bfc_core.specs.baseline import LEARNERS

MEGABYTE = 10**6
# Peak resident memory of one training in a process of its own, PyTorch 2.13 on the CPU, one thread.
MEASURED: list[tuple[dict[str, Any], int, str]] = [
    ({"data": {"samples": 1_000_000}}, 1160, "/spec/data/samples"),
    ({"data": {"test_samples": 1_000_000}}, 985, "/spec/data/test_samples"),
    ({"data": {"samples": 200_000, "input_dim": 200}}, 1961, "/spec/data/samples"),
    ({"data": {"input_dim": 2000}}, 2218, "/spec/data/input_dim"),
    ({"probes": [{"kind": "linear"}, {"kind": "captured", "inputs": 300_000}]}, 610, "/spec/probes/1/inputs"),
    ({"budget": {"batch": 20_000}, "data": {"samples": "fresh"}}, 459, "/spec/budget/batch"),
    ({"model": {"width": 200}, "probes": [{"kind": "weight_correlation"}]}, 1362, "/spec/model/width"),
    ({"data": {"kind": "multi_index", "samples": 1_000_000}, "model": {"kind": "mlp"}}, 1212, "/spec/data/samples"),
    ({"model": {"kind": "mlp", "width": 4000}}, 3181, "/spec/model/width"),
    ({"data": {"samples": 500_000}, "dtype": "float64"}, 723, "/spec/data/samples"),
]


@pytest.mark.parametrize(("spec", "peak", "largest"), MEASURED)
def test_the_memory_of_a_training_is_estimated_from_above_within_a_factor_of_two(
    spec: dict[str, Any], peak: int, largest: str
) -> None:
    found = specs.estimate(specs.TrainSpec.model_validate(spec))
    assert peak <= found.memory_bytes / MEGABYTE <= 2 * peak
    assert found.largest == largest


def test_only_a_hierarchical_target_needs_statistics() -> None:
    wide = {"kind": "parity", "input_dim": 50_000, "samples": 100, "test_samples": 100}
    spec = specs.TrainSpec.model_validate({"data": wide, "model": {"kind": "mlp", "width": 16}, "probes": []})
    assert specs.estimate(spec).memory_bytes < 2_000 * MEGABYTE


def test_a_packs_memory_is_one_process_and_all_its_members_parts() -> None:
    spec = specs.TrainSpec()
    one = specs.estimate(spec)
    own = one.device_memory_bytes
    assert own > 0
    assert specs.combined([one] * 3).memory_bytes == one.memory_bytes, "three processes, one after another"
    packed = specs.combined([one] * 3, ["p", None, "p"])
    assert (packed.memory_bytes, packed.device_memory_bytes) == (one.memory_bytes + own, 2 * own)
    alone, apart = specs.combined([one] * 3), 2 * one.shared_seconds
    assert one.shared_seconds > 0
    assert packed.seconds == pytest.approx(alone.seconds - apart / 2), "two of three take their steps together"
    assert "shared_seconds" not in packed.json()


# CPU-seconds of one training with float32 on one core, read as it ends.
TRAININGS: list[tuple[dict[str, Any], float]] = [
    ({}, 0.35),
    ({"data": {"input_dim": 30, "width": 6, "samples": 10_000}, "model": {"width": 12},
      "budget": {"steps": 4000, "batch": 256}}, 1.1),
    ({"data": {"kind": "parity", "degree": 3}, "model": {"kind": "mlp"}}, 7.2),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "seconds"), TRAININGS)
def test_the_time_of_a_training_is_estimated_within_a_factor_of_two(spec: dict[str, Any], seconds: float) -> None:
    found = specs.estimate(specs.TrainSpec.model_validate(spec)).seconds
    assert seconds / 2 <= found <= 2 * seconds


def test_the_time_of_the_quick_study_is_estimated_within_a_factor_of_two() -> None:
    """Nine seeds on both read-outs, every arm and window: 32 CPU-seconds."""
    members = list(studies.members(specs.CorrectionSpec(baselines=None)))
    found = specs.combined([specs.estimate(one.spec) for one in members], [one.pack for one in members])
    assert 16 <= found.seconds <= 64


# CPU-seconds of one fit of the quick target on x in float32, on one core at 90 GFLOP/s of products.
FITS = [
    ("kernel_ridge/rbf", 500, 0.063), ("kernel_ridge/rbf", 1000, 0.1), ("kernel_ridge/rbf", 2000, 0.21),
    ("kernel_ridge/laplace", 2000, 0.32), ("kernel_ridge/polynomial", 2000, 0.22), ("kernel_ridge/ntk", 2000, 0.21),
    ("recursive_feature_machine", 500, 0.18), ("recursive_feature_machine", 2000, 0.7),
    ("tangent_kernel/mlp", 500, 0.43), ("tangent_kernel/mlp", 2000, 0.71),
    ("tangent_kernel/quadratic_densenet", 500, 0.17), ("tangent_kernel/quadratic_densenet", 2000, 0.38),
    ("random_features/relu", 500, 0.068), ("random_features/relu", 2000, 0.33),
    ("random_features/quadratic", 500, 0.065), ("random_features/quadratic", 2000, 0.18),
    ("two_layer/relu", 2000, 0.6), ("mlp/relu", 2000, 0.9),
]  # fmt: skip


@pytest.mark.parametrize(("learner", "samples", "seconds"), FITS)
def test_the_time_of_a_baseline_is_estimated_within_a_factor_of_three(
    learner: str, samples: int, seconds: float
) -> None:
    body = {"data": {"samples": samples}, "baseline": specs.dump(LEARNERS[learner][1]), "dtype": "float32"}
    assert seconds / 3 <= specs.estimate(specs.BaselineSpec.model_validate(body)).seconds <= 3 * seconds


@pytest.mark.parametrize("model", ["wide_resnet", "resnet", "vgg", "densenet", "alexnet", "mlp"])
def test_what_needs_most_is_a_field_of_the_spec(model: str) -> None:
    data = {"kind": "cifar10", "dataset": "ds_0123456789abcdef", "samples": 10, "test_samples": 10}
    spec = specs.TrainSpec.model_validate({"data": data, "model": {"kind": model}, "budget": {"batch": 1}})
    at: Any = {"spec": spec.model_dump(mode="json")}
    for name in specs.estimate(spec).largest.split("/")[1:]:
        at = at[name]
