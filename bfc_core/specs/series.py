"""The numbers a job reports over its steps: every series by name, with its unit and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Every unit that a series, a table's column, a claim or a job's progress may carry, and what it stands for.
UNITS: Mapping[str, str] = {
    "Var y": "parts of the variance of the target, from the target's own formula where it has one: 1 is the error of a constant",
    "Var z*": "parts of the variance of the teacher's features at that level: 1 is a layer that knows nothing of them",
    "mean square": "mean squared difference from the label, in the label's own unit",
    "nat": "cross-entropy with natural logarithms",
    "part": "a share, from 0 to 1; also what is gained of one",
    "similarity": "1 for representations that agree up to the measure's invariances, about 0 for unrelated ones",
    "cosine": "−1 to 1",
    "ratio": "one quantity over another of the same kind",
    "rad": "radians",
    "dimension": "a number of directions, not necessarily whole",
    "step": "optimiser steps over all stages",
    "fit": "fits of a baseline's grid",
    "snapshot": "stored snapshots read",
    "job": "member jobs of a study or a sweep that have ended",
    "samples": "training samples",
    "FLOP": "floating-point operations, counted from the shapes",
    "log10 ratio": "decimal logarithm of a ratio of two errors: 1 is tenfold",
    "-log10 error": "minus the decimal logarithm of a relative error: 2 is an error of 0.01",
    "error": "a relative test error, in Var y",
    "share": "a part, from 0 to 1, of a claim",
    "points": "percentage points of accuracy",
    "lambda": "λ: how much of a layer changed in its last stage, as a part of all that it changed",
    "s": "seconds of processor time",
    "pixel": "pixels of a picture",
}


@dataclass(frozen=True, slots=True)
class Series:
    """One name: `stem` alone, or with what follows a slash (`…/i`). No unit: the data decides."""

    stem: str
    unit: str | None
    says: str
    after: str = ""


#: What every training reports, whatever it is probed with.
ALWAYS: tuple[Series, ...] = (
    Series("train_loss", None, "training loss of the latest batches: mean square, or nat for classes"),
    Series("test_error", None, "on the fixed test set: Var y, or the part of wrong classes"),
    Series("relative_test_error", "Var y", "squared test error of a classifier's outputs"),
    Series("validation_error", None, "as `test_error`, on the part held out of the training set"),
)
