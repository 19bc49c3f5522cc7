"""Ridge regression of targets on features from sums over samples, its penalty by generalised
cross-validation.

Invariances of the error: orthogonal maps, isotropic scaling and translation of the features.
Source: Golub, Heath and Wahba 1979 for the criterion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfc_core.measures.moments import EPS, centred, is_constant
from bfc_core.measures.undefined import CONSTANT, NOT_FINITE, Array, Scalar, Undefined

PENALTIES = tuple(10.0**e for e in range(-8, 3))
"""In units of the mean variance of the features."""


@dataclass(frozen=True, slots=True)
class RidgeSums:
    """Sums over ``n`` samples of features z (d,) and targets y (o,), less fixed shifts near their means."""

    n: int
    shift_z: Array
    shift_y: Array
    z: Array
    y: Array
    zz: Array
    zy: Array
    yy: Array

    @classmethod
    def start(cls, z: Array, y: Array) -> RidgeSums:
        """No samples yet; shifted by the means of a first batch z (b, d), y (b, o)."""
        d, o = z.shape[1], y.shape[1]
        return cls(
            0, z.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64),
            np.zeros(d), np.zeros(o), np.zeros((d, d)), np.zeros((d, o)), np.zeros(o),
        )  # fmt: skip

    def plus(self, z: Array, y: Array) -> RidgeSums:
        """With a batch z (b, d), y (b, o) added."""
        z, y = np.asarray(z, np.float64) - self.shift_z, np.asarray(y, np.float64) - self.shift_y
        return RidgeSums(
            self.n + len(z), self.shift_z, self.shift_y,
            self.z + z.sum(0), self.y + y.sum(0), self.zz + z.T @ z, self.zy + z.T @ y, self.yy +
            np.square(y).sum(0),
        )  # fmt: skip

    def fit(self, penalties: tuple[float, ...] = PENALTIES) -> RidgeFit | Undefined:
        """The fit whose penalty has the lowest n·RSS/(n − df)², the intercept free and counted in df."""
        n = self.n
        zz = self.zz - np.outer(self.z, self.z) / n
        zy = self.zy - np.outer(self.z, self.y) / n
        yy = self.yy - np.square(self.y) / n
        if not (np.isfinite(zz).all() and np.isfinite(zy).all() and np.isfinite(yy).all()):
            return NOT_FINITE
        if is_constant(float(np.trace(zz)), float(np.trace(self.zz) + n * self.shift_z @ self.shift_z)):
            return CONSTANT
        values, vectors = np.linalg.eigh(zz)
        values = np.where(values > len(values) * EPS * values[-1], values, 0.0)
        ridges = np.asarray(penalties) * np.trace(zz) / len(values)
        total = values[None] + ridges[:, None]
        inverse = np.divide(1.0, total, out=np.zeros_like(total), where=(total > 0) & (values > 0)[None])
        freedom = (values * inverse).sum(axis=1) + 1
        projected = vectors.T @ zy
        # |y − zβ|² = yy − Σ (2 − s/(s + λ)) /(s + λ) p², by eigendirection.
        explained = (inverse * (2 - values * inverse)) @ np.square(projected).sum(axis=1)
        left = np.clip(yy.sum() - explained, 0.0, None)
        if not (freedom < n).any():
            return Undefined(f"{n} samples leave no degree of freedom")
        score = np.where(freedom < n, n * left / np.square(np.maximum(n - freedom, EPS)), np.inf)
        best = int(score.argmin())
        slope = vectors @ (inverse[best][:, None] * projected)
        centre_z, centre_y = self.shift_z + self.z / n, self.shift_y + self.y / n
        spread = float(yy.sum() / n)
        error = float(score[best] / spread) if spread > 0 else 0.0
        return RidgeFit(slope, centre_y - centre_z @ slope, float(penalties[best]), error)


@dataclass(frozen=True, slots=True)
class RidgeFit:
    """``slope`` (d, o), ``intercept`` (o,), the chosen penalty, and GCV's estimate of error over variance."""

    slope: Array
    intercept: Array
    penalty: float
    estimated_error: float

    def predict(self, z: Array) -> Array:
        """z (n, d) -> (n, o)."""
        predicted: Array = z @ self.slope + self.intercept
        return predicted


def ridge_error(z: Array, y: Array, penalties: tuple[float, ...] = PENALTIES) -> Scalar:
    """Residual over variance of targets y (n, o) on features z (n, d), fitted on one half, tested on the other."""
    fitted, test = _fit_half(z, y, penalties)
    if isinstance(fitted, Undefined):
        return fitted
    zt, yt = z[test], np.asarray(y[test], np.float64)
    spread = np.square(centred(yt)).sum()
    if is_constant(float(spread), float(np.square(yt).sum())):
        return Undefined("targets do not vary")
    return float(np.square(yt - fitted.predict(zt)).sum() / spread)


def ridge_accuracy(z: Array, labels: Array, penalties: tuple[float, ...] = PENALTIES) -> Scalar:
    """Share of the second half whose class (n,) a ridge fit of its indicators on the first half finds."""
    classes = np.unique(labels)
    if len(classes) < 2:
        return Undefined("labels are all of one class")
    fitted, test = _fit_half(z, (labels[:, None] == classes[None]).astype(np.float64), penalties)
    if isinstance(fitted, Undefined):
        return fitted
    return float((classes[fitted.predict(z[test]).argmax(axis=1)] == labels[test]).mean())


def _fit_half(z: Array, y: Array, penalties: tuple[float, ...]) -> tuple[RidgeFit | Undefined, slice]:
    if len(z) != len(y) or len(z) < 4:
        raise ValueError(f"needs at least 4 samples with a target each; got {len(z)} and {len(y)}")
    half = len(z) // 2
    with np.errstate(invalid="ignore", over="ignore"):
        sums = RidgeSums.start(z[:half], y[:half]).plus(z[:half], y[:half])
    return sums.fit(penalties), slice(half, None)
