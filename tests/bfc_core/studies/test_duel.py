"""Crossing points, claim 6, sweeps and information gaps."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfc_core import specs, studies
from bfc_core.studies import Outcome
from bfc_core.studies.crossing import crossing, falling

values = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


def duel(**fields):
    chosen = {"against": ["kernel_ridge/rbf", "two_layer/quadratic", "mlp/relu"]} | fields
    return specs.load("study", {"kind": "duel", **chosen})


@given(values)
def test_the_isotonic_curve_falls_keeps_the_mean_and_leaves_falling_ones_alone(numbers):
    fitted = falling(numbers)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(fitted))
    assert sum(fitted) == pytest.approx(sum(numbers), abs=1e-9)
    assert falling(sorted(numbers, reverse=True)) == sorted(numbers, reverse=True)


@given(values, values)
def test_no_falling_curve_is_nearer(numbers, other):
    candidate = sorted((other * len(numbers))[: len(numbers)], reverse=True)
    fitted = falling(numbers)

    def distance(curve):
        return sum((a - b) ** 2 for a, b in zip(numbers, curve, strict=True))

    assert distance(fitted) <= distance(candidate) + 1e-9


def test_a_power_law_crosses_where_it_should():
    samples = [500, 1000, 2000, 4000]
    errors = [(n / 700) ** -4 for n in samples]
    assert crossing(samples, errors) == pytest.approx(700 * 100**0.25)


def test_crossings_are_censored_at_both_ends():
    assert crossing([500, 1000], [0.9, 0.5]) == math.inf
    assert crossing([500, 1000], [0.005, 0.001]) == 500
    assert crossing([500, 1000], [None, math.inf]) == math.inf
    assert crossing([500, 1000, 2000], [0.5, 0.001, 0.9]) == math.inf


def test_every_learner_stands_at_every_sample_size_on_both_inputs(simulate):
    spec = duel(seeds=6)
    result = studies.conclude(spec, simulate(spec))
    places = {(r["learner"], r["inputs_as"], r["samples"]) for r in result.tables["runs"].records()}
    shallow = {(learner, x, n) for learner in spec.against for x in ("x", "x_and_h1") for n in spec.samples}
    assert places == shallow | {("quadratic_densenet/joint", "x_and_h1", n) for n in spec.samples}
    assert len(result.tables["runs"].rows) == len(places) * 6


def test_all_baselines_duel_when_none_is_named():
    names = {m.labels["learner"] for m in studies.members(specs.load("study", {"kind": "duel", "seeds": 1}))}
    assert names == {*specs.LEARNERS, "quadratic_densenet/joint"}


@pytest.mark.parametrize(
    ("kind", "inputs_as"), [("hierarchical", {"x", "x_and_h1"}), ("random_hierarchy", {"x"}), ("parity", {"x"})]
)
def test_learners_read_squares_only_of_inputs_whose_squares_say_something(kind, inputs_as):
    body = {"kind": "duel", "seeds": 1, "base": {"data": {"kind": kind}}, "against": ["kernel_ridge/rbf"]}
    found = studies.members(specs.load("study", body))
    assert {m.labels["inputs_as"] for m in found} == inputs_as


def test_the_deep_learner_wins_where_the_simulation_lets_it(simulate):
    spec = duel(samples=[500, 1000, 2000, 4000])
    result = studies.conclude(spec, simulate(spec))
    verdicts = {c["samples"]: c["verdict"] for c in result.summary["claims"]}
    assert {(c["readout"], c["headline"]) for c in result.summary["claims"]} == {("fixed", False)}
    assert [c["samples"] for c in result.summary["claims"]] == [4000, 2000, 1000, 500]
    assert verdicts[4000] == "supported"
    assert verdicts[500] == "not_supported"
    star = next(r for r in result.summary["crossings"] if r["learner"] == "quadratic_densenet/joint")
    assert star["low"] <= star["crossing"] <= star["high"]
    assert star["crossing"] == pytest.approx(2214, rel=0.1)
    kernel = next(r for r in result.summary["crossings"] if r["learner"] == "kernel_ridge/rbf")
    assert (kernel["crossing"], kernel["censored"]) == (None, "above")


def test_the_best_shallow_learner_is_chosen_by_validation_and_never_by_test(simulate):
    spec = duel(samples=[4000])
    outcomes = {}
    for key, one in simulate(spec).items():
        if key.startswith("two_layer/quadratic/x/"):
            one = replace(one, summary={**one.summary, "relative_test_error": 1e-5})
        if key.startswith("kernel_ridge/rbf/x/"):
            one = replace(one, summary={**one.summary, "validation_error": 1e-5, "relative_test_error": 0.6})
        outcomes[key] = one
    (found,) = studies.conclude(spec, outcomes).summary["claims"]
    shallow = next(c for c in found["components"] if c["name"] == "shallow_error")
    assert shallow["effect"] == pytest.approx(0.6)


def test_generic_deep_networks_are_shown_and_not_used(simulate):
    spec = duel(samples=[4000])
    outcomes = {
        key: replace(one, summary={**one.summary, "validation_error": 1e-6, "relative_test_error": 1e-6})
        if key.startswith("mlp/")
        else one
        for key, one in simulate(spec).items()
    }
    assert studies.conclude(spec, outcomes).summary["claims"][0]["verdict"] == "supported"


def test_a_missing_shallow_learner_might_have_been_the_best(simulate):
    spec = duel(samples=[4000])
    outcomes = simulate(spec)
    for seed in range(2):
        key = f"kernel_ridge/rbf/x/4000/{seed}"
        outcomes[key] = Outcome(key, "cancelled")
    (found,) = studies.conclude(spec, outcomes).summary["claims"]
    assert (found["verdict"], found["n"]) == ("underpowered", 7)


def sweep(**grid):
    return specs.load("sweep", {"base": {}, "grid": grid})


def test_a_sweep_has_a_member_and_a_row_for_every_point_and_keeps_the_failed():
    spec = sweep(**{"data.gap": [[1, -0.7], [1, 0.5]], "seed": [0, 1, 2]})
    members = studies.members(spec)
    assert [m.spec.seed for m in members] == [0, 1, 2, 0, 1, 2]
    assert len({m.pack for m in members}) == 1
    done = {
        m.key: Outcome(m.key, "succeeded", {"relative_test_error": 0.1, "stuck": False, "note": "x"})
        for m in members
    }
    done["4"] = Outcome("4", "failed", error={"code": "diverged", "message": "at step 3"})
    tables = studies.conclude(spec, done).tables
    assert [c.name for c in tables["runs"].columns] == [
        "data.gap",
        "seed",
        "relative_test_error",
        "stuck",
        "state",
    ]
    assert tables["runs"].rows[3] == ("[1,0.5]", 0, 0.1, False, "succeeded")
    assert tables["runs"].rows[4] == ("[1,0.5]", 1, None, None, "diverged")
    assert len(tables["failed_runs"].rows) == 1


def test_sweeps_over_shapes_are_packed_by_shape():
    packs = [m.pack for m in studies.members(sweep(**{"model.width": [8, 12], "seed": [0, 1]}))]
    assert packs[0] == packs[1] != packs[2] == packs[3]


def test_an_information_gap_is_reported_by_layer_with_its_interval():
    spec = specs.load("study", {"kind": "information_gap", "seeds": 6})
    boundaries = {
        "columns": [{"name": n, "type": "number"} for n in ("stage", "step", "key", "layer", "value")],
        "rows": [[1, 2000, "information_gap", layer, 0.1 * layer] for layer in (2, 3)],
    }
    members = studies.members(spec)
    assert {m.labels["schedule"] for m in members} == {"joint", "layerwise", "layerwise_then_joint"}
    assert all({"linear", "information_gap"} <= {p.kind for p in m.spec.probes} for m in members)
    done = {m.key: Outcome(m.key, "succeeded", {}, {"boundaries": boundaries}) for m in members}
    gaps = studies.conclude(spec, done).tables["gaps"].records()
    assert len(gaps) == 6
    assert all(row["gap"] == row["low"] == pytest.approx(0.1 * row["layer"]) for row in gaps)
