from typing import Any

import pytest

from bfc_core import specs


def stages(schedule: dict[str, Any], levels: int = 4) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    spec = specs.TrainSpec.model_validate(
        {"data": {"kind": "hierarchical", "levels": levels}, "schedule": schedule}
    )
    return [(stage.present, stage.train) for stage in specs.stages(spec)]


def test_layerwise_adds_one_level_a_stage_and_trains_it_alone() -> None:
    assert stages({"kind": "layerwise"}) == [((2,), (2,)), ((2, 3), (3,)), ((2, 3, 4), (4,))]


def test_a_window_freezes_all_but_the_top_k_of_the_first_stage() -> None:
    assert stages({"kind": "window", "train_up_to": 3, "free": 1}) == [((2, 3), (2, 3)), ((2, 3, 4), (3, 4))]
    assert stages({"kind": "window", "train_up_to": 3, "free": 0})[1] == ((2, 3, 4), (4,))
    assert stages({"kind": "window", "train_up_to": 3, "free": 2})[1] == ((2, 3, 4), (2, 3, 4))


def test_the_control_of_a_window_gives_the_same_updates_before_any_higher_level_stands() -> None:
    control = stages({"kind": "window", "train_up_to": 3, "free": 1, "equal_updates": True})
    assert control == [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3, 4), (4,))]


@pytest.mark.parametrize("window", [1, 2, 3])
def test_greedy_gives_each_level_as_many_stages_as_the_sliding_window_did(window: int) -> None:
    sliding = [train for _, train in stages({"kind": "sliding", "window": window})]
    greedy = [train for _, train in stages({"kind": "sliding", "window": window, "equal_updates": True})]
    for level in (2, 3, 4):
        assert sum(level in train for train in sliding) == sum(level in train for train in greedy)


def test_cyclic_gives_each_level_the_updates_of_one_joint_stage() -> None:
    spec = specs.TrainSpec.model_validate(
        {"schedule": {"kind": "cyclic", "cycles": 4}, "budget": {"steps": 400}}
    )
    found = specs.stages(spec)
    assert [sum(s.steps for s in found[2:] if level in s.train) for level in (2, 3)] == [400, 400]


def test_arms_share_their_layerwise_prefix() -> None:
    kinds = ("layerwise", "layerwise_then_joint", "detached", "upper_frozen", "cyclic")
    prefixes = {
        specs.stages(specs.TrainSpec.model_validate({"schedule": {"kind": kind}}))[:2] for kind in kinds
    }
    assert len(prefixes) == 1


def test_progress_counts_steps_over_all_stages() -> None:
    assert specs.total_steps(specs.TrainSpec.model_validate({"schedule": {"kind": "longer"}})) == 8000
