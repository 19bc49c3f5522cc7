"""A small learnable set of pictures, and trainings on it that take a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bfc_core import specs
from bfc_core.images.datasets import Arrays

DATASET = "ds_0123456789abcdef"
TINY: dict[str, Any] = {
    "data": {
        "kind": "images",
        "dataset": DATASET,
        "samples": 160,
        "test_samples": 60,
        "validation": 0.2,
        "augment": "none",
    },
    "model": {"kind": "wide_resnet", "groups": [1, 1], "widths": [4, 8], "stem_size": 3},
    "budget": {"steps": 6, "batch": 16},
    "probes": [],
    "snapshots": {"weights": None, "features": None},
    "precision": "float32",
}


class Given:
    """What a worker would have fetched."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    def dataset(self, dataset_id: str) -> Arrays:
        assert dataset_id == DATASET
        return self.arrays


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    """Pictures (16, 16, 3) of 4 classes: a blob at a place that the class tells, and noise."""
    rng = np.random.default_rng(3)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n) % 4
        pixels = rng.integers(60, 160, (n, 16, 16, 3))
        for i, label in enumerate(labels):
            pixels[i, 2 + 4 * (label % 2) :, 2 + 8 * (label // 2) :][:4, :4] += 90
        return pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64)

    return Arrays(*part(200), ("a", "b", "c", "d"), *part(80))


@pytest.fixture(scope="session")
def given(arrays: Arrays) -> Given:
    return Given(arrays)


@pytest.fixture(scope="session")
def wild() -> dict[str, Any]:
    """A training that blows up: batch normalisation keeps class scores finite at any rate, a squared error not."""
    return {
        "data": {"kind": "arrays", "dataset": DATASET},
        "model": {"kind": "mlp", "width": 8, "depth": 2},
        "optimizer": {"kind": "sgd", "rate": 1000.0, "decay": "constant", "warmup_steps": 0, "clip": None},
        "budget": {"steps": 60, "batch": 16},
    }


@pytest.fixture(scope="session")
def vectors() -> Given:
    """Vectors (300, 6) with a linear real target."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6)).astype(np.float32)
    return Given(Arrays(x, (x[:, 0] - x[:, 1]).astype(np.float32), ()))


@pytest.fixture(scope="session")
def tiny() -> Callable[..., specs.TrainSpec]:
    """A train spec of the small set with some fields changed."""

    def make(**changes: Any) -> specs.TrainSpec:
        return specs.TrainSpec.model_validate({**TINY, **changes})

    return make
