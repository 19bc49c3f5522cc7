"""Measures between representations: numpy only, so that stored snapshots are compared without torch.

Each takes features ``(n, d)`` of the same n inputs, or `Moments` or `Sums` of them, and answers a
number or `Undefined` with the reason; never NaN.
"""

from bfc_core.measures.alignment import procrustes
from bfc_core.measures.cca import cca, pwcca, subspace_angles, svcca
from bfc_core.measures.cka import Stack, cka, cka_of_grams, cka_pairs
from bfc_core.measures.compare import MEASURES, compare
from bfc_core.measures.moments import Moments, moments
from bfc_core.measures.onset import onset
from bfc_core.measures.ridge import RidgeFit, RidgeSums, ridge_accuracy, ridge_error
from bfc_core.measures.spread import effective_rank, participation_ratio
from bfc_core.measures.sums import Sums
from bfc_core.measures.undefined import Scalar, Undefined, jsonable

__all__ = [
    "MEASURES", "Moments", "RidgeFit", "RidgeSums", "Scalar", "Stack", "Sums", "Undefined", "cca", "cka",
    "cka_of_grams", "cka_pairs", "compare", "effective_rank", "jsonable", "moments", "onset", "participation_ratio",
    "procrustes", "pwcca", "ridge_accuracy", "ridge_error", "subspace_angles", "svcca",
]  # fmt: skip
