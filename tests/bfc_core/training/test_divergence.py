"""What a run that is lost says, and what does not count as lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from bfc_core import run
from bfc_core.records import Failure, Metric, Record, Result
from bfc_core.specs import TrainSpec

FIXED: dict[str, Any] = {"samples": 64, "test_samples": 100, "input_dim": 6, "width": 2}


def told(data: dict[str, Any] | None = None, **parts: Any) -> list[Record]:
    """Records of a tiny run."""
    tiny = {"budget": {"steps": 40, "batch": 16}, "probes": [], "snapshots": {"weights": None, "features": None}}
    model = {"width": 4, **parts.pop("model", {})}
    spec = TrainSpec.model_validate({**tiny, "model": model, "data": FIXED | (data or {}), **parts})
    return list(run(spec, device="cpu"))


@pytest.mark.parametrize(
    ("parts", "tried"),
    [
        ({"model": {"output_scale": 1e-30}}, "output_scale"),
        ({"model": {"output_scale": 1e8}}, "output_scale"),
        ({"optimizer": {"epsilon": 1e-300}}, "epsilon"),
        ({"optimizer": {"weight_decay": 1e9}}, "weight_decay"),
        ({"optimizer": {"kind": "sgd", "rate": 900.0, "weight_decay": 1.0, "clip": None}}, "weight_decay"),
        ({"optimizer": {"kind": "sgd", "rate": 900.0, "clip": None}}, "optimizer.clip"),
        ({"optimizer": {"rate": 900.0}}, "a rate below 900"),
    ],
)
def test_the_hint_names_the_field_that_diverges(parts: dict[str, Any], tried: str) -> None:
    records = told(**parts)
    failure = records[-1]
    assert isinstance(failure, Failure)
    assert failure.code == "diverged"
    assert tried in (failure.hint or "")
    assert all(math.isfinite(one.value) for one in records if isinstance(one, Metric))


def test_loud_labels_are_not_taken_for_divergence() -> None:
    """The training loss holds the noise: a million deviations of y are 10^12 times Var y."""
    assert isinstance(told({"label_noise": 1e6})[-1], Result)


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({"kind": "hierarchical", "gap": [1e-200, 1e-200]}, "gap"),
        ({"kind": "staircase", "monomials": [[0, 1], [1, 0]], "coefficients": [1, -1]}, "coefficients"),
        ({"kind": "staircase", "monomials": [[0]], "coefficients": [0]}, "coefficients"),
        ({"kind": "multi_index", "links": [[0, 1e-30]]}, "links"),
    ],
)
def test_a_target_lost_in_rounding_is_refused(data: dict[str, Any], at: str) -> None:
    with pytest.raises(ValidationError, match=r"lost in rounding; accepted: one of at least 1e-06") as caught:
        TrainSpec.model_validate({"data": data})
    assert at in str(caught.value.errors()[0])
