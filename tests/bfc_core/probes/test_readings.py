"""Every probe of the language, read from a small training run as it happens."""

from functools import lru_cache

import pytest

from bfc_core.records import Metric, Result
from bfc_core.registry import has_deed
from bfc_core.run import run
from bfc_core.specs import TrainSpec, words

Readings = dict[tuple[str, int | None], list[tuple[int, float]]]

KINDS = (
    "feature_error", "captured", "linear", "weight_correlation", "cka", "svcca", "pwcca", "procrustes",
    "subspace_angles", "effective_rank", "movement", "information_gap",
)  # fmt: skip


@lru_cache
def readings() -> Readings:
    probes = [{"kind": kind} for kind in KINDS]
    body = {
        "data": {"kind": "hierarchical", "samples": 500, "test_samples": 500, "input_dim": 10, "width": 3},
        "model": {"kind": "quadratic_densenet", "width": 6},
        "schedule": {"kind": "layerwise_then_joint"},
        "budget": {"steps": 30},
        "snapshots": {"weights": None, "features": None},
        "probes": probes,
    }
    found: Readings = {}
    *records, last = run(TrainSpec.model_validate(body))
    assert isinstance(last, Result)
    for record in records:
        if isinstance(record, Metric):
            found.setdefault((record.key, record.layer), []).append((record.step, record.value))
    return found


def test_every_probe_of_the_language_has_a_deed() -> None:
    assert [word.__name__ for part, _, word in words() if part == "probe" and not has_deed(word)] == []


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        ("feature_error", 2), ("feature_error", 3), ("captured/0", 2), ("captured_effective/2", 2),
        ("captured_initial/0", 2), ("captured/subspace", 3), ("linear", 3), ("linear_shuffled", 2),
        ("weight_correlation/before_after", 2), ("matched_cosine/init_after", 3), ("lambda", 2), ("cka", 2),
        ("cka_biased", 3), ("svcca", 2), ("pwcca", 3), ("procrustes", 2), ("subspace_angle_mean", 3),
        ("effective_rank", 2), ("movement", 2), ("movement_stage", 3), ("information_gap", 3),
    ],
)  # fmt: skip
def test_a_probe_s_series_reaches_the_end_of_training(key: str, layer: int) -> None:
    series = readings()[key, layer]
    assert series[-1][0] == 90
    assert [step for step, _ in series] == sorted({step for step, _ in series})


def test_chance_is_the_share_of_directions_that_the_layer_has() -> None:
    assert {value for _, value in readings()["captured_chance", 2]} == {6 / 20}


def test_at_initialisation_nothing_has_changed() -> None:
    at_start = {key: series[0][1] for key, series in readings().items() if series[0][0] == 0}
    assert at_start["weight_correlation/init_after", 2] == pytest.approx(1)
    assert at_start["movement", 2] == 0
    assert at_start["cka", 2] == pytest.approx(1)
    assert ("lambda", 2) not in at_start
