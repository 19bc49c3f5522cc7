"""Laws of training by stages: what is frozen stays, what is resumed or forked goes on with the same bits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bfc_core import records, specs
from bfc_core.images import engine
from bfc_core.images.adversary import perturbed
from bfc_core.images.engine import train
from bfc_core.records import Checkpoint, Failure, Metric, Progress, Record, Result
from tests.bfc_core.images.conftest import DATASET, Given

Make = Callable[..., specs.TrainSpec]


def weights(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in checkpoint.tensors.items() if k.startswith("network.")}


def checkpoints(found: list[Record]) -> list[Checkpoint]:
    return [record for record in found if isinstance(record, Checkpoint)]


def told(found: list[Record]) -> list[Record]:
    """What depends on the spec alone."""
    return [record for record in found if not isinstance(record, Progress | Checkpoint)]


def through_json(checkpoint: Checkpoint) -> Checkpoint:
    return Checkpoint(checkpoint.step, checkpoint.tensors, json.loads(json.dumps(checkpoint.state)))


def test_a_run_learns_and_reports_accuracies_updates_and_flops(tiny: Make, given: Given) -> None:
    spec = tiny(budget={"steps": 60, "batch": 32}, probes=[{"kind": "linear", "inputs": 120}])
    *_, result = train(spec, inputs=given)
    assert isinstance(result, Result)
    assert result.summary["test_accuracy"] > 0.8
    assert result.summary["updates"] == 60
    assert result.summary["flops"] > 0
    blocks = result.tables["blocks"].records()
    assert [row["updates"] for row in blocks] == [60] * 3
    assert [row["name"] for row in blocks] == ["stem", "group1.1", "group2.1"]
    assert result.summary["probe_accuracy_3"] == blocks[2]["probe_accuracy"] > 0.8
    keys = {row["key"] for row in result.tables["boundaries"].records()}
    assert {"linear_accuracy", "linear_accuracy_initial", "linear_accuracy_shuffled", "test_error"} <= keys
    (answers,) = result.tables["answers"].records()
    right = np.unpackbits(np.frombuffer(bytes.fromhex(answers["right"]), np.uint8))[: answers["samples"]]
    assert right.mean() == pytest.approx(result.summary["test_accuracy"], abs=1e-12)


def test_equal_specs_give_equal_records(tiny: Make, given: Given) -> None:
    spec = tiny(schedule={"kind": "layerwise"}, probes=[{"kind": "linear", "inputs": 100, "every": 3}])
    assert told(list(train(spec, inputs=given))) == told(list(train(spec, inputs=given)))


@pytest.mark.parametrize(
    "changes",
    [
        {
            "schedule": {"kind": "window", "train_up_to": 2, "free": 1},
            "probes": [{"kind": "movement", "every": 2}],
        },
        {"schedule": {"kind": "detached"}, "recipe": "fast", "optimizer": {"kind": "adam"}},
        {"schedule": {"kind": "minimal", "rank": 1}, "adversarial_radius": 0.1},
    ],
    ids=["window", "detached-fast-adam", "minimal-adversarial"],
)
def test_a_run_resumed_from_any_checkpoint_ends_with_the_same_records(
    tiny: Make, given: Given, changes: dict[str, object]
) -> None:
    spec = tiny(budget={"steps": 4, "batch": 16}, **changes)
    whole = list(train(spec, inputs=given, checkpoint_now=lambda: True))
    found = checkpoints(whole)
    assert len(found) == specs.total_steps(spec)
    for checkpoint in found[:: max(1, len(found) // 5)]:
        after = told(whole[whole.index(checkpoint) + 1 :])
        assert told(list(train(spec, inputs=given, resume=through_json(checkpoint)))) == after


def test_a_fork_that_shares_its_first_stages_equals_the_whole_run(tiny: Make, given: Given) -> None:
    layerwise = checkpoints(list(train(tiny(schedule={"kind": "layerwise"}), inputs=given)))[-1]
    spec = tiny(schedule={"kind": "layerwise_then_joint"})
    whole, forked = list(train(spec, inputs=given)), list(train(spec, inputs=given, resume=layerwise))
    assert checkpoints(forked)[-1].tensors == checkpoints(whole)[-1].tensors
    assert forked[-1] == whole[-1]
    assert len(checkpoints(forked)) == 1


def test_a_fork_into_another_schedule_starts_it_from_the_weights(tiny: Make, given: Given) -> None:
    first = checkpoints(list(train(tiny(), inputs=given)))[-1]
    still = {"kind": "stages", "stages": [{"train": [], "budget": {"steps": 2, "batch": 8}}]}
    (forked,) = checkpoints(list(train(tiny(schedule=still), inputs=given, resume=first)))
    assert forked.step == 2
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(forked)[name])


def test_freezing_everything_changes_no_block_and_no_statistic(tiny: Make, given: Given) -> None:
    stages = [{"present": [1, 2], "train": [1, 2]}, {"train": []}, {"train": [3]}]
    found = checkpoints(list(train(tiny(schedule={"kind": "stages", "stages": stages}), inputs=given)))
    first, frozen, last = map(weights, found)
    for name in first:
        np.testing.assert_array_equal(first[name], frozen[name])
        changed = not np.array_equal(frozen[name], last[name])
        assert changed == name.startswith("network.blocks.2"), name


def test_local_losses_train_each_block_as_if_it_stood_alone(tiny: Make, given: Given) -> None:
    def block_one(present: list[int]) -> np.ndarray:
        stage = {"present": present, "backward": "local", "head": "linear"}
        *_, last = checkpoints(
            list(train(tiny(schedule={"kind": "stages", "stages": [stage]}), inputs=given))
        )
        return weights(last)["network.blocks.0.weight"]

    np.testing.assert_array_equal(block_one([1]), block_one([1, 2, 3]))


def test_detached_features_stop_the_gradient_but_share_the_residual(tiny: Make, given: Given) -> None:
    def trained(backward: str) -> dict[str, np.ndarray]:
        schedule = {"kind": "stages", "stages": [{"backward": backward}]}
        return weights(checkpoints(list(train(tiny(schedule=schedule), inputs=given)))[-1])

    full, detached, local = map(trained, ("full", "detached", "local"))
    name = "network.blocks.0.weight"
    assert not np.array_equal(full[name], detached[name])
    assert not np.array_equal(local[name], detached[name])


def test_a_cached_prefix_trains_as_one_computed_anew(
    tiny: Make, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(
        data={"kind": "images", "dataset": DATASET, "test_samples": 60, "augment": "flip"},
        schedule={"kind": "window", "train_up_to": 2, "free": 0},
        budget={"steps": 8, "batch": 16},
    )
    cached = weights(checkpoints(list(train(spec, inputs=given)))[-1])
    monkeypatch.setattr(engine, "CACHE_BYTES", 0)
    anew = weights(checkpoints(list(train(spec, inputs=given)))[-1])
    for name, value in cached.items():
        np.testing.assert_allclose(value, anew[name], rtol=1e-4, atol=1e-5)


def test_a_penalty_holds_lower_blocks_near_and_a_rank_bounds_their_change(tiny: Make, given: Given) -> None:
    def change(**minimal: float) -> np.ndarray:
        spec = tiny(schedule={"kind": "minimal", **minimal}, budget={"steps": 20, "batch": 16})
        found = checkpoints(list(train(spec, inputs=given)))
        before, after = (weights(one)["network.blocks.1.conv1.weight"] for one in found[-2:])
        moved: np.ndarray = (after - before).reshape(len(after), -1)
        return moved

    assert np.linalg.norm(change(penalty=1.0)) < 0.7 * np.linalg.norm(change(penalty=0.0))
    values = np.linalg.svd(change(rank=1), compute_uv=False)
    assert values[0] > 0
    assert values[1] < 1e-5 * values[0]


def test_a_diverging_run_says_so_and_tells_no_nan(tiny: Make, vectors: Given, wild: dict[str, Any]) -> None:
    *before, failure = train(tiny(**wild), inputs=vectors)
    assert isinstance(failure, Failure)
    assert failure.code == "diverged"
    assert failure.step is not None
    assert failure.layer in (1, 2)
    assert "optimizer.rate" in (failure.hint or "")
    assert all(math.isfinite(record.value) for record in before if isinstance(record, Metric))


def test_data_that_do_not_fit_the_network_end_the_job_in_words(tiny: Make, given: Given) -> None:
    (failure,) = train(tiny(model={"kind": "vgg"}), inputs=given)
    assert isinstance(failure, Failure)
    assert failure.code == "invalid_data"
    assert "does not fit pictures of 16×16" in failure.message


def test_vectors_with_real_targets_train_an_mlp(tiny: Make, vectors: Given) -> None:
    spec = tiny(
        data={"kind": "arrays", "dataset": DATASET},
        model={"kind": "mlp", "width": 32, "depth": 2},
        budget={"steps": 200, "batch": 32},
        optimizer={"kind": "adam", "rate": 0.01},
        probes=[{"kind": "linear", "inputs": 100}],
    )
    *_, result = train(spec, inputs=vectors)
    assert isinstance(result, Result)
    assert result.summary["relative_test_error"] < 0.2


def test_both_recipes_and_float64_run(tiny: Make, given: Given) -> None:
    for changes in ({"recipe": "fast"}, {"dtype": "float64", "precision": "auto"}, {"precision": "bfloat16"}):
        *_, result = train(tiny(**changes), inputs=given)
        assert isinstance(result, Result)


def test_an_adversary_stays_in_its_ball_and_raises_the_loss() -> None:
    x, target = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    radius = torch.tensor([1.0, 2.0, 0.5])[None, :, None, None]

    def loss(x: torch.Tensor) -> torch.Tensor:
        return -((x - target) ** 2).sum()

    moved = perturbed(x, loss, radius)
    assert (((moved - x) / radius).flatten(1).norm(dim=1) <= 1 + 1e-5).all()
    assert loss(moved) > loss(x)


def test_steps_of_records_do_not_depend_on_the_clock(tiny: Make, given: Given) -> None:
    kept = {
        "weights": {"every": 4},
        "features": {"every": 3, "inputs": 16},
        "checkpoint": {"every_seconds": 0.01},
    }
    found = list(train(tiny(snapshots=kept), inputs=given))
    kinds = [(r.kind, r.step) for r in found if isinstance(r, records.Snapshot)]
    steps = {wanted: [step for kind, step in kinds if kind == wanted] for wanted in ("weights", "features")}
    assert steps["weights"] == [0, 4, 6]
    assert steps["features"] == [0, 3, 6]
