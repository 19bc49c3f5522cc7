"""Whether an uploaded data set is what a spec makes of it; told from its facts alone, before anything is queued or read.

Facts are those that a data set's head keeps: `samples`, `test_samples`, `shape` (of one input) and `classes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bfc_core.specs.data import Arrays, Cifar10, Cifar100, Images, Uploaded
from bfc_core.specs.model import CONVOLUTIONAL

_CLASSES = {"cifar10": 10, "cifar100": 100}


def data_faults(spec: Uploaded, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(pointer below the data spec, what is wrong and accepted) of everything that does not fit."""
    yield from _kind_faults(spec, facts)
    here, tests = parts(spec, facts)
    if not facts["test_samples"] and tests >= facts["samples"]:
        total = facts["samples"]
        yield "/test_samples", f"{tests} test samples of {total} in all; the data set has no test part of its own"
        return
    wanted = spec.samples or here
    if wanted > here:
        yield "/samples", f"{wanted} samples asked for; data set {spec.dataset} holds {here}"
    if tests > (facts["test_samples"] or tests):
        yield "/test_samples", f"{tests} test samples asked for; data set {spec.dataset} holds {facts['test_samples']}"
    if max(1, round(wanted * spec.validation)) >= wanted:
        yield "/samples", f"{wanted} samples leave none to train on beside validation; accepted: at least 2"


def parts(spec: Uploaded, facts: Mapping[str, Any]) -> tuple[int, int]:
    """Samples that are there to train on, and test samples asked for.

    A data set without a test part gives up a sixth of its samples for one.
    """
    if facts["test_samples"]:
        return facts["samples"], spec.test_samples or facts["test_samples"]
    held = spec.test_samples or max(1, facts["samples"] // 6)
    return facts["samples"] - held, held


def model_faults(model: Any, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The same below the model spec."""
    if isinstance(model, CONVOLUTIONAL) and len(facts["shape"]) != 3:
        (numbers,) = facts["shape"]
        yield "/kind", f"{model.kind} reads pictures, the data set holds vectors of {numbers} numbers; accepted: mlp"


def _kind_faults(spec: Uploaded, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    shape, classes, pictures = list(facts["shape"]), facts["classes"], len(facts["shape"]) == 3
    if isinstance(spec, Cifar10 | Cifar100):
        wanted = _CLASSES[spec.kind]
        if shape != [32, 32, 3] or classes != wanted:
            found = f"{classes} classes of shape {shape}"
            yield "/dataset", f"data set {spec.dataset} holds {found}; {spec.kind} has {wanted} of 32×32×3"
    elif isinstance(spec, Images) and (not pictures or not classes):
        yield "/dataset", f"data set {spec.dataset} holds no labelled pictures; use data kind arrays"
    elif isinstance(spec, Arrays) and not pictures and spec.augment != "none":
        yield "/augment", f"augment {spec.augment} needs pictures; the data set holds vectors"


__all__ = ["data_faults", "model_faults", "parts"]
