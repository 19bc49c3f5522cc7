"""Pictures: filters as they are, and inputs that do excite their channels; the same from any checkpoint."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from bfc_core import specs
from bfc_core.images.data import prepare
from bfc_core.images.engine import train
from bfc_core.images.pictures import _frequency_scale, colour_root, exciting, render
from bfc_core.images.stage import plans
from bfc_core.images.trainee import Trainee
from bfc_core.images.view import ImageView
from bfc_core.records import Checkpoint, Result
from tests.bfc_core.images.conftest import Given
from tests.bfc_core.images.test_engine import through_json

Make = Callable[..., specs.TrainSpec]


@pytest.fixture(scope="module")
def spec(tiny: Make) -> specs.TrainSpec:
    probe = {"kind": "pictures", "channels": 3, "steps": 15}
    return tiny(probes=[probe], schedule={"kind": "window", "train_up_to": 2, "free": 1})


def test_pictures_come_before_and_after_and_from_the_last_checkpoint_alike(
    spec: specs.TrainSpec, given: Given
) -> None:
    found = list(train(spec, inputs=given))
    last = [record for record in found if isinstance(record, Checkpoint)][-1]
    assert list(train(spec, inputs=given, resume=through_json(last)))[-1] == found[-1]
    result = found[-1]
    assert isinstance(result, Result)
    rows = result.tables["pictures"].records()
    assert len(rows) == 2 * 3 * 3
    by_place = {(r["kind"], r["block"], r["channel"], r["when"]): r for r in rows}
    assert by_place["filter", 1, 0, "before"]["url"] == by_place["filter", 1, 0, "after"]["url"]
    assert by_place["excites", 3, 0, "before"]["url"] != by_place["excites", 3, 0, "after"]["url"]
    picture = Image.open(
        io.BytesIO(base64.b64decode(by_place["excites", 2, 1, "after"]["url"].split(",")[1]))
    )
    assert picture.size == (16, 16)


def test_ascent_excites_its_channel_more_than_any_training_picture_does(
    spec: specs.TrainSpec, given: Given
) -> None:
    data = prepare(spec.data, given.arrays, 0, torch.device("cpu"))  # type: ignore[arg-type]
    trainee = Trainee(spec, data, torch.float32, "float32")
    plan = plans(spec)[-1]
    trainee.enter(plan)
    view = ImageView(trainee, plan, 0)
    found = np.stack(exciting(view, block=2, count=4, steps=60, when="now"))

    def excitement(pixels: torch.Tensor) -> torch.Tensor:
        with trainee.reading():
            return view.block_output(2, view.values("now"), trainee.inputs_of(pixels)).mean((2, 3))

    own = excitement(torch.from_numpy(found)).diagonal()
    assert (own > excitement(data.train.inputs).amax(0)[:4]).all()


def test_colours_are_correlated_as_the_data_are() -> None:
    grey = torch.randint(0, 256, (50, 8, 8, 1), dtype=torch.uint8).expand(-1, -1, -1, 3).contiguous()
    root = colour_root(grey)
    product = root @ root.T
    torch.testing.assert_close(product / product[0, 0], torch.ones(3, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_picture_has_the_contrast_of_photographs_however_far_it_has_climbed(size: float) -> None:
    spectrum = size * torch.randn(4, 3, 32, 17, 2, generator=torch.Generator().manual_seed(0))
    pixels = render(spectrum, _frequency_scale(32, 32), torch.eye(3), (32, 32))
    assert ((pixels.std((1, 2, 3)) > 0.18) & (pixels.std((1, 2, 3)) < 0.3)).all()
    assert ((pixels < 0.02) | (pixels > 0.98)).double().mean() < 0.02
