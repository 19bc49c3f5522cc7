"""A pack of pictures trains shared stages once, and tells each member what it would have been told alone."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from bfc_core import specs
from bfc_core.images import engine
from bfc_core.images.engine import train
from bfc_core.images.packs import train_pack
from bfc_core.records import Checkpoint, Failure, Record, Result
from tests.bfc_core.images.conftest import Given
from tests.bfc_core.images.test_engine import through_json, told

Make = Callable[..., specs.TrainSpec]
SCHEDULES = [
    {"kind": "joint"},
    {"kind": "layerwise"},
    {"kind": "layerwise_then_joint"},
    {"kind": "window", "train_up_to": 2, "free": 0},
    {"kind": "window", "train_up_to": 2, "free": 1},
    {"kind": "window", "train_up_to": 2, "free": 1, "equal_updates": True},
]


@pytest.fixture(scope="module")
def pack(tiny: Make) -> list[specs.TrainSpec]:
    kept = {
        "weights": {"every": 3},
        "features": {"every": 4, "inputs": 16},
        "checkpoint": {"every_seconds": 0.05},
    }
    probes = [{"kind": "linear", "inputs": 100, "streaming": True, "every": 3}]
    changes = {"snapshots": kept, "probes": probes, "budget": {"steps": 5, "batch": 16}}
    return [tiny(schedule=schedule, **changes) for schedule in SCHEDULES]


@pytest.fixture(scope="module")
def alone(pack: list[specs.TrainSpec], given: Given) -> list[list[Record]]:
    return [told(list(train(spec, inputs=given))) for spec in pack]


def by_slot(stream: list[tuple[int, Record]]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = defaultdict(list)
    for slot, record in stream:
        found[slot].append(record)
    return found


@pytest.fixture(scope="module")
def together(pack: list[specs.TrainSpec], given: Given) -> list[tuple[int, Record]]:
    return list(train_pack(pack, inputs=given))


def test_members_are_told_what_they_are_told_alone(
    together: list[tuple[int, Record]], alone: list[list[Record]]
) -> None:
    found = by_slot(together)
    for slot, records in enumerate(alone):
        assert told(found[slot]) == records, SCHEDULES[slot]


def test_shared_stages_are_trained_once(
    pack: list[specs.TrainSpec], given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    plain = engine.Trainee.step

    def counted(self: engine.Trainee, *args: object) -> object:
        nonlocal steps
        steps += 1
        return plain(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.Trainee, "step", counted)
    assert sum(1 for _ in train_pack(pack, inputs=given)) > 0
    stages = {(i, j) for i, spec in enumerate(pack) for j, _ in enumerate(specs.stages(spec))}
    assert steps == 5 * (1 + 3 + 1 + 1 + 1 + 1 + 2)
    assert steps < 5 * len(stages)


@pytest.mark.parametrize("part", [0.3, 0.7])
def test_an_interrupted_pack_goes_on_where_each_member_was(
    pack: list[specs.TrainSpec],
    alone: list[list[Record]],
    together: list[tuple[int, Record]],
    given: Given,
    part: float,
) -> None:
    whole = together
    resume: dict[int, Checkpoint] = {}
    heard: dict[int, list[Record]] = defaultdict(list)
    unsure: dict[int, list[Record]] = defaultdict(list)
    for slot, record in whole[: int(part * len(whole))]:
        unsure[slot].append(record)
        if isinstance(record, Checkpoint | Result | Failure):
            heard[slot] += unsure.pop(slot)
            if isinstance(record, Checkpoint):
                resume[slot] = through_json(record)
    waiting = {slot for slot in range(len(pack)) if not any(isinstance(r, Result) for r in heard[slot])}
    for slot, record in train_pack(pack, resume=resume, active=waiting, inputs=given):
        heard[slot].append(record)
    for slot, records in enumerate(alone):
        assert told(heard[slot]) == records


def test_a_member_that_leaves_disturbs_nobody(
    pack: list[specs.TrainSpec], alone: list[list[Record]], given: Given
) -> None:
    lost = random.Random(0).sample(range(len(pack)), 2)
    calls = 0

    def gone() -> set[int]:
        nonlocal calls
        calls += 1
        return set(lost) if calls > 30 else set()

    found = by_slot(list(train_pack(pack, inputs=given, gone=gone)))
    for slot, records in enumerate(alone):
        if slot not in lost:
            assert told(found[slot]) == records
        else:
            assert not any(isinstance(record, Result) for record in found[slot])


def test_asked_for_a_checkpoint_every_member_gives_one(pack: list[specs.TrainSpec], given: Given) -> None:
    asking = Event()
    heard: set[int] = set()
    for number, (slot, record) in enumerate(train_pack(pack, inputs=given, checkpoint_now=asking.is_set)):
        if asking.is_set() and isinstance(record, Checkpoint):
            heard.add(slot)
        if number == 10:
            asking.set()
        if heard == set(range(len(pack))):
            break
    assert number < 60


def test_a_diverging_stage_fails_all_that_share_it(tiny: Make, vectors: Given, wild: dict[str, Any]) -> None:
    mild = {"optimizer": {"kind": "adam"}, "budget": {"steps": 5, "batch": 16}}
    joint = {"kind": "stages", "stages": [{}]}
    again = {"kind": "stages", "stages": [{}, mild]}
    pack = [tiny(**wild, schedule=joint), tiny(**wild, schedule=again), tiny(**{**wild, **mild})]
    found = by_slot(list(train_pack(pack, inputs=vectors)))
    assert [type(found[slot][-1]) for slot in range(3)] == [Failure, Failure, Result]
