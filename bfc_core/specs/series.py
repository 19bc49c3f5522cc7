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
    """One name: `stem` alone, or with what follows a slash (`…/i`), of the probe that reports it."""

    stem: str
    unit: str | None
    says: str
    probe: str | None = None
    after: str = ""


SERIES: tuple[Series, ...] = (
    Series("train_loss", None, "training loss of the latest batches: mean square, or nat for classes"),
    Series("test_error", None, "on the fixed test set: Var y, or the part of wrong classes"),
    Series("relative_test_error", "Var y", "squared test error of a classifier's outputs"),
    Series("validation_error", None, "as `test_error`, on the part held out of the training set"),
    Series("feature_error", "Var z*", "what a layer's features cannot express linearly of the teacher's", "feature_error"),
    Series("feature_error_balanced", "Var z*", "its mean over the principal components of the teacher's features", "feature_error"),
    Series("captured", "part", "of teacher neuron i, strongest first; `subspace` where only their span is visible", "captured", "i"),
    Series("captured_initial", "part", "the same at initialisation", "captured", "i"),
    Series("captured_effective", "part", "the same with a ridge, so that vanishing features do not count", "captured", "i"),
    Series("captured_chance", "part", "what random features of that width would capture", "captured"),
    Series("linear", "Var y", "test error of a linear probe of the layer", "linear"),
    Series("linear_initial", "Var y", "the same at initialisation", "linear"),
    Series("linear_shuffled", "Var y", "the same on shuffled labels", "linear"),
    Series("linear_accuracy", "part", "test accuracy of a linear probe, for classes", "linear"),
    Series("linear_accuracy_initial", "part", "the same at initialisation", "linear"),
    Series("linear_accuracy_shuffled", "part", "the same on shuffled labels", "linear"),
    Series("two_layer", "Var y", "test error of a two-layer probe of the layer", "two_layer"),
    Series("two_layer_initial", "Var y", "the same at initialisation", "two_layer"),
    Series("two_layer_shuffled", "Var y", "the same on shuffled labels", "two_layer"),
    Series("two_layer_accuracy", "part", "test accuracy of a two-layer probe, for classes", "two_layer"),
    Series("two_layer_accuracy_initial", "part", "the same at initialisation", "two_layer"),
    Series("two_layer_accuracy_shuffled", "part", "the same on shuffled labels", "two_layer"),
    Series("information_gap", "part", "what a layer's linear probe gains over the best layer below", "information_gap"),
    Series("weight_correlation", "similarity", "chance-corrected, between two of init, before, after", "weight_correlation", "pair"),
    Series("raw_cosine", "cosine", "of the weights as they are", "weight_correlation", "pair"),
    Series("aligned_cosine", "cosine", "after the best rotation of the neurons", "weight_correlation", "pair"),
    Series("matched_cosine", "cosine", "after the best permutation of the neurons", "weight_correlation", "pair"),
    Series("lambda", "lambda", "how much of a layer its last stage changed", "weight_correlation"),
    Series("cka", "similarity", "centred kernel alignment, debiased; `/layer` when layers are compared", "cka", "layer"),
    Series("cka_biased", "similarity", "the same, biased", "cka", "layer"),
    Series("svcca", "similarity", "mean canonical correlation", "svcca", "layer"),
    Series("pwcca", "similarity", "canonical correlations, weighted", "pwcca", "layer"),
    Series("procrustes", "similarity", "after the best rotation", "procrustes", "layer"),
    Series("subspace_angle_largest", "rad", "largest principal angle", "subspace_angles", "layer"),
    Series("subspace_angle_mean", "rad", "mean principal angle", "subspace_angles", "layer"),
    Series("effective_rank", "dimension", "exp of the entropy of the covariance spectrum", "effective_rank"),
    Series("movement", "ratio", "distance of the weights from initialisation, over their norm there", "movement"),
    Series("movement_stage", "ratio", "distance from the start of the last stage, over their norm there", "movement"),
    Series("tangent_kernel_change", "part", "1 − cosine between the tangent kernel and the initial one", "tangent_kernel"),
    Series("tangent_kernel_alignment", "cosine", "of the centred tangent kernel with the target", "tangent_kernel"),
    Series("tangent_kernel_alignment_initial", "cosine", "the same at initialisation", "tangent_kernel"),
    Series("agop_alignment", "cosine", "of WᵀW with the average gradient outer product", "agop"),
    Series("agop_alignment_initial", "cosine", "the same at initialisation", "agop"),
    Series("degrees", "Var z*", "what the best affine fit leaves, of polynomial degree j; `/j/i` of neuron i", "degrees", "j"),
    Series("degrees_error", "Var z*", "standard error of that estimate", "degrees", "j"),
    Series("split", "part", "of the difference of the level's quadratic forms: by span (`span`, `cross`, `orthogonal`) and by degree (`degree_2` …)", "degrees", "name"),
    Series("sensitivity", "ratio", "to synonyms at a height of the hierarchy: 0 when they do not matter", "sensitivity", "height"),
    Series("fourier", "ratio", "coefficient of the target's monomial i, over the target's own", "sensitivity", "i"),
    Series("fourier_rest", "Var y", "what lies outside the target's monomials", "sensitivity"),
)

_UNIT_OF = {one.stem: one.unit for one in SERIES}


def unit_of(key: str) -> str | None:
    """The unit of a series by its key, `captured/3` as `captured`; None where the data decides."""
    return _UNIT_OF.get(key.partition("/")[0])
