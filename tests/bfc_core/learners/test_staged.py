"""The paper's algorithm: a wide map learns, a narrow one is distilled from it, level by level."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bfc_core.learners.quadratic_densenet import QuadraticStack
from bfc_core.learners.quadratic_densenet import quadratic_densenet as make
from bfc_core.learners.staged import StagedStack, form_distance
from bfc_core.records import Metric
from tests.bfc_core.training.packs import alone, numbers, result, small
from tests.bfc_core.training.test_resume import interrupted

DOUBLE = torch.float64


def test_the_distance_of_two_forms_is_that_of_their_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    k, w = (torch.randn(3, rows, 7, generator=generator, dtype=DOUBLE) for rows in (2, 9))
    torch.testing.assert_close(form_distance(k, w), (k.mT @ k - w.mT @ w).square().sum((1, 2)))
    q = torch.linalg.qr(torch.randn(3, 2, 2, generator=generator, dtype=DOUBLE)).Q
    torch.testing.assert_close(form_distance(k, q @ k), torch.zeros(3, dtype=DOUBLE), atol=1e-10, rtol=0)


def test_a_staged_spec_gets_two_maps_a_level() -> None:
    for schedule, kind in (("joint", QuadraticStack), ({"kind": "staged", "wide": 12}, StagedStack)):
        learner = make([small(schedule)], 16, 1, torch.device("cpu"), DOUBLE)
        assert type(learner) is kind
    assert learner.shapes()["U3"] == (12, learner.fan_in(3))
    assert learner.shapes()["W3"] == (4, learner.fan_in(3))


@pytest.mark.parametrize("readout", ["fixed", "signed"])
def test_the_narrow_maps_learn_the_features_of_the_wide_ones(readout: str) -> None:
    probes: list[dict[str, Any]] = [{"kind": "feature_error", "inputs": 1000}]
    spec = small(
        {"kind": "staged", "wide": 16, "distillation": 0.1},
        steps=400,
        model={"readout": readout},
        probes=probes,
    )
    records = alone(spec)
    readings = [
        one for one in records if isinstance(one, Metric) and one.key == "feature_error" and one.layer == 2
    ]
    first, last = readings[0].value, readings[-1].value
    assert last < 0.3 * first
    assert result(records).summary["relative_test_error"] < 0.3


def test_a_level_below_its_threshold_gives_way_to_the_next() -> None:
    whole = small({"kind": "staged", "wide": 8}, steps=200)
    early = small({"kind": "staged", "wide": 8, "thresholds": [1e6, 1e-9]}, steps=200)
    summary = result(alone(early)).summary
    assert summary["updates_2"] == 10 + 200  # the first point of the first stage, and all of the second
    assert summary["updates_3"] == 200
    assert result(alone(whole)).summary["updates_2"] == 400
    assert summary["flops"] < result(alone(whole)).summary["flops"]


def test_staged_training_resumes_with_the_same_bits() -> None:
    spec = small({"kind": "staged", "wide": 8, "thresholds": [0.7, 1e-9]}, steps=60)
    assert numbers(interrupted(spec, every=17)) == numbers(alone(spec))
