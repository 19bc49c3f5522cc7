"""Stored layers compared with stored layers: the maths behind `POST /v1/compare`, in numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bfc_core.measures.alignment import procrustes
from bfc_core.measures.cca import cca, pwcca, subspace_angles, svcca
from bfc_core.measures.cka import Stack, cka_pairs
from bfc_core.measures.ridge import ridge_error
from bfc_core.measures.undefined import Array, Scalar, Undefined

Pairs = list[list[Scalar]]

ANGLES_RANK = 8
"""Leading principal directions whose angles are compared."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A comparison by name, with what it ignores, for the catalog."""

    name: str
    title: str
    invariant_to: tuple[str, ...]
    source: str
    pairs: Callable[[Sequence[Array], Sequence[Array]], Pairs]


def mean_subspace_cosine(x: Array, y: Array) -> Scalar:
    """Mean cosine of the principal angles between the leading subspaces of x (n, dx) and y (n, dy)."""
    angles = subspace_angles(x, y, rank=min(ANGLES_RANK, x.shape[1], y.shape[1]))
    return angles if isinstance(angles, Undefined) else float(np.cos(angles).mean())


def _each(measure: Callable[[Array, Array], Scalar]) -> Callable[[Sequence[Array], Sequence[Array]], Pairs]:
    return lambda xs, ys: [[measure(x, y) for y in ys] for x in xs]


def _cka(debiased: bool) -> Callable[[Sequence[Array], Sequence[Array]], Pairs]:
    return lambda xs, ys: cka_pairs(Stack.of_features(xs), Stack.of_features(ys), debiased=debiased)


_ROTATIONS = ("orthogonal", "scaling", "translation")
_LINEAR = ("invertible linear", "translation")
_NEURONS = ("permutation", "scaling", "translation")

_KNOWN = (
    Measure("cka", "Debiased linear CKA", _ROTATIONS, "arXiv 2010.15327", _cka(True)),
    Measure("cka_biased", "Linear CKA", _ROTATIONS, "arXiv 1905.00414", _cka(False)),
    Measure("cca", "Mean canonical correlation", _LINEAR, "Hotelling 1936", _each(cca)),
    Measure("svcca", "SVCCA, 99 % of the variance", _ROTATIONS, "arXiv 1706.05806", _each(svcca)),
    Measure("pwcca", "Projection-weighted CCA", _NEURONS, "arXiv 1806.05759", _each(pwcca)),
    Measure("procrustes", "Procrustes similarity", _ROTATIONS, "arXiv 2108.01661", _each(procrustes)),
    Measure("subspace_angles", "Subspace cosine", _ROTATIONS, "Björck 1973", _each(mean_subspace_cosine)),
    Measure(
        "ridge", "Error of the second by ridge on the first", _ROTATIONS, "Golub 1979", _each(ridge_error)
    ),
)
MEASURES: Mapping[str, Measure] = {one.name: one for one in _KNOWN}
"""Every comparison that stored features answer."""


def compare(measure: str, first: Sequence[Array], second: Sequence[Array]) -> Pairs:
    """``measure`` of every layer of ``first`` with every layer of ``second``, features (n, d) of the same
    inputs.

    Raises KeyError for an unknown measure, ValueError where the inputs differ in number.
    """
    return MEASURES[measure].pairs(first, second)
