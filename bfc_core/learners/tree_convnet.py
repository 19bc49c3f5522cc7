"""Convolutions that follow the tree of a random hierarchy: filter and stride are the s symbols that one rule writes.

Layer l has s^(L − l) places of `width` channels, one for each symbol at height l; its features are all of them, place
by place. Source: Cagnetta et al., arXiv 2307.02129. Letters: K rows of the stack, n samples, p places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bfc_core.learners.base import Weights
from bfc_core.learners.mlp import MlpStack
from bfc_core.registry import deed
from bfc_core.specs.data import RandomHierarchy
from bfc_core.specs.model import TreeConvnet
from bfc_core.specs.train import TrainSpec


class TreeStack(MlpStack):
    """K networks; `W1` (width, s·v), then `Wl` (width, s·width), shared by all places of a layer."""

    @property
    def tree(self) -> RandomHierarchy:
        """The target, whose shape all rows share."""
        data = self.specs[0].data
        assert isinstance(data, RandomHierarchy)
        return data

    def fan_in(self, layer: int) -> int:
        return self.tree.branching * (self.tree.vocabulary if layer == 1 else self.width)

    def head_fan_in(self, layer: int) -> int:
        return int(self.width * self.tree.branching ** (self.tree.levels - layer))

    def _mapped(self, weights: Weights, layer: int, read: Tensor) -> Tensor:
        """The same map at every place: read (K, n, p·s·c) -> (K, n, p·width)."""
        count, places = read.shape[1], self.head_fan_in(layer) // self.width
        strings = read.expand(self.rows, -1, -1).reshape(self.rows, count * places, self.fan_in(layer))
        return super()._mapped(weights, layer, strings).view(self.rows, count, places * self.width)


@deed(TreeConvnet)
def tree_convnet(
    rows: Sequence[TrainSpec], read_dim: int, output_dim: int, device: torch.device, dtype: torch.dtype
) -> TreeStack:
    """The stack that trains `rows` on strings of one random hierarchy's shape."""
    return TreeStack(rows, read_dim, output_dim, device, dtype)
