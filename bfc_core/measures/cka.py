"""Linear centred kernel alignment, biased and debiased: of two layers, or of all pairs of two networks'
layers.

Invariances: orthogonal maps of either representation, isotropic scaling, translation.
Source: Kornblith et al. 2019 (arXiv 1905.00414), eq. 4; the debiased form replaces HSIC by the unbiased
estimator of Song et al. 2012 (JMLR 13, eq. 5), as in Nguyen et al. 2021 (arXiv 2010.15327).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfc_core.measures.moments import Moments, centred, is_constant
from bfc_core.measures.undefined import CONSTANT, NOT_FINITE, Array, Scalar, Undefined

_BLOCK = 1 << 16
"""Entries of Gram matrices whose products are summed in the matrices' own precision; beyond, in float64."""

TOO_FEW = Undefined("debiased CKA needs at least 4 samples")
NO_SIGNAL = Undefined("the debiased self-similarity is not positive: too few samples for it")


def cka(x: Array, y: Array, *, debiased: bool = True) -> Scalar:
    """Linear CKA of ``x (n, dx)`` and ``y (n, dy)``.

    Biased it is in [0, 1] and exceeds 0 for unrelated features; debiased it is 0 on average there.
    """
    return cka_pairs(Stack.of_features([x]), Stack.of_features([y]), debiased=debiased)[0][0]


def cka_of_grams(k: Array, l: Array, *, debiased: bool = True) -> Scalar:  # noqa: E741
    """Linear CKA of two Gram matrices ``(n, n)`` of the same inputs, centred or not."""
    if k.shape != l.shape or k.ndim != 2 or k.shape[0] != k.shape[1]:
        raise ValueError(f"Gram matrices must be (n, n) alike; got {k.shape} and {l.shape}")
    return cka_pairs(Stack.of_grams([k]), Stack.of_grams([l]), debiased=debiased)[0][0]


def cka_of_moments(pair: Moments) -> Scalar:
    """Biased linear CKA, ``|X'Y|^2 / (|X'X| |Y'Y|)`` of centred features."""
    fault = pair.fault()
    if fault is not None:
        return fault
    return ratio(float(np.square(pair.xy).sum()), np.square(pair.xx).sum(), np.square(pair.yy).sum())


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers of one network on the same n inputs: their features, or all their Gram matrices.

    ``features`` (n, d_l) each, centred, with the layers' ``sizes``; or ``grams`` (L, n * n) centred.
    ``norms`` (n, L) is the diagonal of each centred Gram matrix; ``faults`` says which layers have
    no similarity, and why. ``single``: the features came in float32, so that Gram matrices of them,
    each of unit trace, are kept in float32 too; sums over them stay in float64.
    """

    n: int
    sizes: tuple[int, ...]
    norms: Array
    faults: tuple[Undefined | None, ...]
    features: tuple[Array, ...] | None = None
    grams: Array | None = None
    single: bool = False

    @property
    def bytes(self) -> int:
        """What its matrices hold."""
        grams = () if self.grams is None else (self.grams,)
        return sum(part.nbytes for part in (*(self.features or ()), *grams))

    @classmethod
    def of_features(cls, layers: Sequence[Array]) -> Stack:
        """Layers as features ``(n, d_l)``."""
        n = _same_length(layers)
        with np.errstate(invalid="ignore", over="ignore"):
            parts = [centred(layer) for layer in layers]
            norms = np.stack([np.einsum("ij,ij->i", part, part) for part in parts], axis=1)
            scales = [_scale(layer, part) for layer, part in zip(layers, parts, strict=True)]
        faults = tuple(_fault(norms[:, i], scale) for i, scale in enumerate(scales))
        parts = [np.zeros_like(part) if fault else part for part, fault in zip(parts, faults, strict=True)]
        sizes = tuple(part.shape[1] for part in parts)
        single = all(layer.dtype == np.float32 for layer in layers)
        return cls(n, sizes, norms, faults, features=tuple(parts), single=single)

    @classmethod
    def of_grams(cls, layers: Sequence[Array]) -> Stack:
        """Layers as Gram matrices ``(n, n)``, centred or not."""
        n = _same_length(layers)
        with np.errstate(invalid="ignore", over="ignore"):
            centres = [centred_gram(layer) for layer in layers]
            norms = np.stack([np.diagonal(layer) for layer in centres], axis=1)
            faults = tuple(_fault(norms[:, i], float(np.trace(layer))) for i, layer in enumerate(layers))
        grams = [np.zeros((n, n)) if fault else k for k, fault in zip(centres, faults, strict=True)]
        return cls(n, (n,) * len(grams), norms, faults, grams=np.stack(grams).reshape(len(grams), -1))

    def as_grams(self) -> Stack:
        """The same layers by their Gram matrices."""
        if self.features is None:
            return self
        parts = list(self.features)
        norms, grams = (
            self.norms,
            np.empty((len(parts), self.n, self.n), np.float32 if self.single else np.float64),
        )
        if self.single:
            traces = np.where((total := norms.sum(axis=0)) > 0, total, 1.0)
            norms = norms / traces
            parts = [(z / np.sqrt(trace)).astype(np.float32) for z, trace in zip(parts, traces, strict=True)]
        for z, gram in zip(parts, grams, strict=True):
            np.matmul(z, z.T, out=gram)
        return Stack(
            self.n,
            (self.n,) * len(parts),
            norms,
            self.faults,
            grams=grams.reshape(len(parts), -1),
            single=self.single,
        )

    def comparable(self, other: Stack) -> Stack:
        """The form in which this stack meets `other` at the least cost: Gram matrices unless features are narrow."""
        narrow = self.features is not None and other.features is not None and _narrow_enough(self, other)
        return self if narrow else self.as_grams()


def cka_pairs(x: Stack, y: Stack, *, debiased: bool = True) -> list[list[Scalar]]:
    """Linear CKA of each layer of x with each of y. Raises ValueError when their inputs differ in number."""
    if x.n != y.n:
        raise ValueError(f"layers were taken on {x.n} and on {y.n} inputs; they must be the same inputs")
    if debiased and x.n < 4:
        return [[TOO_FEW] * len(y.sizes) for _ in x.sizes]
    # Gram matrices are made once, for the cross terms and both layers' own.
    x, y = x.comparable(y), y.comparable(x)
    cross = _hsic(x, y, debiased)
    own_x, own_y = _own(x, debiased), _own(y, debiased)
    return [
        [x.faults[i] or y.faults[j] or ratio(cross[i, j], own_x[i], own_y[j]) for j in range(len(y.sizes))]
        for i in range(len(x.sizes))
    ]


def centred_gram(k: Array) -> Array:
    """``H K H`` with ``H = I - 11'/n``."""
    values = np.asarray(k, dtype=np.float64)
    rows = values.mean(axis=0, keepdims=True)
    centre: Array = values - rows - rows.T + rows.mean()
    return centre


def _hsic(x: Stack, y: Stack, debiased: bool) -> Array:
    """HSIC of each pair up to a common factor (Lx, Ly)."""
    inner = _inner(x, y)
    return _debiased(inner, x.norms, y.norms, x.n) if debiased else inner


def _own(x: Stack, debiased: bool) -> Array:
    """HSIC of each layer with itself (L,)."""
    if x.features is None:
        inner: Array = _inner(x, x).diagonal()
    else:
        inner = np.array([np.square(_narrow(part)).sum() for part in x.features])
    if not debiased:
        return inner
    own: Array = _debiased(np.diag(inner), x.norms, x.norms, x.n).diagonal()
    return own


def _narrow(z: Array) -> Array:
    """The smaller of z'z and zz': their Frobenius norms are equal."""
    product: Array = z.T @ z if z.shape[1] <= z.shape[0] else z @ z.T
    return product


def _inner(x: Stack, y: Stack) -> Array:
    """tr(K L) of centred Gram matrices (Lx, Ly)."""
    if x.features is not None and y.features is not None:
        right = np.concatenate(y.features, axis=1)
        columns = np.stack([_squared_columns(part.T @ right) for part in x.features])
        blocks: Array = np.add.reduceat(columns, _starts(y.sizes), axis=1)
        return blocks
    assert x.grams is not None
    assert y.grams is not None
    products: Array = np.zeros((len(x.grams), len(y.grams)))
    for start in range(0, x.grams.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        products += x.grams[:, block] @ y.grams[:, block].T
    return products


def _squared_columns(product: Array) -> Array:
    """Squared norm of each column, without a squared copy."""
    norms: Array = np.einsum("ij,ij->j", product, product)
    return norms


def _narrow_enough(x: Stack, y: Stack) -> bool:
    """Whether all products of features cost less than the Gram matrices and theirs.

    By arithmetic, with a factor 3 for the memory that Gram matrices move.
    """
    dx, dy = sum(x.sizes), sum(y.sizes)
    return dx * dy <= 3 * x.n * (dx + dy + len(x.sizes) * len(y.sizes))


def unbiased_hsic(n: int, inner: float, sum_k: float, sum_l: float, sum_kl: float) -> float:
    """Song et al. eq. 5, times ``n (n - 3)``, from Gram matrices with their diagonals set to 0.

    ``inner = tr(K L)``, ``sum_k = 1'K1``, ``sum_l = 1'L1``, ``sum_kl = 1'KL1``.
    """
    return inner + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * sum_kl / (n - 2)


def _debiased(inner: Array, norms_x: Array, norms_y: Array, n: int) -> Array:
    """Unbiased HSIC: with centred features all its sums are over the Gram matrices' diagonals."""
    both = norms_x.T @ norms_y
    sums = np.outer(norms_x.sum(axis=0), norms_y.sum(axis=0))
    hsic: Array = inner - both + sums / ((n - 1) * (n - 2)) - 2 * both / (n - 2)
    return hsic


def ratio(cross: float, own_x: float, own_y: float) -> Scalar:
    """CKA from three HSIC estimates; an unbiased self-similarity may come out not positive."""
    if not (own_x > 0 and own_y > 0):
        return NO_SIGNAL
    return float(cross / np.sqrt(own_x) / np.sqrt(own_y))


def _starts(sizes: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(sizes)[:-1].tolist()]


def _scale(layer: Array, part: Array) -> float:
    """The sum of squares of a layer (n, d) before centring, from what centring left and the means it took."""
    means = np.asarray(layer[0], np.float64) - part[0]
    return float(np.vdot(part, part) + len(layer) * np.vdot(means, means))


def _fault(norms: Array, scale: float) -> Undefined | None:
    if not (np.isfinite(norms).all() and np.isfinite(scale)):
        return NOT_FINITE
    return CONSTANT if is_constant(float(norms.sum()), scale) else None


def _same_length(layers: Sequence[Array]) -> int:
    lengths = {len(layer) for layer in layers}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"layers must be taken on the same inputs; got {sorted(lengths)} of them")
    return lengths.pop()
