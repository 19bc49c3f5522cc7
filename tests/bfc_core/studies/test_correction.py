"""A correction study concludes by its rules, whatever happened to its members."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bfc_core import specs, studies
from bfc_core.studies import Outcome
from bfc_core.studies.arms import taught_levels
from bfc_core.studies.member import MOST_IN_PACK
from bfc_core.targets.samples import teacher_of

FIXED = (
    "schedule",
    "readout",
    "seed",
    "relative_test_error",
    "feature_error_2",
    "feature_error_3",
    "updates",
    "stuck",
)
SCHEDULES = {"joint", "layerwise", "layerwise_then_joint", "longer", "detached", "cyclic", "upper_frozen"}


def study(**fields):
    return specs.load("study", {"kind": "correction", **fields})


def deep(**fields):
    return study(base={"data": {"kind": "hierarchical", "levels": 4}}, **fields)


def claim(result, name, readout="signed", **where):
    return next(
        c
        for c in result.summary["claims"]
        if c["claim"] == name
        and c["readout"] == readout
        and all(c[key] == value for key, value in where.items())
    )


def lost(key, state="cancelled"):
    return Outcome(key, state, error={"code": "lost", "message": "gone"})


def diverged(key):
    return Outcome(key, "failed", error={"code": "diverged", "message": "at step 12", "step": 12, "layer": 2})


def test_every_arm_seed_and_readout_is_one_member_with_a_key_of_its_own():
    members = studies.members(study())
    keys = [member.key for member in members]
    assert len(set(keys)) == len(keys)
    trained = {
        (m.labels["schedule"], m.labels["readout"], m.labels["seed"]) for m in members if m.kind == "train"
    }
    assert {
        (arm, readout, str(seed)) for arm in SCHEDULES for readout in ("fixed", "signed") for seed in range(9)
    } <= trained
    beside = [m for m in members if m.kind == "baseline"]
    assert sorted(m.labels["inputs_as"] for m in beside) == ["x"] * 3 + ["x_and_h1"] * 3


def test_a_study_is_no_larger_than_it_says_before_its_members_are_made():
    for kind in ("correction", "duel", "information_gap"):
        spec = specs.parse_job({"kind": "study", "spec": {"kind": kind, "base": {}, "seeds": 2}}).spec
        assert len(studies.members(spec)) <= studies.size(spec) <= 2 * len(studies.members(spec))


def test_members_depend_on_the_spec_alone():
    assert studies.members(study()) == studies.members(study())


def test_packs_share_a_shape_hold_whole_seeds_and_stay_within_their_limit():
    packs: dict[str, list] = {}
    for member in studies.members(study()):
        if member.pack is not None:
            packs.setdefault(member.pack, []).append(member)
    seeds = [{(m.labels["readout"], m.labels["seed"]) for m in pack} for pack in packs.values()]
    assert all(len(pack) <= MOST_IN_PACK for pack in packs.values())
    assert all(len({specs.shape_key(m.spec) for m in pack}) == 1 for pack in packs.values())
    assert sum(map(len, seeds)) == len(set().union(*seeds)) == 18


@given(seeds=st.integers(1, 40), levels=st.integers(3, 5))
@settings(max_examples=15)
def test_packs_never_overflow(seeds, levels):
    members = studies.members(study(seeds=seeds, base={"data": {"kind": "hierarchical", "levels": levels}}))
    sizes: dict[str, int] = {}
    for member in members:
        if member.pack is not None:
            sizes[member.pack] = sizes.get(member.pack, 0) + 1
    assert max(sizes.values()) <= MOST_IN_PACK
    assert min(sizes.values()) > 1


def test_a_window_of_every_row_and_its_control_is_trained():
    windows = {
        (m.labels["schedule"])
        for m in studies.members(deep(seeds=1))
        if m.labels.get("schedule", "").startswith("window/")
    }
    plain = {f"window/{row}/{free}" for row in (2, 3) for free in range(row)}
    controls = {f"window/{row}/{free}/equal_updates" for row in (2, 3) for free in range(1, row)}
    assert windows == plain | controls | {"window/joint"}


def test_equal_update_controls_spend_what_their_windows_spend(simulate):
    spec = deep(seeds=6, readouts=["signed"])
    rows = studies.conclude(spec, simulate(spec)).tables["how_deep"].records()
    spent = {
        (r["train_up_to"], r["free"], r["control"]): (r["updates_2"], r["updates_3"], r["updates_4"])
        for r in rows
    }
    for (row, free, control), updates in spent.items():
        if control == "equal_updates":
            assert updates == spent[row, free, "none"]


def test_tables_have_their_published_columns(simulate):
    spec = study()
    tables = studies.conclude(spec, simulate(spec)).tables
    names = {name: [column.name for column in found.columns] for name, found in tables.items()}
    assert tuple(names["runs"][: len(FIXED)]) == FIXED
    assert {"train_up_to", "free", "control", "readout", "seed", "relative_test_error", "updates"} <= set(
        names["how_deep"]
    )
    assert names["how_much"] == ["layer", "pair", "measure", "readout", "seed", "value"]
    assert names["which_part"][:8] == [
        "layer",
        "part",
        "index",
        "readout",
        "seed",
        "initial",
        "before",
        "after",
    ]
    assert names["baselines"][:5] == ["learner", "group", "inputs_as", "samples", "seed"]
    assert names["baselines"][5:9] == ["relative_test_error", "validation_error", "grid_edge", "cpu_seconds"]
    assert len(tables["runs"].rows) == len(SCHEDULES) * 2 * 9
    assert not tables["failed_runs"].rows


def test_effects_are_medians_over_seeds_of_the_tables_numbers(simulate):
    spec = study()
    result = studies.conclude(spec, simulate(spec))
    rel = {(r["schedule"], r["seed"]): r for r in result.tables["runs"].records() if r["readout"] == "signed"}
    values = [
        math.log10(rel["layerwise", s]["relative_test_error"] / rel["joint", s]["relative_test_error"])
        for s in range(9)
    ]
    found = claim(result, "joint_beats_layerwise")
    assert found["effect"] == pytest.approx(statistics.median(values))
    assert found["interval"] == pytest.approx([sorted(values)[1], sorted(values)[7]])
    fallen = [
        math.log10(rel["layerwise", s]["feature_error_2"] / rel["layerwise_then_joint", s]["feature_error_2"])
        for s in range(9)
    ]
    assert claim(result, "lower_features_corrected")["effect"] == pytest.approx(statistics.median(fallen))


def test_what_the_prototypes_saw_is_supported_family_wise(simulate):
    spec = study()
    result = studies.conclude(spec, simulate(spec))
    for name in (
        "joint_beats_layerwise",
        "lower_features_corrected",
        "correction_is_backward",
        "layerwise_fails",
    ):
        for readout in ("fixed", "signed"):
            found = claim(result, name, readout)
            assert (found["verdict"], found["n"], found["planned"], found["family_wise"]) == (
                "supported",
                9,
                9,
                True,
            )


def test_the_signed_readout_heads_the_claims(simulate):
    spec = study()
    claims = studies.conclude(spec, simulate(spec)).summary["claims"]
    assert claims[0]["readout"] == "signed"
    assert all(c["headline"] == (c["readout"] == "signed") for c in claims)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_five_seeds_or_fewer_are_underpowered(simulate, seeds):
    spec = study(seeds=seeds)
    claims = studies.conclude(spec, simulate(spec)).summary["claims"]
    assert claims
    assert {c["verdict"] for c in claims} == {"underpowered"}


def test_a_learner_that_learns_nothing_is_not_supported(simulate):
    spec = study()
    outcomes = {
        key: replace(o, summary={**o.summary, "relative_test_error": 0.9}) if "/joint/" in key else o
        for key, o in simulate(spec).items()
    }
    assert claim(studies.conclude(spec, outcomes), "joint_beats_layerwise")["verdict"] == "not_supported"


def test_one_lost_member_of_nine_is_tolerated_and_two_are_not(simulate):
    spec = study()
    outcomes = simulate(spec)
    outcomes["signed/joint/4"] = lost("signed/joint/4")
    first = studies.conclude(spec, outcomes)
    outcomes["signed/joint/7"] = lost("signed/joint/7", "failed")
    second = studies.conclude(spec, outcomes)
    assert [(claim(r, "joint_beats_layerwise")[f]) for r in (first, second) for f in ("verdict", "n")] == [
        "supported", 8, "underpowered", 7,
    ]  # fmt: skip
    assert claim(second, "joint_beats_layerwise", "fixed")["verdict"] == "supported"
    assert [row["key"] for row in second.tables["failed_runs"].records()] == [
        "signed/joint/4",
        "signed/joint/7",
    ]


def test_a_diverged_treatment_ranks_worst_and_a_diverged_control_counts_as_error_one(simulate):
    spec = study()
    calm = studies.conclude(spec, simulate(spec))
    wild = simulate(spec) | {f"signed/joint/{i}": diverged(f"signed/joint/{i}") for i in range(8)}
    found = claim(studies.conclude(spec, wild), "joint_beats_layerwise")
    assert (found["verdict"], found["effect"], found["n"]) == ("not_supported", None, 9)
    assert "minus infinity" in found["words"]["effect"]
    loud = simulate(spec) | {f"signed/layerwise/{i}": diverged(f"signed/layerwise/{i}") for i in range(9)}
    rel = statistics.median(
        r["relative_test_error"]
        for r in calm.tables["runs"].records()
        if (r["schedule"], r["readout"]) == ("joint", "signed")
    )
    assert claim(studies.conclude(spec, loud), "joint_beats_layerwise")["effect"] == pytest.approx(
        -math.log10(rel)
    )


def test_a_diverged_run_keeps_its_row_and_is_counted_beside_the_stuck(simulate):
    spec = study()
    outcomes = simulate(spec) | {"fixed/joint/0": diverged("fixed/joint/0")}
    result = studies.conclude(spec, outcomes)
    row = next(
        r
        for r in result.tables["runs"].records()
        if (r["schedule"], r["readout"], r["seed"]) == ("joint", "fixed", 0)
    )
    assert (row["state"], row["relative_test_error"]) == ("diverged", None)
    assert result.tables["failed_runs"].records()[0] | {"name": ""} == {
        "key": "fixed/joint/0", "kind": "train", "name": "", "seed": 0, "state": "failed", "code": "diverged",
        "message": "at step 12", "step": 12, "layer": 2,
    }  # fmt: skip
    rate = next(r for r in result.summary["stuck"] if (r["schedule"], r["readout"]) == ("joint", "fixed"))
    assert (rate["n"], rate["stuck"], rate["diverged"]) == (9, 0, 1)
    assert rate["low"] == 0 < rate["high"] < 0.4


def test_a_study_without_any_outcome_still_concludes():
    spec = study()
    result = studies.conclude(spec, {})
    assert len(result.tables["failed_runs"].rows) == len(studies.members(spec))
    assert {c["verdict"] for c in result.summary["claims"]} == {"underpowered"}
    json.dumps(
        {"summary": result.summary, "tables": {n: t.json() for n, t in result.tables.items()}},
        allow_nan=False,
    )


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_losing_members_never_makes_a_claim_better(simulate, data):
    spec = study(seeds=data.draw(st.integers(5, 10)), readouts=["signed"], baselines=None)
    outcomes = simulate(spec)
    gone = data.draw(st.sets(st.sampled_from(sorted(outcomes)), max_size=30))
    blown = data.draw(st.booleans())
    fewer = {
        k: (diverged(k) if blown else lost(k)) if k in gone and "/layerwise/" not in k else o
        for k, o in outcomes.items()
    }
    order = ("not_supported", "underpowered", "supported")
    before, after = studies.conclude(spec, outcomes), studies.conclude(spec, fewer)
    for whole, part in zip(before.summary["claims"], after.summary["claims"], strict=True):
        if part["claim"] in ("joint_beats_layerwise", "correction_is_local"):
            assert order.index(part["verdict"]) <= order.index(whole["verdict"])
    json.dumps([after.summary, [t.json() for t in after.tables.values()]], allow_nan=False)


def test_depth_is_claimed_only_of_rows_with_two_levels_to_free(simulate):
    assert not [
        c for c in studies.conclude(study(), {}).summary["claims"] if c["claim"] == "correction_is_deep"
    ]
    spec = deep()
    result = studies.conclude(spec, simulate(spec))
    found = claim(result, "correction_is_deep", row=3)
    assert (found["verdict"], found["k_star"]) == ("supported", 2)
    assert claim(result, "one_level_suffices", row=3)["verdict"] == "not_supported"
    gains = {
        (r["train_up_to"], r["free"]): r["verdict"]
        for r in result.tables["gains"].records()
        if r["readout"] == "signed"
    }
    assert gains == {(2, 1): "supported", (3, 1): "supported", (3, 2): "supported"}


def test_the_frontier_sets_gain_against_movement_by_penalty_and_rate(simulate):
    spec = study(readouts=["signed"], penalties=[1.0, 0.01], second_rates=[0.03], seeds=6, baselines=None)
    outcomes = simulate(spec)
    rows = studies.conclude(spec, outcomes).tables["frontier"].records()
    points = {(row["penalty"], row["rate"]) for row in rows}
    assert points == {(0.01, 0.01), (1.0, 0.01), (0.0, 0.03), (0.0, 0.01)}
    assert len(rows) == len(points) * 6
    ratio = (
        outcomes["signed/layerwise/0"].summary["relative_test_error"]
        / outcomes["signed/frontier/penalty/1/0"].summary["relative_test_error"]
    )
    first = next(row for row in rows if (row["penalty"], row["seed"]) == (1.0, 0))
    assert first["gain"] == pytest.approx(math.log10(ratio))
    # All start from the same layerwise stages, which a pack trains once.
    arms = [m.spec for m in studies.members(spec) if "frontier" in m.key and m.key.endswith("/0")]
    assert len({specs.stages(arm)[:-1] for arm in arms}) == 1
    assert not studies.conclude(study(), {}).tables["frontier"].rows


def test_weak_directions_are_claimed_only_from_their_two_by_two(simulate):
    plain = study()
    assert not [
        c for c in studies.conclude(plain, simulate(plain)).summary["claims"] if c["claim"].startswith("weak")
    ]
    spec = study(claims=[{"claim": "weak_directions_corrected"}])
    outcomes = simulate(spec)
    found = claim(studies.conclude(spec, outcomes), "weak_directions_corrected", level=2)
    assert found["verdict"] == "supported"
    assert {m.spec.data.gap for m in studies.members(spec) if m.kind == "train"} == {(1, -0.7), (1, 0.7)}
    even = {key: lost(key) for key in outcomes if "cell/1/negative" in key}
    assert (
        claim(studies.conclude(spec, outcomes | even), "weak_directions_corrected")["verdict"]
        == "underpowered"
    )


def test_a_level_as_wide_as_what_it_reads_is_not_claimed():
    wide = study(base={"model": {"kind": "quadratic_densenet", "width": 40}})
    levels = {c.get("level") for c in studies.conclude(wide, {}).summary["claims"]}
    assert levels == {None}


def test_only_levels_that_the_target_has_are_claimed():
    spec = study(base={"model": {"kind": "mlp"}}, baselines=None)
    result = studies.conclude(spec, {})
    assert {c["level"] for c in result.summary["claims"] if "level" in c} == {2}
    (why,) = (one["why"] for one in result.summary["unanswered"] if one.get("level") == 1)
    assert why == "the target has no features of level 1"


TARGETS = [
    {"kind": "hierarchical"},
    {"kind": "hierarchical", "levels": 5},
    {"kind": "staircase"},
    {"kind": "staircase", "monomials": [[0], [0, 1]]},
    {"kind": "parity"},
    {"kind": "parity", "degree": 8},
    {"kind": "random_hierarchy"},
    {"kind": "multi_index"},
]


@pytest.mark.parametrize("data", TARGETS)
def test_taught_levels_are_the_teachers(data):
    spec = specs.load("train", {"data": data})
    assert tuple(taught_levels(spec.data)) == teacher_of(spec).levels


def test_stated_thresholds_judge_and_are_shown(simulate):
    spec = study(claims=[{"claim": "layerwise_fails", "thresholds": {"layerwise_error": 0.5}}])
    (signed, fixed) = studies.conclude(spec, simulate(spec)).summary["claims"]
    assert (signed["verdict"], fixed["verdict"]) == ("not_supported", "not_supported")
    assert signed["components"][0]["threshold"] == 0.5


def test_stated_thresholds_of_depth_move_k_star_and_the_marks_of_the_map(simulate):
    def judged(**thresholds):
        spec = deep(readouts=["signed"], claims=[{"claim": "correction_is_deep", "thresholds": thresholds}])
        result = studies.conclude(spec, simulate(spec))
        marks = {(r["train_up_to"], r["free"]): r["verdict"] for r in result.tables["gains"].records()}
        return claim(result, "correction_is_deep", row=3)["k_star"], marks[3, 2]

    assert judged() == (2, "supported")
    assert judged(step_2=20.0) == (1, "not_supported")
    assert judged(control_1=20.0) == (0, "supported")


def test_claims_that_cannot_be_judged_are_named_with_the_reason():
    def reasons(spec):
        found = {(one["claim"], one["readout"]): one["why"] for one in studies.power(spec)["unanswered"]}
        shown = studies.conclude(spec, {}).summary["unanswered"]
        assert {(one["claim"], one["readout"]): one["why"] for one in shown} == found
        return found

    found = reasons(study(schedules=["joint", "layerwise"], how_deep=False))
    assert "layerwise_then_joint, longer" in found["lower_features_corrected", "signed"]
    assert "how_deep" in found["correction_is_deep", "signed"]
    assert "2 × 2" in found["weak_directions_corrected", "signed"]
    assert ("joint_beats_layerwise", "signed") not in found
    assert not any(name == "shallow_fail_at_equal_samples" for name, _ in found)
    asked = reasons(study(claims=[{"claim": "weak_directions_corrected"}, {"claim": "correction_is_deep"}]))
    assert set(asked) == {
        ("weak_directions_corrected", "fixed"), ("correction_is_deep", "signed"), ("correction_is_deep", "fixed"),
    }  # fmt: skip
    wide = reasons(study(base={"model": {"kind": "quadratic_densenet", "width": 40}}))
    assert "every feature from the start" in wide["lower_features_corrected", "signed"]


def test_misspelt_components_and_claims_of_other_studies_are_refused():
    with pytest.raises(specs.SpecError) as caught:
        specs.parse_job(
            {
                "kind": "study",
                "spec": {
                    "kind": "correction",
                    "claims": [
                        {"claim": "layerwise_fails", "thresholds": {"layerwise_eror": 0.5}},
                    ],
                },
            }
        )
    assert caught.value.faults[0].pointer == "/spec/claims/0/thresholds/layerwise_eror"
    with pytest.raises(specs.SpecError) as caught:
        specs.parse_job({"kind": "study", "spec": {"kind": "duel", "claims": [{"claim": "layerwise_fails"}]}})
    assert "shallow_fail_at_equal_samples" in caught.value.faults[0].detail


def test_power_names_the_claims_and_grows_with_the_seeds():
    six, nine, twenty = (studies.power(study(seeds=n)) for n in (6, 9, 20))
    assert [p["failures_tolerated"] for p in (six, nine, twenty)] == [0, 1, 5]
    assert six["power"][2]["power"] < nine["power"][2]["power"] < twenty["power"][2]["power"]
    assert nine["power"][2]["power"] == pytest.approx(0.9**9 + 9 * 0.9**8 * 0.1)
    assert all(p["error_rate"] <= 0.025 for p in (six, nine, twenty))
    assert {c["claim"] for c in nine["claims"]} >= {"joint_beats_layerwise", "lower_features_corrected"}
    assert studies.power(study(seeds=5))["failures_tolerated"] is None


def test_studies_and_figures_never_load_torch():
    code = "import sys, bfc_core.studies, bfc_core.figures, bfc_core.local; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
