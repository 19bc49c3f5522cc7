"""Second moments of two representations of the same inputs: all that the linear measures need.

Every measure of this package that is invariant to rotations of the samples is a function of the
centred cross-products ``X'X``, ``X'Y``, ``Y'Y``. Features, Gram matrices and sums accumulated in
one pass all lead here, so each measure is defined once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfc_core.measures.undefined import CONSTANT, NOT_FINITE, Array, Undefined

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Moments:
    """Centred cross-products of ``x (n, dx)`` and ``y (n, dy)``.

    ``xx (dx, dx)``, ``xy (dx, dy)``, ``yy (dy, dy)`` are sums over samples, not means;
    ``scale_x`` and ``scale_y`` are the sums of squares before centring, against which
    "constant" is judged (a constant 1e6 leaves rounding behind, not features).
    """

    n: int
    xx: Array
    xy: Array
    yy: Array
    scale_x: float
    scale_y: float

    def fault(self) -> Undefined | None:
        """Why no linear measure is defined on these moments, or None."""
        if not all(np.isfinite(part).all() for part in (self.xx, self.xy, self.yy)):
            return NOT_FINITE
        if is_constant(float(np.trace(self.xx)), self.scale_x):
            return CONSTANT
        if is_constant(float(np.trace(self.yy)), self.scale_y):
            return CONSTANT
        return None

    def swapped(self) -> Moments:
        """The same pair, the second representation first."""
        return Moments(self.n, self.yy, self.xy.T, self.xx, self.scale_y, self.scale_x)


def is_constant(spread: float, scale: float) -> bool:
    """Whether a centred sum of squares is no more than the rounding that centring leaves."""
    return not spread > (8 * EPS) ** 2 * scale


def centred(x: Array) -> Array:
    """``x (n, d)`` less its mean over samples, in float64."""
    values = np.asarray(x, dtype=np.float64)
    less: Array = values - values.mean(axis=0, keepdims=True)
    return less


def compact(x: Array) -> Array:
    """Features ``(n, d)`` with d > n, rotated into the at most n dimensions that they span.

    Orthogonal, so every measure here is unchanged, PWCCA apart, which reads single neurons
    (and refuses n <= d anyway).
    """
    n, d = x.shape
    if d <= n:
        return x
    triangle: Array = np.asarray(np.linalg.qr(x.T, mode="r"))
    return triangle.T


def moments(x: Array, y: Array) -> Moments:
    """Moments of two feature matrices ``x (n, dx)``, ``y (n, dy)`` with the same rows.

    Raises ValueError when the numbers of samples differ or there are none.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"features must be (n, d) with equal n > 0; got {x.shape} and {y.shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        cx, cy = centred(x), centred(y)
        scale_x = float(np.square(x, dtype=np.float64).sum())
        scale_y = float(np.square(y, dtype=np.float64).sum())
        if np.isfinite(scale_x):
            cx = compact(cx)
        if np.isfinite(scale_y):
            cy = compact(cy)
        return Moments(len(x), cx.T @ cx, cx.T @ cy, cy.T @ cy, scale_x, scale_y)
