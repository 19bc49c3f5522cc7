"""Verdicts follow the rules that were fixed before the study ran."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfc_core.specs.claims import THRESHOLDS
from bfc_core.studies import claims
from bfc_core.studies.claims import Claim, Component

values = st.lists(st.one_of(st.floats(-3, 3), st.just(-math.inf)), min_size=1, max_size=24)


def claim(*components: Component, measured: int | None = None, name: str = "layerwise_fails") -> Claim:
    return Claim(
        name, components, len(components[0].values) if measured is None else measured, {"readout": "signed"}
    )


def at_least(threshold: float, *numbers: float) -> Component:
    return Component("ratio", numbers, threshold)


def test_nine_seeds_tolerate_one_failure_and_eight_none():
    assert claim(at_least(1, -math.inf, *[2.0] * 8)).verdict == "supported"
    assert claim(at_least(1, -math.inf, -math.inf, *[2.0] * 7)).verdict == "underpowered"
    assert claim(at_least(1, -math.inf, *[2.0] * 7)).verdict == "underpowered"


def test_the_low_end_may_touch_the_threshold_and_the_high_end_may_not():
    assert claim(at_least(1, *[1.0] * 9)).verdict == "supported"
    assert claim(at_least(1, *[0.0] * 8, 1.0)).verdict == "not_supported"
    assert claim(at_least(1, *[0.0] * 7, 1.0, 1.0)).verdict == "underpowered"


def test_every_component_must_stand_and_one_can_fall():
    good, bad, open_ = at_least(1, *[2.0] * 9), at_least(1, *[0.0] * 9), at_least(1, *[0.0] * 4, *[2.0] * 5)
    assert claim(good, good).verdict == "supported"
    assert claim(good, bad, open_).verdict == "not_supported"
    assert claim(good, open_).verdict == "underpowered"


@given(values)
def test_fewer_than_six_seeds_settle_nothing(numbers):
    assert claim(at_least(0, *numbers[:5])).verdict == "underpowered"


def test_missing_members_do_not_make_six_of_five():
    seeds = at_least(1, *[0.0] * 4, *[-math.inf] * 5)
    assert claim(seeds).verdict == "not_supported"
    assert claim(seeds, measured=4).verdict == "underpowered"


@given(values, st.floats(-2, 2))
def test_a_smaller_is_better_component_is_the_mirror_of_a_larger_is_better_one(numbers, threshold):
    upward = Component("c", tuple(numbers), threshold)
    downward = Component("c", tuple(-value for value in numbers), -threshold, at_most=True)
    assert upward.verdict == downward.verdict
    assert upward.passing == downward.passing


@given(values, st.floats(-2, 2))
def test_worsening_a_seed_never_helps_a_claim(numbers, threshold):
    order = ("not_supported", "underpowered", "supported")
    before = order.index(claim(at_least(threshold, *numbers)).verdict)
    after = order.index(claim(at_least(threshold, -math.inf, *numbers[1:])).verdict)
    assert after <= before


def test_an_underpowered_claim_names_the_component_and_the_seeds_that_would_do():
    clean, mixed = at_least(1, *[2.0] * 9), Component("control", (0.0, 0.0, *[2.0] * 7), 1.0)
    (shown,) = claims.judge([claim(clean, mixed)])
    assert shown["decided_by"] == "control"
    assert shown["n_needed"] > 9
    assert str(shown["n_needed"]) in shown["says"]


def test_five_clean_seeds_are_told_that_nine_would_do():
    (shown,) = claims.judge([claim(at_least(1, *[2.0] * 5))])
    assert (shown["verdict"], shown["n"], shown["n_needed"]) == ("underpowered", 5, 9)
    assert shown["interval"] == [None, None]
    assert "6 seeds" in shown["words"]["low"]


def test_the_family_ends_with_the_first_claim_that_is_not_supported():
    good, bad = claim(at_least(1, *[2.0] * 9)), claim(at_least(1, *[0.0] * 9))
    shown = claims.judge([good, good, bad, good])
    assert [c["family_wise"] for c in shown] == [True, True, True, False]


@given(values, st.floats(-2, 2))
def test_every_claim_is_json_without_nan_or_infinity(numbers, threshold):
    (shown,) = claims.judge([claim(at_least(threshold, *numbers), measured=len(numbers) // 2)])
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    for component in (shown, *shown["components"]):
        ends = dict(
            zip(("effect", "low", "high"), (component["effect"], *component["interval"]), strict=True)
        )
        assert {name for name, value in ends.items() if value is None} == set(component["words"])


def test_words_turn_logarithms_into_folds_and_errors():
    ratio = Component("layerwise_over_joint", (2.0,) * 9, 1.0)
    error = Component("joint_error", (3.0,) * 9, 2.0, unit="-log10 error")
    assert "100-fold" in claims.says(claim(ratio, name="joint_beats_layerwise"))
    fallen = Component("joint_error", (1.0, *[1.5] * 7, 1.8), 2.0, unit="-log10 error")
    said = claims.says(claim(ratio, fallen, name="joint_beats_layerwise"))
    assert "median 0.032 [0.032, 0.032], where at most 0.01 is asked" in said
    assert error.verdict == "supported"


@pytest.mark.parametrize("name", THRESHOLDS)
def test_every_claim_has_a_sentence(name):
    where = {"level": 2, "row": 3, "samples": 500}
    assert "{" not in claims.SENTENCES[name].format_map(where)


def test_lost_seeds_are_counted_in_words():
    one_lost = Component("layerwise_over_joint", (-math.inf, *[2.0] * 8), 1.0)
    said = claims.says(claim(one_lost, name="joint_beats_layerwise"))
    assert "median 100-fold" in said
    assert "1 of 9 seeds diverged or are missing" in said
    none_left = Component("layerwise_over_joint", (-math.inf,) * 9, 1.0)
    said = claims.says(claim(none_left, name="joint_beats_layerwise"))
    assert "has no median: 9 of 9 seeds diverged or are missing and rank worst; at least 10-fold is asked" in said
