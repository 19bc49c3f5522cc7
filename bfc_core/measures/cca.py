"""Measures from canonical correlations: CCA, SVCCA, PWCCA, subspace angles.

Invariances: CCA and PWCCA's correlations are unchanged by any invertible linear map of either
side; SVCCA and subspace angles by orthogonal maps and isotropic scaling (they cut by variance).
All are unchanged by translation. Without truncation they need n > d: at n <= d any two
representations are perfectly correlated, so the answer there is ``undefined``.
Sources: Raghu et al. 2017 (arXiv 1706.05806); Morcos et al. 2018 (arXiv 1806.05759), eq. 2-3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfc_core.measures.moments import EPS, Moments, moments
from bfc_core.measures.undefined import Array, Scalar, Undefined


@dataclass(frozen=True, slots=True)
class Canonical:
    """``correlations (r,)`` falling, and ``directions (dx, r)``: variates are ``x @ directions``."""

    correlations: Array
    directions: Array


def cca(x: Array, y: Array) -> Scalar:
    """Mean canonical correlation of ``x (n, dx)`` and ``y (n, dy)``."""
    return cca_of_moments(_untruncated(x, y))


def svcca(x: Array, y: Array, *, keep: float = 0.99) -> Scalar:
    """Mean canonical correlation of the principal components that hold ``keep`` of the variance."""
    return svcca_of_moments(moments(x, y), keep=keep)


def pwcca(x: Array, y: Array) -> Scalar:
    """Projection-weighted CCA from ``x`` to ``y`` (not symmetric); see `pwcca_of_moments`."""
    return pwcca_of_moments(_untruncated(x, y))


def subspace_angles(x: Array, y: Array, *, rank: int) -> Array | Undefined:
    """Principal angles in radians, rising, between the top-``rank`` principal subspaces."""
    return subspace_angles_of_moments(moments(x, y), rank=rank)


def cca_of_moments(pair: Moments | Undefined) -> Scalar:
    """Mean of the min(rank x, rank y) canonical correlations."""
    found = canonical(pair)
    return found if isinstance(found, Undefined) else float(found.correlations.mean())


def svcca_of_moments(pair: Moments, *, keep: float = 0.99) -> Scalar:
    """SVCCA from moments. Raises ValueError unless 0 < keep <= 1."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep is a share of variance in (0, 1]; got {keep}")
    fault = pair.fault()
    if fault is not None:
        return fault
    wx, wy = whitener(pair.xx, keep=keep), whitener(pair.yy, keep=keep)
    if max(wx.shape[1], wy.shape[1]) >= pair.n - 1:
        return _too_few(pair.n, max(wx.shape[1], wy.shape[1]))
    return float(_correlations(wx.T @ pair.xy @ wy).mean())


def pwcca_of_moments(pair: Moments | Undefined) -> Scalar:
    """``sum_i a_i rho_i / sum_i a_i`` with ``a_i = sum_j |<h_i, x_j>|``.

    ``h_i`` are the unit canonical variates of x and ``x_j`` the *centred activations of x's own
    neurons* (not their principal components, nor y's), as the paper defines it.
    """
    if isinstance(pair, Undefined):
        return pair
    found = canonical(pair)
    if isinstance(found, Undefined):
        return found
    weights = np.abs(found.directions.T @ pair.xx).sum(axis=1)
    return float(weights @ found.correlations / weights.sum())


def subspace_angles_of_moments(pair: Moments, *, rank: int) -> Array | Undefined:
    """Principal angles ``(rank,)`` between the spans, over samples, of the leading components."""
    fault = pair.fault()
    if fault is not None:
        return fault
    wx, wy = whitener(pair.xx, rank=rank), whitener(pair.yy, rank=rank)
    found = min(wx.shape[1], wy.shape[1])
    if found < rank:
        return Undefined(f"only {found} directions vary, {rank} were asked for")
    if rank >= pair.n - 1:
        return _too_few(pair.n, rank)
    return np.arccos(_correlations(wx.T @ pair.xy @ wy))


def canonical(pair: Moments | Undefined) -> Canonical | Undefined:
    """Canonical correlations and x's directions, each variate with unit norm."""
    if isinstance(pair, Undefined):
        return pair
    fault = pair.fault()
    if fault is not None:
        return fault
    wide = max(len(pair.xx), len(pair.yy))
    if pair.n <= wide:
        return _too_few(pair.n, wide)
    wx, wy = whitener(pair.xx), whitener(pair.yy)
    left, values, _ = np.linalg.svd(wx.T @ pair.xy @ wy, full_matrices=False)
    return Canonical(np.clip(values, 0.0, 1.0), wx @ left)


def whitener(xx: Array, *, keep: float = 1.0, rank: int | None = None) -> Array:
    """``W (d, r)`` with ``W' xx W = I`` on the leading components of ``xx``.

    Takes the fewest components with at least ``keep`` of the variance, at most ``rank``, and
    none below the rounding of ``xx`` itself: a direction of pure rounding would correlate with
    anything.
    """
    values, vectors = np.linalg.eigh(xx)
    values, vectors = values[::-1], vectors[:, ::-1]
    numerical = int((values > len(values) * EPS * values[0]).sum())
    shares = np.cumsum(values[:numerical]) / values[:numerical].sum()
    wanted = int(np.searchsorted(shares, keep - 1e-12) + 1) if keep < 1 else numerical
    r = min(numerical, wanted, rank if rank is not None else numerical)
    whitening: Array = vectors[:, :r] / np.sqrt(values[:r])
    return whitening


def _correlations(whitened: Array) -> Array:
    return np.clip(np.linalg.svd(whitened, compute_uv=False), 0.0, 1.0)


def _too_few(n: int, d: int) -> Undefined:
    return Undefined(f"canonical correlations need more samples than dimensions; got {n} of {d}")


def _untruncated(x: Array, y: Array) -> Moments | Undefined:
    wide = max(x.shape[1], y.shape[1])
    return _too_few(len(x), wide) if len(x) <= wide else moments(x, y)
