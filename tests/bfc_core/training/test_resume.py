"""A run that was interrupted ends with the same bits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from bfc_core.records import Checkpoint, Record
from bfc_core.run import run_pack
from bfc_core.specs import TrainSpec
from tests.bfc_core.training.packs import alone, numbers, small, together

PROBED: dict[str, Any] = {
    "probes": [{"kind": "feature_error", "inputs": 1000, "every": 12}],
    "snapshots": {"weights": {"every": 7}, "features": {"every": 9, "inputs": 16}},
}


def reaches(asked: Iterator[int], every: int) -> bool:
    return next(asked) >= every


def interrupted(spec: TrainSpec, every: int) -> list[Record]:
    """The records of a run that is stopped at every `every`-th question and begun again from its checkpoint."""
    told: list[Record] = []
    resume: Checkpoint | None = None
    while True:
        asked = itertools.count(1)
        fresh: list[Record] = []
        stopped = False
        for _, record in run_pack(
            [spec], resume={0: resume} if resume else {}, checkpoint_now=partial(reaches, asked, every)
        ):
            if isinstance(record, Checkpoint):
                resume, stopped = record, True
                break
            fresh.append(record)
        told += fresh
        if not stopped:
            return told


@pytest.mark.parametrize("schedule", ["joint", "layerwise_then_joint", "reinitialised", {"kind": "minimal", "penalty": 0.1},
                                      {"kind": "minimal", "rank": 1}, {"kind": "minimal", "lazy": True}])  # fmt: skip
@pytest.mark.parametrize("samples", [300, "fresh"])
def test_resuming_gives_the_undisturbed_bits(schedule: Any, samples: Any) -> None:
    spec = small(schedule, steps=40, data={"samples": samples}, model={"readout": "signed"}, **PROBED)
    undisturbed = numbers(alone(spec))
    assert numbers(interrupted(spec, every=11)) == undisturbed


@pytest.mark.parametrize("every", [1, 5, 16, 17])
def test_it_does_not_matter_where_a_run_was_stopped(every: int) -> None:
    spec = small("layerwise_then_joint", steps=20, optimizer={"kind": "sgd", "rate": 0.05}, **PROBED)
    assert numbers(interrupted(spec, every)) == numbers(alone(spec))


def test_members_resume_from_different_places_of_one_pack() -> None:
    """Checkpoints of members commit one by one: after a crash each stands where its own last one was."""
    pack = [
        small(arm, seed=seed, **PROBED)
        for arm in ("joint", "layerwise_then_joint", "detached")
        for seed in (0, 1)
    ]
    undisturbed = together(pack)
    places: dict[int, list[Checkpoint]] = {slot: [] for slot in range(len(pack))}
    asked = itertools.count()
    for slot, record in run_pack(pack, checkpoint_now=lambda: next(asked) % 13 == 12):
        if isinstance(record, Checkpoint):
            places[slot].append(record)
    resume = {slot: found[(3 * slot + 1) % len(found)] for slot, found in places.items() if slot != 2}
    assert len({(one.state["stage"], one.state["step"]) for one in resume.values()}) > 2
    resumed = together(pack, resume=resume)
    for slot, records in undisturbed.items():
        after = [
            entry
            for entry in numbers(records)
            if not isinstance(entry[0], int) or slot not in resume or entry[0] > resume[slot].step
        ]
        assert numbers(resumed[slot]) == after, slot


def test_a_checkpoint_of_another_format_is_refused() -> None:
    spec = small()
    with pytest.raises(ValueError, match="checkpoint format 99"):
        list(run_pack([spec], resume={0: Checkpoint(1, {}, {"format": 99})}))
