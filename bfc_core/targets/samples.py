"""Samples of a target: the fixed training set, test inputs, fresh draws. Each from a named stream."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bfc_core import specs
from bfc_core.registry import deed_of
from bfc_core.specs.data import Synthetic
from bfc_core.specs.train import BaselineSpec, TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher


def teacher_of(spec: TrainSpec | BaselineSpec) -> Teacher:
    """The target of a spec, as its `target` seed draws it."""
    teacher: Teacher = deed_of(spec.data)(spec.data, specs.seeds(spec.seed).target)
    return teacher


def training_set(spec: TrainSpec | BaselineSpec, teacher: Teacher) -> tuple[Tensor, Tensor]:
    """x (N, d) and y (N, o) of a fixed set, in float64, label noise included."""
    data = _synthetic(spec)
    assert isinstance(data.samples, int), "a fresh-sample run has no training set"
    seed = specs.seeds(spec.seed).data
    x = teacher.inputs(data.samples, stream("data", seed, "train")).double()
    return x, noisy(columns(teacher.labels(x)), data, teacher, stream("data", seed, "noise"))


def test_set(spec: TrainSpec | BaselineSpec, teacher: Teacher) -> tuple[Tensor, Tensor]:
    """x (n, d) and noise-free y (n, o) in float64: the same for all arms and baselines of a seed."""
    x = teacher.inputs(
        _synthetic(spec).test_samples, stream("data", specs.seeds(spec.seed).data, "test")
    ).double()
    return x, columns(teacher.labels(x))


def noisy(y: Tensor, data: Synthetic, teacher: Teacher, generator: Generator) -> Tensor:
    """y with Gaussian noise of `label_noise` standard deviations of y on each output."""
    if not data.label_noise:
        return y
    deviation = data.label_noise * (teacher.variance / y.shape[1]) ** 0.5
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return torch.add(y, noise.to(y), alpha=deviation)


def columns(y: Tensor) -> Tensor:
    """y (n,) or (n, o) -> (n, o)."""
    return y[:, None] if y.ndim == 1 else y


def _synthetic(spec: TrainSpec | BaselineSpec) -> Synthetic:
    assert isinstance(spec.data, Synthetic)
    return spec.data
