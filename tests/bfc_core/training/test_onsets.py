"""When each level is learnt, and why a measure has no value, member by member."""

import pytest

from bfc_core.measures import Undefined, onset
from bfc_core.records import Metric
from bfc_core.training.checkpoints import Place
from bfc_core.training.gauge import Finding
from bfc_core.training.outcome import watch
from tests.bfc_core.training.packs import alone, result, small, together

EASY = {"data": {"input_dim": 6, "width": 1, "samples": 2000}, "optimizer": {"rate": 0.03}}


def seen(error: float) -> Finding:
    return Finding([Metric(0, "feature_error", error, 2), Metric(0, "linear", 0.0, 3)])


def test_watching_finds_the_onset_and_steps_trained_anew_say_nothing() -> None:
    place = Place()
    for step, error in ((0, 1.0), (10, 0.005), (20, 0.5), (30, 0.009), (20, 0.5), (30, 0.009), (40, 0.001)):
        watch(place, step, seen(error))
    assert place.onsets == {"2": 30}


def test_the_summary_holds_the_onset_of_its_series() -> None:
    probes = [{"kind": "feature_error", "inputs": 1000, "every": 25}]
    records = alone(small("layerwise_then_joint", steps=250, probes=probes, **EASY))
    summary = result(records).summary
    for layer in (2, 3):
        series = [
            (r.step, r.value)
            for r in records
            if isinstance(r, Metric) and (r.key, r.layer) == ("feature_error", layer)
        ]
        found = onset(*zip(*series, strict=True))
        if isinstance(found, Undefined):
            assert summary["undefined"][f"onset_{layer}"] == found.reason
        else:
            assert summary[f"onset_{layer}"] == found
    assert 0 < summary["onset_2"] < 750


@pytest.mark.parametrize("pack", [False, True])
def test_a_reason_is_told_to_the_member_that_has_no_value(pack: bool) -> None:
    """A level that never trains has no λ; the one beside it, which trains, has."""
    still = {"kind": "stages", "stages": [{"present": [2, 3], "train": [3]}]}
    specs = [
        small(still, probes=[{"kind": "weight_correlation"}]),
        small(probes=[{"kind": "weight_correlation"}]),
    ]
    found = [result(one) for one in (together(specs).values() if pack else map(alone, specs))]
    still_summary, moved_summary = (one.summary for one in found)
    assert still_summary["undefined"]["lambda_2"] == "the layer has not changed since initialisation"
    # At initialisation nothing had changed yet; the reason falls once there is a number.
    assert "undefined" not in moved_summary
