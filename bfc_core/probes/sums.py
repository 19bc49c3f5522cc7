"""Sums over batches on the network's own device: similarities of all layers, and ridge probes, after one pass.

Finished, they are the torch-free sums of `bfc_core.measures`, which hold the only definitions.
Letters: n samples, b of a batch, d_l features of a layer, D of all layers, L layers, o targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bfc_core.measures import RidgeSums, Sums
from bfc_core.measures.undefined import Array


class LayerSums:
    """Accumulates what CKA, SVCCA, PWCCA and Procrustes of every pair of layers need."""

    def __init__(self) -> None:
        self.n = 0
        self.sizes: tuple[int, ...] = ()

    def add(self, layers: Sequence[Tensor]) -> None:
        """One batch of all layers, (b, d_l) each; the first sets the shift that keeps sums from cancelling."""
        if self.n == 0:
            self._start(layers)
        z = torch.cat([layer.double() for layer in layers], dim=1) - self._shift
        norms = torch.stack([part.square().sum(1) for part in torch.split(z, list(self.sizes), dim=1)], dim=1)
        self.n += len(z)
        self._s += z.sum(0)
        self._c.addmm_(z.mT, z)
        self._m.addmm_(z.mT, norms)
        self._q.addmm_(norms.mT, norms)

    def finish(self) -> Sums:
        """The sums so far. Raises ValueError when no batch was added."""
        if self.n == 0:
            raise ValueError("no batch was added")
        parts = [_array(part) for part in (self._shift, self._s, self._c, self._m, self._q)]
        return Sums(self.sizes, self.n, *parts)

    def _start(self, layers: Sequence[Tensor]) -> None:
        self.sizes = tuple(layer.shape[1] for layer in layers)
        self._shift = torch.cat([layer.double().mean(0) for layer in layers])
        wide, many = len(self._shift), len(layers)
        self._s = torch.zeros_like(self._shift)
        self._c, self._m = self._shift.new_zeros(wide, wide), self._shift.new_zeros(wide, many)
        self._q = self._shift.new_zeros(many, many)


class StreamingRidge:
    """Accumulates a ridge probe of one layer; `finish().fit()` chooses its penalty by generalised cross-validation."""

    def __init__(self) -> None:
        self.n = 0

    def add(self, z: Tensor, y: Tensor) -> None:
        """One batch: features z (b, d), targets y (b, o)."""
        if self.n == 0:
            self._shift = z.double().mean(0), y.double().mean(0)
            d, o = z.shape[1], y.shape[1]
            zero = self._shift[0].new_zeros
            self._sums = zero(d), zero(o), zero(d, d), zero(d, o), zero(o)
        z, y = z.double() - self._shift[0], y.double() - self._shift[1]
        sum_z, sum_y, zz, zy, yy = self._sums
        self.n += len(z)
        sum_z += z.sum(0)
        sum_y += y.sum(0)
        zz.addmm_(z.mT, z)
        zy.addmm_(z.mT, y)
        yy += y.square().sum(0)

    def finish(self) -> RidgeSums:
        """The sums so far. Raises ValueError when no batch was added."""
        if self.n == 0:
            raise ValueError("no batch was added")
        return RidgeSums(self.n, *(_array(part) for part in (*self._shift, *self._sums)))


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.cpu().numpy().astype(np.float64, copy=False)
    return found
