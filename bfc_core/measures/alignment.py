"""How far one representation is from another up to a rotation.

Invariances: orthogonal maps of either side, isotropic scaling, translation.
Source: Ding et al. 2021 (arXiv 2108.01661) for the Procrustes distance.
"""

from __future__ import annotations

import numpy as np

from bfc_core.measures.moments import Moments, moments
from bfc_core.measures.undefined import Array, Scalar


def procrustes(x: Array, y: Array) -> Scalar:
    """Procrustes similarity in [0, 1]: ``|X'Y|_* / (|X| |Y|)`` of centred features.

    The squared Procrustes distance between the unit-norm representations is 2 − 2 of it.
    """
    return procrustes_of_moments(moments(x, y))


def procrustes_of_moments(pair: Moments) -> Scalar:
    """The nuclear norm of the cross-products over both Frobenius norms."""
    fault = pair.fault()
    if fault is not None:
        return fault
    nuclear = np.linalg.svd(pair.xy, compute_uv=False).sum()
    return float(min(1.0, nuclear / np.sqrt(np.trace(pair.xx) * np.trace(pair.yy))))
