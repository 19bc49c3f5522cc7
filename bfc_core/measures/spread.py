"""How many directions a representation uses.

Invariances: orthogonal maps, isotropic scaling, translation.
Source: Roy and Vetterli 2007 (effective rank); the participation ratio is (sum l)^2 / sum l^2.
"""

from __future__ import annotations

import numpy as np

from bfc_core.measures.moments import centred, compact, is_constant
from bfc_core.measures.undefined import CONSTANT, NOT_FINITE, Array, Scalar


def effective_rank(x: Array) -> Scalar:
    """Exponential of the entropy of the normalised spectrum of Cov(x); ``x (n, d)``."""
    return effective_rank_of(spectrum(x), float(np.square(x, dtype=np.float64).sum()))


def participation_ratio(x: Array) -> Scalar:
    """``(tr C)^2 / tr C^2`` of the covariance of ``x (n, d)``."""
    values = spectrum(x)
    if not np.isfinite(values).all():
        return NOT_FINITE
    if is_constant(float(values.sum()), float(np.square(x, dtype=np.float64).sum())):
        return CONSTANT
    return float(values.sum() ** 2 / np.square(values).sum())


def effective_rank_of(values: Array, scale: float) -> Scalar:
    """Effective rank of a spectrum ``(r,)`` whose uncentred sum is ``scale``."""
    if not np.isfinite(values).all():
        return NOT_FINITE
    if is_constant(float(values.sum()), scale):
        return CONSTANT
    shares = values[values > 0] / values[values > 0].sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def spectrum(x: Array) -> Array:
    """Eigenvalues of the centred cross-products of ``x (n, d)``, rising, none below 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        values = centred(x)
    if not np.isfinite(values).all():
        return np.full(1, np.nan)
    small = compact(values)
    return np.clip(np.linalg.eigvalsh(small.T @ small), 0.0, None)
