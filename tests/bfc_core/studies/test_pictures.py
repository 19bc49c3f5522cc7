"""Correction studies of pictures: shared first stages, heads and rates chosen on validation, points of accuracy."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import vl_convert

from bfc_core import figures, specs, studies
from bfc_core.studies import Member, Outcome
from bfc_core.studies.picture_claims import independent_error, paired_error

BASE = {"data": {"kind": "cifar10", "dataset": "ds_01hzy3v7k2q8s4t6w9x0"}, "model": {"kind": "wide_resnet"}}


def study(**fields):
    return specs.load("study", {"kind": "correction", "base": BASE, "baselines": None, "seeds": 6} | fields)


def outcome(member: Member) -> Outcome:
    """Accuracies that rise with the levels freed, and with nothing else; the convolutional head is the better greedy."""
    draw, arm = random.Random(member.key), member.labels["schedule"]
    at = {"joint": 0.72, "layerwise": 0.58, "layerwise_convolutional": 0.62, "window/joint": 0.72}.get(
        arm, 0.6
    )
    if arm.startswith("window/") and arm != "window/joint":
        free = int(arm.split("@")[0].split("/")[2])
        at = 0.605 if "equal" in arm else 0.6 + 0.04 * free
        if arm.endswith("@0.05"):
            at -= 0.03
    accuracy = at + draw.gauss(0, 0.001)
    summary = {
        "test_accuracy": accuracy,
        "validation_accuracy": accuracy + draw.gauss(0, 0.001),
        "test_samples": 10_000,
    }
    probes = {
        "columns": [
            {"name": n, "type": "number"} for n in ("step", "stage", "key", "block", "name", "value")
        ],
        "rows": [
            [9, 1, "linear_accuracy", 4, "b4", accuracy - 0.1],
            [9, 1, "lambda", 4, "b4", 0.04 if "equal" in arm else 0.05],
            [9, 1, "weight_correlation/init_before", 4, "b4", 0.2],
        ],
    }
    curve = {"key": "test_error", "layer": None, "steps": [0, 9], "values": [0.9, 1 - accuracy]}
    return Outcome(member.key, "succeeded", summary, {"probes": probes}, series=lambda _: iter([curve]))


def concluded(spec):
    return studies.conclude(spec, {m.key: outcome(m) for m in studies.members(spec)})


LONG = {**BASE, "budget": {"steps": 20_000, "batch": 128}}


def test_windows_of_one_row_share_one_first_stage_by_pack_or_by_start():
    for base in (BASE, LONG):
        members = {m.key: m for m in studies.members(study(seeds=1, base=base))}
        windows = [m for m in members.values() if m.labels["schedule"].startswith("window/4/")]
        assert len(windows) == 7
        for window in windows:
            shared = members["own/start/4/0"]
            first = specs.stages(shared.spec)
            assert first == specs.stages(window.spec)[: len(first)]
            together = window.pack is not None and window.pack == shared.pack
            assert together or (window.start, window.after) == (shared.key, (shared.key,))
            assert list(members).index(shared.key) < list(members).index(window.key)


def test_arms_after_layerwise_start_from_it():
    chosen = ["layerwise", "layerwise_then_joint", "detached"]
    members = {m.key: m for m in studies.members(study(seeds=1, how_deep=False, schedules=chosen, base=LONG))}
    assert members["own/detached/0"].start == "own/layerwise/0"
    shared = specs.stages(members["own/layerwise/0"].spec)
    assert specs.stages(members["own/detached/0"].spec)[: len(shared)] == shared


def test_rows_and_levels_freed_follow_the_spec_and_windows_need_a_level_above():
    spec = study(seeds=1, rows=[3, 6], free=[2])
    names = {m.labels["schedule"] for m in studies.members(spec)}
    plain = {n for n in names if n.startswith("window/") and n.count("/") == 2}
    assert plain == {f"window/{row}/{free}" for row in (3, 6) for free in (0, 2, row)}
    with pytest.raises(specs.SpecError) as caught:
        specs.parse_job({"kind": "study", "spec": {"kind": "correction", "base": BASE, "rows": [10]}})
    assert caught.value.faults[0].pointer == "/spec/rows/0"


def test_joint_is_compared_with_the_better_greedy_head():
    claim = next(c for c in concluded(study()).summary["claims"] if c["claim"] == "joint_beats_layerwise")
    assert claim["verdict"] == "supported"
    assert claim["effect"] == pytest.approx(10, abs=0.5)
    assert claim["unit"] == "points"


def test_depth_and_lower_features_are_claimed_in_points():
    result = concluded(study())
    found = {c["claim"]: c for c in result.summary["claims"]}
    assert found["correction_is_deep"]["verdict"] == "supported"
    assert found["lower_features_corrected"]["effect"] == pytest.approx(15.5, abs=0.5)
    rows = [r for r in result.tables["how_deep"].records() if r["control"] == "none"]
    assert {r["free"] for r in rows} == {0, 1, 2, 4}
    assert all(r["test_accuracy"] is not None and r["relative_test_error"] is None for r in rows)


def test_locality_asks_for_small_movement_a_control_and_a_forgotten_initialisation():
    result = concluded(study())
    (claim,) = (c for c in result.summary["claims"] if c["claim"] == "correction_is_local")
    assert (claim["verdict"], claim["level"]) == ("supported", 4)
    parts = {part["name"]: part for part in claim["components"]}
    assert parts["lambda"]["effect"] == 0.05
    assert parts["lambda_over_longer"]["effect"] == pytest.approx(math.log10(1.25))
    strict = study(claims=[{"claim": "correction_is_local", "thresholds": {"lambda_over_longer": 0.05}}])
    assert concluded(strict).summary["claims"][0]["verdict"] == "not_supported"

    def kept(member: Member) -> Outcome:
        one = outcome(member)
        rows = [[*row[:-1], 0.8] if "init_before" in row[2] else row for row in one.tables["probes"]["rows"]]
        return Outcome(one.key, one.state, one.summary, {"probes": {**one.tables["probes"], "rows": rows}})

    told = studies.conclude(study(), {m.key: kept(m) for m in studies.members(study())}).summary
    assert "correction_is_local" not in {c["claim"] for c in told["claims"]}
    (reason,) = (u["why"] for u in told["unanswered"] if u["claim"] == "correction_is_local")
    assert reason.startswith("undefined: initialisation not forgotten (1 − c(initialisation, stage 1) is 0.20")


def test_a_difference_within_its_sampling_error_is_not_supported():
    spec = study(claims=[{"claim": "joint_beats_layerwise", "thresholds": {"joint_minus_greedy": 0.5}}])
    outcomes = {}
    for member in studies.members(spec):
        one = outcome(member)
        few = {**one.summary, "test_samples": 100}
        outcomes[member.key] = Outcome(one.key, one.state, few, one.tables)
    (claim,) = studies.conclude(spec, outcomes).summary["claims"]
    assert (claim["verdict"], claim["decided_by"]) == ("not_supported", "beyond_sampling")


def test_the_rate_of_the_later_stages_is_chosen_on_validation():
    result = concluded(study(second_rates=[0.05, 0.1]))
    rows = [r for r in result.tables["how_deep"].records() if r["train_up_to"] is not None]
    assert {r["rate"] for r in rows} == {0.1}
    assert len(rows) == 7 * 6


def test_three_seeds_are_estimates_only():
    assert {c["verdict"] for c in concluded(study(seeds=3)).summary["claims"]} == {"underpowered"}


def test_figures_of_pictures_show_accuracies():
    result = concluded(study(sliding=[2, 3]))
    sliding = figures.draw("sliding", result.tables, result.summary)
    assert {(row["width"], row["how"]) for row in sliding["datasets"]["medians"]} == {
        (width, how) for width in (2, 3) for how in ("sliding window", "greedy, equal updates")
    }
    drawn = figures.draw("how_deep", result.tables, result.summary)
    assert {cell["label"].split()[0][-1] for cell in drawn["datasets"]["cells"]} == {"%"}
    curves = figures.draw("correction_is_backward", result.tables, result.summary)
    assert {row["panel"] for row in curves["datasets"]["seeds"]} == {"test error"}, "not relative to any variance"
    assert {row["arm"] for row in curves["datasets"]["seeds"]} >= {"layerwise", "layerwise, convolutional heads"}
    claims = figures.draw("claims", result.tables, result.summary)["datasets"]["rows"]
    assert any("accuracy with the first step of levels freed" in row["label"] for row in claims)
    assert len({row["label"] for row in claims}) == len(claims), "each component has a line of its own"
    for one in figures.names("correction"):
        vl_convert.vegalite_to_vega(figures.draw(one["name"], result.tables, result.summary))


def answering(right: np.ndarray) -> Outcome:
    columns = [{"name": n, "type": "string"} for n in ("part", "samples", "right")]
    row = ["test", len(right), np.packbits(right).tobytes().hex()]
    summary = {"test_accuracy": float(right.mean()), "test_samples": len(right)}
    return Outcome("", "succeeded", summary, {"answers": {"columns": columns, "rows": [row]}})


@pytest.mark.parametrize("n", [1000, 1003])
def test_the_sampling_error_of_a_difference_is_over_the_shared_pictures(n):
    draws = np.random.default_rng(n)
    one = draws.random(n) < 0.7
    other = np.where(draws.random(n) < 0.9, one, ~one)
    expected = 100 * (one.astype(float) - other).std() / np.sqrt(n)
    assert paired_error(answering(one), answering(other)) == pytest.approx(expected)
    assert paired_error(answering(one), answering(one)) == 0.0
    assert independent_error(one.mean(), other.mean(), n) > 1.5 * expected
    assert paired_error(answering(one), answering(other[:-1])) is None
    assert paired_error(answering(one), Outcome("", "succeeded", {"test_accuracy": 0.7})) is None


def test_every_arm_stands_beside_its_control_with_updates_flops_and_error():
    spec = study(seeds=3, rows=[3], free=[1], sliding=[2], schedules=["joint", "layerwise", "layerwise_then_joint"])
    result = concluded(spec)
    rows = result.tables["side_by_side"].records()
    trained = [m for m in studies.members(spec) if not m.labels["schedule"].startswith("start/")]
    assert len(rows) == len(trained)
    at = {row["schedule"]: row for row in rows if row["seed"] == 0}
    assert {name: row["against"] for name, row in at.items()} == {
        "joint": None,
        "layerwise": "joint",
        "layerwise_convolutional": "joint",
        "layerwise_then_joint": "joint",
        "window/3/0": "window/joint",
        "window/3/1": "window/3/1/equal_updates",
        "window/3/1/equal_updates": "window/joint",
        "window/3/3": "window/3/3/equal_updates",
        "window/3/3/equal_updates": "window/joint",
        "window/joint": None,
        "sliding/2": "sliding/2/greedy",
        "sliding/2/greedy": "window/joint",
    }
    window = at["window/3/3"]
    control = at[window["against"]]
    assert window["gain"] == pytest.approx(100 * (control["test_error"] - window["test_error"]))
    assert (window["against_updates"], window["against_flops"]) == (control["updates"], control["flops"])
    assert window["sampling_error"] > 0
    units = {column.name: column.unit for column in result.tables["gains"].columns}
    assert units["step_gain"] == units["control_low"] == "points"
