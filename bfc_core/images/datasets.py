"""What a checked dataset is, what it may cost to read, and how it is refused.

DatasetError
└── Refused      the upload is not a dataset this lab reads; `detail` says what is wrong
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Labels = NDArray[Any]


class DatasetError(Exception):
    """Something is wrong with a dataset."""


class Refused(DatasetError):
    """The upload cannot be read as the dataset it claims to be."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an upload may unfold to. Ratios count only beyond `ratio_floor_bytes`."""

    decoded_bytes: int = 2 << 30
    member_bytes: int = 64 << 20
    members: int = 200_000
    ratio: int = 200
    ratio_floor_bytes: int = 64 << 20
    side: int = 512
    classes: int = 1_000
    xz_memory_bytes: int = 128 << 20


@dataclass(frozen=True, slots=True)
class Arrays:
    """A dataset in memory.

    inputs (n, h, w, c) uint8, or (n, d) / (n, h, w, c) float32; labels (n,) int64 in 0…classes − 1,
    or float32 real targets, which have no class names.
    `test_inputs`, `test_labels` are the uploader's own test part, where there is one.
    """

    inputs: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    test_inputs: Pixels | None = None
    test_labels: Labels | None = None

    def __post_init__(self) -> None:
        _check_part("", self.inputs, self.labels, len(self.class_names))
        if (self.test_inputs is None) != (self.test_labels is None):
            raise Refused("a test part needs both inputs and labels")
        if self.test_inputs is not None and self.test_labels is not None:
            _check_part("test ", self.test_inputs, self.test_labels, len(self.class_names))
            if (
                self.test_inputs.shape[1:] != self.inputs.shape[1:]
                or self.test_inputs.dtype != self.inputs.dtype
            ):
                ours, theirs = _words(self.inputs), _words(self.test_inputs)
                raise Refused(f"test inputs are {theirs}, the others {ours}; they must agree")

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def describe(self) -> dict[str, Any]:
        """JSON facts for the catalogue of datasets: counts, shape, dtype and class names."""
        return {
            "samples": len(self.inputs),
            "test_samples": 0 if self.test_inputs is None else len(self.test_inputs),
            "shape": list(self.inputs.shape[1:]),
            "dtype": str(self.inputs.dtype),
            "classes": self.classes,
            "class_names": list(self.class_names),
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays by name; with the class names this is all of the dataset."""
        parts: dict[str, NDArray[Any]] = {"inputs": self.inputs, "labels": self.labels}
        if self.test_inputs is not None and self.test_labels is not None:
            parts |= {"test_inputs": self.test_inputs, "test_labels": self.test_labels}
        return parts

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]], class_names: tuple[str, ...]) -> Arrays:
        """The dataset that `tensors` named."""
        names = ("inputs", "labels", "test_inputs", "test_labels")
        inputs, labels, test_inputs, test_labels = (tensors.get(name) for name in names)
        if inputs is None or labels is None:
            raise Refused("a dataset needs inputs and labels")
        return cls(inputs, labels, class_names, test_inputs, test_labels)


def _words(inputs: Pixels) -> str:
    return f"{inputs.dtype} of shape {list(inputs.shape[1:])}"


def _check_part(part: str, inputs: Pixels, labels: Labels, classes: int) -> None:
    if inputs.ndim not in (2, 4) or inputs.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise Refused(
            f"{part}inputs are {inputs.dtype}{list(inputs.shape)}; accepted: (n, h, w, c) bytes, (n, d) numbers"
        )
    if labels.shape != (len(inputs),):
        raise Refused(
            f"{len(inputs)} {part}inputs but labels of shape {list(labels.shape)}; one label an input"
        )
    if not len(inputs):
        raise Refused(f"the {part or 'training '}part is empty")
    if labels.dtype != np.dtype(np.int64 if classes else np.float32):
        raise Refused(
            f"{part}labels are {labels.dtype}; accepted: integers with classes, or real targets without"
        )
    if classes and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise Refused(f"{part}labels run from {labels.min()} to {labels.max()}; accepted: 0 to {classes - 1}")
    if not classes and not np.isfinite(labels).all():
        raise Refused(f"{part}targets hold a value that is not finite")
    if inputs.dtype == np.float32 and not np.isfinite(inputs).all():
        raise Refused(f"{part}inputs hold a value that is not finite")


@dataclass(slots=True)
class Gathered:
    """Items gathered one by one: names, classes and rows of equal size, in one growing buffer."""

    rows: bytearray = field(default_factory=bytearray)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def add(self, name: str, label: str, row: bytes) -> None:
        self.names.append(name)
        self.labels.append(label)
        self.rows += row

    def arrays(self, shape: tuple[int, ...], class_names: tuple[str, ...]) -> tuple[Pixels, Labels]:
        """Inputs (n, *shape) and labels (n,), in order of name, whatever the archive's order was."""
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        index = {name: i for i, name in enumerate(class_names)}
        inputs = np.frombuffer(self.rows, np.uint8).reshape(-1, *shape)[order]
        labels = np.array([index[self.labels[i]] for i in order], np.int64)
        return inputs, labels
