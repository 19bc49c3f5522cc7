"""Which arithmetic a run computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from bfc_core.images import engine, precision
from bfc_core.images.engine import train
from bfc_core.records import Checkpoint, Result
from bfc_core.specs import TrainSpec
from tests.bfc_core.images.conftest import Given

Make = Callable[..., TrainSpec]

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    precision.fast_bfloat16.cache_clear()
    yield
    precision.fast_bfloat16.cache_clear()


def took(narrow: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a convolution takes 1 second in float32 and `narrow` in bfloat16."""

    def turn(one: precision._Convolution) -> None:
        one.best = narrow if one.leaves[0].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(precision._Convolution, "turn", turn)


@pytest.mark.parametrize(("narrow", "chosen"), [(0.6, "bfloat16"), (0.95, "float32"), (8.0, "float32")])
def test_the_faster_arithmetic_is_chosen(
    narrow: float, chosen: str, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    took(narrow, monkeypatch)
    spec = tiny(precision="auto")
    assert precision.chosen_precision(spec, CPU, torch.float32) == chosen
    assert precision.chosen_precision(spec, CPU, torch.float64) == "float32"
    assert precision.chosen_precision(tiny(precision="float32"), CPU, torch.float32) == "float32"


def test_a_convolution_is_measured_in_both() -> None:
    wide, narrow = precision._Convolution(torch.float32), precision._Convolution(torch.bfloat16)
    assert 0 < narrow.seconds(wide) < float("inf")
    assert 0 < wide.best < float("inf")


def test_a_resumed_run_keeps_the_choice_it_began_with(
    tiny: Make, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(precision="auto")
    monkeypatch.setattr(engine, "chosen_precision", lambda *_: "bfloat16")
    # The first checkpoint is asked for after two steps.
    asked = iter([False, True])
    begun = train(spec, inputs=given, checkpoint_now=lambda: next(asked, False))
    checkpoint = next(record for record in begun if isinstance(record, Checkpoint))
    *_, whole = train(spec, inputs=given)
    monkeypatch.setattr(engine, "chosen_precision", lambda *_: "float32")
    *_, resumed = train(spec, inputs=given, resume=checkpoint)
    assert isinstance(whole, Result)
    assert resumed == whole
    assert whole.summary["precision"] == "bfloat16"
