"""A data set on the device: splits, normalisation, and batches with grouped crops and alternating flips.

Pictures stay one uint8 tensor (n, h, w, c); a batch is turned to floats when it is used, (b, c, h, w) in
channels-last order. Vectors are float32 (n, d).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bfc_core.registry import deed
from bfc_core.specs.data import Arrays as ArraysSpec
from bfc_core.specs.data import Cifar10, Cifar100, Images, Uploaded
from bfc_core.specs.uploaded import data_faults, parts
from bfc_core.streams import stream

from .datasets import Arrays

PAD = 2
#: Batches cropped at once: enough that a group of one offset is worth a slice.
_CHUNK_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """Inputs (n, h, w, c) uint8 or (n, d) float32, and labels (n,) int64 (or float32 targets)."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Data:
    """Train, validation and test parts; `mean` and `scale` are the training part's, by channel or coordinate."""

    train: Part
    validation: Part
    test: Part
    classes: int
    class_names: tuple[str, ...]
    mean: Tensor
    scale: Tensor

    @property
    def pictures(self) -> bool:
        return self.train.inputs.ndim == 4

    @property
    def shape(self) -> tuple[int, ...]:
        """One input's shape, (c, h, w) or (d,)."""
        sides = tuple(self.train.inputs.shape[1:])
        return (sides[2], sides[0], sides[1]) if self.pictures else sides

    @property
    def outputs(self) -> int:
        """Scores a network gives: one a class, or the one real target."""
        return self.classes or 1

    def normalised(self, inputs: Tensor) -> Tensor:
        """Floats of zero mean and unit variance by channel: (b, c, h, w), channels last, or (b, d)."""
        if not self.pictures:
            return (inputs.float() - self.mean) * self.scale
        # By whole rows of pixels: a loop over three channels at a time takes three times as long.
        rows, width = inputs.flatten(2).float(), inputs.shape[2]
        x = (rows - self.mean.repeat(width)).mul_(self.scale.repeat(width))
        return x.view(inputs.shape).permute(0, 3, 1, 2)


@deed(Cifar10)
@deed(Cifar100)
@deed(Images)
@deed(ArraysSpec)
def prepare(spec: Uploaded, arrays: Arrays, seed: int, device: torch.device) -> Data:
    """The parts that `spec` asks for, drawn by the data seed, evenly by class; the same on every device.

    A data set without a test part gives up a sixth of its samples for one. Raises ValueError when the spec
    asks for more samples than there are.
    """
    facts = arrays.describe()
    for _, detail in data_faults(spec, facts):
        raise ValueError(detail)
    here, tested = parts(spec, facts)
    samples = spec.samples or here
    inputs, labels = _tensors(arrays.inputs, arrays.labels, arrays.classes)
    order = balanced_order(labels, stream("data", seed, "split"))
    if arrays.test_inputs is not None and arrays.test_labels is not None:
        test_inputs, test_labels = _tensors(arrays.test_inputs, arrays.test_labels, arrays.classes)
        test_order = balanced_order(test_labels, stream("data", seed, "test"))
    else:
        test_inputs, test_labels, test_order, order = inputs, labels, order[:tested], order[tested:]
    held_out = max(1, round(samples * spec.validation))
    train = _part(inputs, labels, order[held_out:samples], device)
    mean, scale = _moments(train.inputs)
    return Data(
        train,
        _part(inputs, labels, order[:held_out], device),
        _part(test_inputs, test_labels, test_order[:tested], device),
        arrays.classes,
        arrays.class_names,
        mean,
        scale,
    )


def balanced_order(labels: Tensor, draws: torch.Generator) -> Tensor:
    """An order (n,) of which every beginning holds the classes evenly; plain random for real targets."""
    n = len(labels)
    shuffled = torch.randperm(n, generator=draws)
    if labels.dtype.is_floating_point:
        return shuffled
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    counts = torch.bincount(labels)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.arange(n) - starts[labels[by_class]]
    tie = torch.rand(n, generator=draws, dtype=torch.float64)
    return by_class[torch.argsort(rank + tie)]


def _tensors(inputs: object, labels: object, classes: int) -> tuple[Tensor, Tensor]:
    x, y = torch.as_tensor(inputs), torch.as_tensor(labels)
    if x.ndim == 4 and x.dtype != torch.uint8:
        # Float pictures: 256 grey levels over their range, so that all pictures take one path.
        low, high = x.min(), x.max()
        x = ((x - low) * (255 / (high - low).clamp_min(1e-12))).round().to(torch.uint8)
    return x, y.long() if classes else y.float()


def _part(inputs: Tensor, labels: Tensor, chosen: Tensor, device: torch.device) -> Part:
    return Part(inputs[chosen].to(device), labels[chosen].to(device))


def _moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal standard deviation by channel (c,) or coordinate (d,); constant ones are left."""
    flat = inputs.reshape(-1, inputs.shape[-1])
    total = torch.zeros(flat.shape[1], dtype=torch.float64, device=flat.device)
    square = torch.zeros_like(total)
    for rows in torch.split(flat, 1 << 20):
        wide = rows.double()
        total += wide.sum(0)
        square += (wide * wide).sum(0)
    mean = total / len(flat)
    variance = (square / len(flat) - mean**2).clamp_min(0)
    scale = torch.where(variance > 1e-12, variance.clamp_min(1e-12).rsqrt(), torch.ones_like(variance))
    return mean.float(), scale.float()


class Batches:
    """The batches of one stage, a function of (order seed, stage) and the step alone.

    An epoch is a random order with its incomplete last batch left out. Offsets are drawn anew each epoch;
    flips start at random and alternate, so that two epochs show each picture both ways (Jordan,
    arXiv 2404.00498).
    """

    def __init__(self, part: Part, batch: int, augment: str, seed: int, stage: int) -> None:
        self.part = part
        self.batch = min(batch, len(part))
        self.per_epoch = len(part) // self.batch
        self.augment = augment if part.inputs.ndim == 4 else "none"
        self._seed, self._stage = seed, stage
        coins = torch.randint(2, (len(part),), generator=stream("order", seed, stage, "flips"))
        self._base_flips = coins.bool()
        self._padded = _padded(part.inputs) if self.augment == "crop_flip" else part.inputs
        self._per_chunk = max(1, _CHUNK_SAMPLES // self.batch)

    def draws(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless (samples (b,), flipped (b,) bool) of each step from `start` on."""
        for samples, flips, _ in self._plan(start):
            yield from zip(torch.split(samples, self.batch), torch.split(flips, self.batch), strict=True)

    def __call__(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless (inputs (b, …) as stored, labels (b,)) of each step from `start` on."""
        device = self.part.inputs.device
        for samples, flips, offsets in self._plan(start):
            inputs = self._crops(samples.to(device), offsets)
            if self.augment != "none":
                turned = flips.nonzero()[:, 0].to(device)
                inputs[turned] = inputs[turned].flip(2)
            labels = self.part.labels[samples.to(device)]
            yield from zip(torch.split(inputs, self.batch), torch.split(labels, self.batch), strict=True)

    def _plan(self, start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Chunks of (samples, flips, offsets) of whole batches."""
        epoch, skipped = divmod(start, self.per_epoch)
        n = len(self.part)
        while True:
            draws = stream("order", self._seed, self._stage, epoch)
            order = torch.randperm(n, generator=draws)
            offsets = torch.randint((2 * PAD + 1) ** 2, (n,), generator=draws)
            flips = self._base_flips ^ bool(epoch % 2)
            for first in range(skipped, self.per_epoch, self._per_chunk):
                last = min(first + self._per_chunk, self.per_epoch)
                rows = slice(first * self.batch, last * self.batch)
                yield order[rows], flips[order[rows]], offsets[rows]
            epoch, skipped = epoch + 1, 0

    def _crops(self, samples: Tensor, offsets: Tensor) -> Tensor:
        if self.augment != "crop_flip":
            return self.part.inputs[samples]
        _, height, width, channels = self.part.inputs.shape
        out = torch.empty(len(samples), height, width, channels, dtype=torch.uint8, device=samples.device)
        for offset in range((2 * PAD + 1) ** 2):
            rows = (offsets == offset).nonzero()[:, 0].to(samples.device)
            down, across = divmod(offset, 2 * PAD + 1)
            out[rows] = self._padded[samples[rows], down : down + height, across : across + width]
        return out


def _padded(inputs: Tensor) -> Tensor:
    """Pictures (n, h, w, c) with a mirrored border of `PAD` pixels."""
    height, width = inputs.shape[1:3]
    rows = functional.pad(torch.arange(height, dtype=torch.float32)[None], (PAD, PAD), mode="reflect")[
        0
    ].long()
    columns = functional.pad(torch.arange(width, dtype=torch.float32)[None], (PAD, PAD), mode="reflect")[
        0
    ].long()
    return inputs[:, rows.to(inputs.device)][:, :, columns.to(inputs.device)]
