"""Schedules as laws: what freezing, freeing, stopping gradients and penalties must and must not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bfc_core.records import Checkpoint
from bfc_core.training.checkpoints import from_record
from tests.bfc_core.training.packs import alone, checkpoints, final_weights, result, small


def stages(*found: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "stages", "stages": list(found)}


def weights_after(schedule: Any, **changes: Any) -> dict[str, Any]:
    return final_weights(alone(small(schedule, dtype="float64", **changes)))


@pytest.mark.parametrize("readout", ["fixed", "signed"])
def test_freezing_everything_changes_nothing_but_the_bias(readout: str) -> None:
    model = {"readout": readout}
    trained = weights_after("layerwise", model=model)
    frozen = weights_after(stages({"present": [2], "train": [2]}, {"train": [3]}, {"train": []}), model=model)
    for name, block in trained.items():
        if name != "b":
            assert np.array_equal(frozen[name], block), name


def test_the_second_stage_of_a_wholly_free_window_is_joint_training_from_its_state() -> None:
    """Stage 2 of `window` with k = l, against a joint stage that starts from the same weights."""
    window = {"kind": "window", "train_up_to": 2, "free": 1}
    spelled = stages({"present": [2], "train": [2]}, {"present": [2, 3], "train": [2, 3]})
    ours, theirs = weights_after(window), weights_after(spelled)
    assert all(np.array_equal(ours[name], block) for name, block in theirs.items())
    whole = alone(small({"kind": "window", "train_up_to": 3, "free": 2}, dtype="float64"))
    fork = state_at_end_of_first_stage(whole)
    joint = alone(small(stages({}, {}), dtype="float64"), resume=fork)
    for name, block in final_weights(joint).items():
        assert np.array_equal(final_weights(whole)[name], block), name


def state_at_end_of_first_stage(records: Any) -> Checkpoint:
    return next(one for one in checkpoints(records) if from_record(one).stage == 1)


def test_a_window_of_nothing_free_is_layerwise_above() -> None:
    ours = weights_after({"kind": "window", "train_up_to": 2, "free": 0})
    theirs = weights_after("layerwise")
    assert all(np.array_equal(ours[name], block) for name, block in theirs.items())


@pytest.mark.parametrize("readout", ["fixed", "signed"])
@pytest.mark.parametrize("expansion", ["random", "none"])
def test_with_two_levels_detached_training_is_full_training(readout: str, expansion: str) -> None:
    """One learner level has no feature below it whose gradient could be stopped."""
    changes: dict[str, Any] = {
        "data": {"levels": 2, "gap": [1.0]},
        "model": {"readout": readout, "expansion": expansion},
    }
    full, detached = (weights_after(stages({"backward": mode}), **changes) for mode in ("full", "detached"))
    assert all(np.array_equal(full[name], block) for name, block in detached.items())


def test_with_three_levels_detached_training_is_not() -> None:
    full, detached = (weights_after(stages({"backward": mode})) for mode in ("full", "detached"))
    assert not np.allclose(full["W2"], detached["W2"])


def test_local_training_of_a_level_is_training_it_alone() -> None:
    """Level 2 under local losses sees what it sees alone, in a network where level 3 trains beside it."""
    local = weights_after(
        stages({"backward": "local"}), model={"readout": "signed"}, optimizer={"clip": None}
    )
    only = weights_after(
        stages({"present": [2], "train": [2]}), model={"readout": "signed"}, optimizer={"clip": None}
    )
    # The bias trains by the last loss there, by level 2's here, and level 2 feels it.
    assert np.linalg.norm(local["W2"] - only["W2"]) < 0.1 * np.linalg.norm(only["W2"])


def test_reinitialised_layers_forget_and_the_others_do_not() -> None:
    spelled = ({"present": [2], "train": [2]}, {"train": [3]}, {"train": [], "reinitialise": [2]})
    drawn = weights_after(stages(*spelled))
    trained = weights_after("layerwise")
    assert not np.allclose(drawn["W2"], trained["W2"])
    assert np.array_equal(drawn["W3"], trained["W3"])
    assert (
        0.3 < np.linalg.norm(drawn["W2"]) / np.sqrt(2) < 3
    )  # as large as the initial law: |W|² = k on average


def test_a_hard_penalty_holds_the_lower_layers_and_a_rank_bounds_their_change() -> None:
    before = weights_after("layerwise")
    held = weights_after({"kind": "minimal", "penalty": 1e4})
    free = weights_after("layerwise_then_joint")
    moved, allowed = (np.linalg.norm(w["W2"] - before["W2"]) for w in (free, held))
    assert allowed < 0.1 * moved
    ranked = weights_after({"kind": "minimal", "rank": 1})
    singular = np.linalg.svd(ranked["W2"] - before["W2"], compute_uv=False)
    assert singular[0] > 1e-3
    assert singular[1] < 1e-9 * singular[0]


def test_a_penalty_of_zero_is_none() -> None:
    held, free = weights_after({"kind": "minimal", "penalty": 0.0}), weights_after("layerwise_then_joint")
    assert all(np.array_equal(held[name], block) for name, block in free.items())


def test_lazy_correction_starts_where_layerwise_ended_and_is_linear_in_the_lower_change() -> None:
    summary = result(alone(small({"kind": "minimal", "lazy": True}, steps=60))).summary
    layerwise = result(alone(small("layerwise", steps=60))).summary
    assert summary["relative_train_error"] < layerwise["relative_train_error"]


@pytest.mark.parametrize("kind", ["mlp", "quadratic_densenet"])
@pytest.mark.parametrize(
    "schedule", ["layerwise_then_joint", {"kind": "sliding", "window": 2}, stages({"backward": "local"})]
)
def test_every_learner_runs_every_schedule(kind: str, schedule: Any) -> None:
    spec = small(schedule, steps=12, model={"kind": kind, "width": 4})
    assert result(alone(spec)).summary["relative_test_error"] > 0
