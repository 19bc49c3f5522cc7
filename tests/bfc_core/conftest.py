"""Simulated members of studies: plausible results without any training."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import settings

from bfc_core import specs, studies
from bfc_core.records import Column, Table
from bfc_core.specs.data import Hierarchical
from bfc_core.studies import Member, Outcome

# Timings on a shared machine say nothing about a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

Outcomes = dict[str, Outcome]
Simulate = Callable[..., Outcomes]

# Median rel and feature error of level 2 at the end, as bench/measured/reproduce.md has them.
ENDS = {
    "joint": (3e-4, 1e-5),
    "layerwise": (0.22, 0.14),
    "layerwise_then_joint": (2.5e-4, 1e-5),
    "longer": (0.21, 0.16),
    "detached": (0.16, 0.13),
    "cyclic": (4e-3, 4e-3),
    "upper_frozen": (0.14, 0.14),
    "reinitialised": (4e-4, 2e-5),
}
POINTS = 4


def ends(member: Member) -> tuple[float, float]:
    """(rel, feature error of level 2) that the member's arm comes to."""
    arm = member.labels["schedule"]
    if arm in ENDS:
        return ENDS[arm]
    if arm == "window/joint":
        return 2e-4, 1e-5
    if arm.startswith("cell/"):
        return 2e-4, 1e-5
    free = int(arm.split("/")[2]) if arm.startswith("window/") else 1
    return (0.2, 0.14) if "equal" in arm or "greedy" in arm else (0.2 * 0.05**free, 0.14 * 0.01**free)


def series(
    member: Member, draw: random.Random
) -> dict[tuple[str, int | None], tuple[list[int], list[float]]]:
    """Points of the member's series: falling within each stage, exact at its end."""
    spec: specs.TrainSpec = member.spec
    rel, error = (end * 10 ** draw.gauss(0, 0.12) for end in ends(member))
    found: dict[tuple[str, int | None], tuple[list[int], list[float]]] = {}
    stages = specs.stages(spec)
    levels = specs.layers(spec)
    start, steps = 0, [0]
    for stage in stages:
        steps += [start + stage.steps * i // POINTS for i in range(1, POINTS + 1)]
        start += stage.steps
    before = start - stages[-1].steps

    def curve(first: float, middle: float, last: float) -> list[float]:
        values = []
        for step in steps:
            if step <= before:
                share = step / max(before, 1)
                values.append(first ** (1 - share) * middle**share)
            else:
                share = (step - before) / (start - before)
                values.append(middle ** (1 - share) * last**share)
        return values

    middle = (0.22, 0.14) if len(stages) > 1 else (1.0, 0.9)
    found["test_error", None] = steps, curve(1.0, middle[0], rel)
    for level in levels:
        end = error if level < levels[-1] else rel * 10
        found["feature_error", level] = steps, curve(0.95, middle[1], end)
        for pair in ("before_after", "init_after", "init_before"):
            found[f"weight_correlation/{pair}", level] = [start], [draw.uniform(0.85, 0.95)]
        found["lambda", level] = [start], [draw.uniform(0.03, 0.08)]
    data = spec.data
    if isinstance(data, Hierarchical):
        found |= captured(data, levels, before, start, "detached" in member.labels["schedule"], draw)
    return found


def captured(
    data: Hierarchical, levels: tuple[int, ...], before: int, end: int, stays: bool, draw: random.Random
) -> dict[tuple[str, int | None], tuple[list[int], list[float]]]:
    found: dict[tuple[str, int | None], tuple[list[int], list[float]]] = {}
    weak = data.weakest < 1 and min(data.gap) < 0
    for level in levels:
        names = [str(i) for i in range(data.width)] if level < levels[-1] else ["subspace"]
        for i, name in enumerate(names):
            weakest = weak and i == data.width - 1
            first = draw.uniform(0.4, 0.5) if weakest else draw.uniform(0.95, 0.99)
            last = first if stays else 0.9999
            found[f"captured/{name}", level] = [0, before, end], [0.2, first, last]
            found[f"captured_effective/{name}", level] = [0, before, end], [0.1, 0.9 * first, 0.99 * last]
            found[f"captured_initial/{name}", level] = [0, before, end], [0.2, 0.2, 0.2]
    found["captured_chance", levels[0]] = [0, end], [0.2, 0.2]
    return found


def outcome(member: Member, draw: random.Random) -> Outcome:
    """A member that succeeded."""
    if member.kind == "baseline":
        count = int(member.labels["samples"])
        deep = member.labels["group"] == "deep_generic"
        rel = min(1.0, (0.4 if deep else 0.7) * (4000 / count) ** 0.2 * 10 ** draw.gauss(0, 0.02))
        summary = {
            "relative_test_error": rel,
            "validation_error": rel * 1.02,
            "grid_edge": False,
            "cpu_seconds": 1.0,
        }
        return Outcome(member.key, "succeeded", summary, {}, None)
    if "schedule" not in member.labels:  # the deep learner of a duel
        count = int(member.labels["samples"])
        rel = min(1.0, (count / 700.0) ** -4) * 10 ** draw.gauss(0, 0.1)
        return Outcome(member.key, "succeeded", {"relative_test_error": rel, "stuck": rel > 0.1}, {}, None)
    made = series(member, draw)

    def read(keys: Any) -> list[Mapping[str, Any]]:
        return [
            {"key": key, "layer": layer, "unit": None, "steps": steps, "values": values}
            for (key, layer), (steps, values) in made.items()
            if key in keys
        ]

    rel = made["test_error", None][1][-1]
    summary = {"relative_test_error": rel, "updates": specs.total_steps(member.spec)}
    if specs.stages(member.spec)[-1].train == specs.layers(member.spec):
        summary["stuck"] = rel > 0.01
    return Outcome(member.key, "succeeded", summary, {"boundaries": boundaries(member, made)}, None, read)


def boundaries(member: Member, made: Mapping[tuple[str, int | None], tuple[list[int], list[float]]]) -> Table:
    """The readings at initialisation and at stage ends, as the engine tabulates them."""
    ends = [0]
    for stage in specs.stages(member.spec):
        ends.append(ends[-1] + stage.steps)
    columns = tuple(Column(name, "number") for name in ("stage", "step", "key", "layer", "value"))
    rows = tuple(
        (ends.index(step), step, key, layer, value)
        for (key, layer), points in made.items()
        for step, value in zip(*points, strict=True)
        if step in ends
    )
    return Table(columns, rows)


@pytest.fixture
def simulate() -> Simulate:
    """(study spec) -> outcomes of all its members, reproducing what bench/measured/reproduce.md reports."""

    def run(spec: Any, seed: int = 0) -> Outcomes:
        return {m.key: outcome(m, random.Random(f"{seed} {m.key}")) for m in studies.members(spec)}

    return run
