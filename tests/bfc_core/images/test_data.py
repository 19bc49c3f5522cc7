"""Splits and batches are functions of the spec; a crop is a crop, a flip a flip."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from bfc_core.images.data import PAD, Batches, Data, balanced_order, prepare
from bfc_core.images.datasets import Arrays
from bfc_core.specs.data import Arrays as ArraysSpec
from bfc_core.specs.data import Cifar10, Images
from bfc_core.streams import stream
from tests.bfc_core.images.conftest import DATASET

CPU = torch.device("cpu")


def prepared(arrays: Arrays, seed: int = 0, **fields: object) -> Data:
    return prepare(Images(dataset=DATASET, **fields), arrays, seed, CPU)


def test_every_beginning_of_the_order_holds_the_classes_evenly() -> None:
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 30)
    order = balanced_order(labels, stream("data", 0, "x"))
    assert sorted(order.tolist()) == list(range(100))
    for length in (3, 12, 33, 60):
        counts = torch.bincount(labels[order[:length]], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_parts_do_not_overlap_and_hold_what_was_asked_for(arrays: Arrays) -> None:
    data = prepared(arrays, samples=100, validation=0.2, test_samples=40)
    assert (len(data.train), len(data.validation), len(data.test)) == (80, 20, 40)
    rows = [
        set(map(bytes, part.inputs.flatten(1).numpy())) for part in (data.train, data.validation, data.test)
    ]
    assert len(set.union(*rows)) == sum(map(len, rows))
    assert torch.bincount(data.train.labels).tolist() == [20] * 4


def test_equal_seeds_split_alike_and_others_do_not(arrays: Arrays) -> None:
    first, again, other = (prepared(arrays, seed, samples=100).train.inputs for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_set_without_a_test_part_gives_up_a_sixth(arrays: Arrays) -> None:
    data = prepared(Arrays(arrays.inputs, arrays.labels, arrays.class_names))
    assert len(data.test) == 33
    assert len(data.train) + len(data.validation) == 167


@pytest.mark.parametrize(
    ("fields", "says"), [({"samples": 201}, "holds 200"), ({"test_samples": 81}, "holds 80")]
)
def test_asking_for_more_than_there_is_is_refused(arrays: Arrays, fields: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prepared(arrays, **fields)


def test_a_data_set_of_another_kind_is_refused(arrays: Arrays) -> None:
    with pytest.raises(ValueError, match="cifar10 has 10 of 32×32×3"):
        prepare(Cifar10(dataset=DATASET), arrays, 0, CPU)
    vectors = Arrays(np.zeros((9, 4), np.float32), np.arange(9) % 3, ("a", "b", "c"))
    with pytest.raises(ValueError, match="needs pictures"):
        prepare(ArraysSpec(dataset=DATASET, augment="flip"), vectors, 0, CPU)


def test_normalised_training_pictures_have_zero_mean_and_unit_variance(arrays: Arrays) -> None:
    data = prepared(arrays)
    x = data.normalised(data.train.inputs)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.var((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_batches_from_any_step_are_those_of_the_whole_run(arrays: Arrays, augment: str) -> None:
    part = prepared(arrays).train
    whole = list(islice(Batches(part, 32, augment, 5, 1)(), 13))
    for start in (1, 5, 6, 12):
        inputs, labels = next(Batches(part, 32, augment, 5, 1)(start))
        assert torch.equal(inputs, whole[start][0])
        assert torch.equal(labels, whole[start][1])


def test_stages_and_seeds_draw_different_orders(arrays: Arrays) -> None:
    part = prepared(arrays).train
    first = next(Batches(part, 32, "none", 5, 1)())[1]
    assert not torch.equal(first, next(Batches(part, 32, "none", 5, 2)())[1])
    assert not torch.equal(first, next(Batches(part, 32, "none", 6, 1)())[1])


def test_an_epoch_shows_every_picture_once_and_flips_alternate(arrays: Arrays) -> None:
    part = prepared(arrays, samples=160, validation=0.2).train
    batches = Batches(part, 32, "flip", 0, 0)
    flipped: list[dict[int, bool]] = []
    draws = batches.draws()
    for _ in range(2):
        epoch = list(islice(draws, batches.per_epoch))
        samples = torch.cat([samples for samples, _ in epoch])
        assert sorted(samples.tolist()) == list(range(len(part)))
        turned = torch.cat([flips for _, flips in epoch])
        flipped.append(dict(zip(samples.tolist(), turned.tolist(), strict=True)))
    assert all(flipped[0][i] != flipped[1][i] for i in range(len(part)))


def test_a_crop_is_a_window_of_the_mirrored_picture(arrays: Arrays) -> None:
    part = prepared(arrays).train
    batches = Batches(part, 16, "crop_flip", 0, 0)
    inputs, _ = next(batches())
    samples, flips, offsets = next(batches._plan(0))
    padded = np.pad(part.inputs.numpy(), ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect")
    for i in range(16):
        down, across = divmod(int(offsets[i]), 2 * PAD + 1)
        window = padded[samples[i], down : down + 16, across : across + 16]
        np.testing.assert_array_equal(inputs[i].numpy(), window[:, ::-1] if flips[i] else window)


def test_pictures_are_normalised_channel_by_channel() -> None:
    draws = np.random.default_rng(1)
    pixels = draws.integers(0, 256, (12, 5, 7, 3)) * [1.0, 0.5, 0.2] + [0, 20, 90]
    arrays = Arrays(pixels.astype(np.uint8), np.arange(12) % 2, ("a", "b"), None, None)
    data = prepare(Images(dataset=DATASET, samples=10), arrays, 0, CPU)
    x = data.normalised(data.train.inputs)
    assert x.shape == (len(data.train), 3, 5, 7)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
