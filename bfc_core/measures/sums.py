"""Sums over samples from which similarities of all pairs of layers follow, exactly, after one pass.

For concatenated features z of all layers, less a fixed shift: C = Σ zz', s = Σ z, and for the
debiased CKA M = Σ z n' and Q = Σ nn' with n_l = |z_l|^2. No n × n array, no second pass.
Letters: L layers, D their dimensions together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfc_core.measures.cka import TOO_FEW, ratio, unbiased_hsic
from bfc_core.measures.moments import Moments, is_constant
from bfc_core.measures.undefined import CONSTANT, NOT_FINITE, Array, Scalar, Undefined


@dataclass(frozen=True, slots=True)
class Sums:
    """``n`` samples' sums: ``shift (D,)``, ``s (D,)``, ``c (D, D)``, ``m (D, L)``, ``q (L, L)``.

    The shift, near the mean, keeps the centring of C from cancelling; no measure depends on it.
    """

    sizes: tuple[int, ...]
    n: int
    shift: Array
    s: Array
    c: Array
    m: Array
    q: Array

    @classmethod
    def start(cls, layers: Sequence[Array]) -> Sums:
        """No samples yet; shifted by the means of a first batch, ``layers`` (b, d_l)."""
        sizes = tuple(layer.shape[1] for layer in layers)
        shift = np.concatenate([layer.mean(axis=0, dtype=np.float64) for layer in layers])
        wide, many = sum(sizes), len(sizes)
        return cls(
            sizes,
            0,
            shift,
            np.zeros(wide),
            np.zeros((wide, wide)),
            np.zeros((wide, many)),
            np.zeros((many, many)),
        )

    def plus(self, layers: Sequence[Array]) -> Sums:
        """These sums with a batch of samples added, ``layers`` (b, d_l) of the same inputs."""
        z = np.concatenate([np.asarray(layer, dtype=np.float64) for layer in layers], axis=1) - self.shift
        norms = np.add.reduceat(np.square(z), self.starts(), axis=1)
        return Sums(
            self.sizes,
            self.n + len(z),
            self.shift,
            self.s + z.sum(axis=0),
            self.c + z.T @ z,
            self.m + z.T @ norms,
            self.q + norms.T @ norms,
        )

    def starts(self) -> list[int]:
        """Where each layer begins among the D."""
        return [0, *np.cumsum(self.sizes)[:-1].tolist()]

    def part(self, layer: int) -> slice:
        """The columns of a layer."""
        start = self.starts()[layer]
        return slice(start, start + self.sizes[layer])

    def moments(self, first: int, second: int) -> Moments:
        """Centred moments of two layers: SVCCA, PWCCA, Procrustes and angles follow from them."""
        a, b = self.part(first), self.part(second)
        mean = self.s / self.n

        def centred(i: slice, j: slice) -> Array:
            less: Array = self.c[i, j] - self.n * np.outer(mean[i], mean[j])
            return less

        return Moments(self.n, centred(a, a), centred(a, b), centred(b, b), self._scale(a), self._scale(b))

    def cka(self, *, debiased: bool = True) -> list[list[Scalar]]:
        """Linear CKA of every pair of layers (L × L)."""
        many = range(len(self.sizes))
        if debiased and self.n < 4:
            return [[TOO_FEW for _ in many] for _ in many]
        hsic = self._debiased() if debiased else self._biased()
        faults = [self._fault(self.part(i)) for i in many]
        own = np.diagonal(hsic)
        return [[faults[i] or faults[j] or ratio(hsic[i, j], own[i], own[j]) for j in many] for i in many]

    def _biased(self) -> Array:
        return self._blocks(np.square(self.c - np.outer(self.s, self.s) / self.n))

    def _debiased(self) -> Array:
        """Song et al. eq. 5 with every sum in feature space; L × L at once."""
        indicator = np.zeros((len(self.s), len(self.sizes)))
        for layer in range(len(self.sizes)):
            indicator[self.part(layer), layer] = self.s[self.part(layer)]
        inner = self._blocks(np.square(self.c)) - self.q
        totals = np.square(indicator).sum(axis=0) - np.add.reduceat(np.diagonal(self.c), self.starts())
        # 1'KL1 with K, L less their diagonals: Σ_i (x_i·s_x − n_i)(y_i·s_y − n_i).
        mixed = indicator.T @ self.m
        both = indicator.T @ self.c @ indicator - mixed - mixed.T + self.q
        found = [
            [unbiased_hsic(self.n, inner[i, j], totals[i], totals[j], both[i, j]) for j in range(len(totals))]
            for i in range(len(totals))
        ]
        return np.array(found)

    def _blocks(self, squares: Array) -> Array:
        rows = np.stack([squares[self.part(layer)].sum(axis=0) for layer in range(len(self.sizes))])
        blocks: Array = np.add.reduceat(rows, self.starts(), axis=1)
        return blocks

    def _scale(self, part: slice) -> float:
        """Sum of squares before any centring."""
        shift = self.shift[part]
        squares = np.trace(self.c[part, part]) + 2 * shift @ self.s[part] + self.n * shift @ shift
        return float(squares)

    def _fault(self, part: slice) -> Undefined | None:
        spread = float(np.trace(self.c[part, part]) - self.s[part] @ self.s[part] / self.n)
        if not np.isfinite(spread):
            return NOT_FINITE
        return CONSTANT if is_constant(spread, self._scale(part)) else None
