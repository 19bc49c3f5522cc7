"""Where the quadratic network's weights lie in one flat buffer: V, then X_i of each level that expands.

V (K, r·m + 1, q + 1) holds for each of r levels the weights on u and the bias c, and b in its last row; X_i holds the
weights of the levels above i on h_i, and v_i as its last row where read-outs are trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Layout:
    """Shapes and places for K rows with the first levels present; m neurons, p expanded features, q numbers read."""

    def __init__(self, rows: int, levels: Sequence[int], m: int, p: int, q: int, signed: bool) -> None:
        self.rows, self.levels, self.m, self.p, self.q, self.signed = rows, tuple(levels), m, p, q, signed
        depth = len(self.levels)
        #: levels whose h is read: by a level above, or by a trained read-out
        self.expanding = range(depth) if signed else range(depth - 1)
        above = [self.above(i) for i in self.expanding]
        self.shapes = [(depth * m + 1, q + 1), *((part.stop - part.start, p) for part in above)]
        self.size = rows * sum(height * width for height, width in self.shapes)

    def above(self, i: int) -> slice:
        """Rows of Z that X_i writes: the levels above i, and the output where read-outs are trained."""
        return slice((i + 1) * self.m, len(self.levels) * self.m + int(self.signed))

    def own(self, i: int) -> slice:
        """Rows of Z of level i."""
        return slice(i * self.m, (i + 1) * self.m)

    def views(self, flat: Tensor) -> tuple[Tensor, list[Tensor]]:
        """V and each X_i in a flat buffer."""
        parts = torch.split(flat, [self.rows * height * width for height, width in self.shapes])
        v, *x = (part.view(self.rows, *shape) for part, shape in zip(parts, self.shapes, strict=True))
        return v, x

    @torch.no_grad()
    def join(self, named: Mapping[str, Tensor], flat: Tensor) -> None:
        """Writes named blocks (K, …) into a flat buffer."""
        v, x = self.views(flat)
        v.zero_()
        v[:, -1, self.q] = named["b"]
        for i, level in enumerate(self.levels):
            w = named[f"W{level}"]
            v[:, self.own(i), : self.q] = w[:, :, : self.q]
            if level > 2:
                v[:, self.own(i), self.q] = named[f"c{level}"]
            for lower in range(i):
                x[lower][:, self._reading(i, lower)] = w[:, :, self._columns(lower)]
            if self.signed:
                x[i][:, -1] = named[f"v{level}"]

    @torch.no_grad()
    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Copies of the named blocks in a flat buffer."""
        v, x = self.views(flat)
        found: dict[str, Tensor] = {}
        for i, level in enumerate(self.levels):
            read = [x[lower][:, self._reading(i, lower)] for lower in range(i)]
            found[f"W{level}"] = torch.cat([v[:, self.own(i), : self.q], *read], dim=2)
            if level > 2:
                found[f"c{level}"] = v[:, self.own(i), self.q].clone()
            if self.signed:
                found[f"v{level}"] = x[i][:, -1].clone()
        found["b"] = v[:, -1, self.q].clone()
        return found

    def fill_masks(self, flat: Tensor, train: Sequence[Sequence[int]]) -> None:
        """1 where a row trains an entry, by the levels that it trains; b always, c_2 never."""
        v, x = self.views(flat)
        v[:, -1, self.q] = 1
        for row, levels in enumerate(train):
            for i, level in enumerate(self.levels):
                if level not in levels:
                    continue
                v[row, self.own(i), : self.q + int(level > 2)] = 1
                for lower in range(i):
                    x[lower][row, self._reading(i, lower)] = 1
                if self.signed:
                    x[i][row, -1] = 1

    def _reading(self, i: int, lower: int) -> slice:
        """Rows of X_lower by which level i reads it."""
        start = (i - lower - 1) * self.m
        return slice(start, start + self.m)

    def _columns(self, lower: int) -> slice:
        """Columns of W_l that read h of the `lower`-th level (present levels are the first ones)."""
        return slice(self.q + lower * self.p, self.q + (lower + 1) * self.p)
