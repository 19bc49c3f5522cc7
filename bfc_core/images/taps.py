"""Features of every block from one forward pass.

A block's features are its output pooled to a square grid of at most `WIDEST` numbers (channels × positions), so
that early blocks keep where things are and late ones stay as they are. Vectors are taken whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from .trainee import Trainee

WIDEST = 256
#: Inputs of one forward pass outside training; a constant, since convolutions round by the batch's size.
BATCH = 512


class Taps:
    """Collects pooled features of `blocks` for the first `count` inputs that pass."""

    def __init__(self, blocks: Iterable[int], count: int) -> None:
        self.count = count
        self._found: dict[int, list[Tensor]] = {block: [] for block in blocks}
        self.last = max(self._found, default=0)

    def take(self, block: int, x: Tensor, start: int) -> None:
        """x is the output of `block` for inputs number `start` and following."""
        if block in self._found and start < self.count:
            self._found[block].append(pooled(x[: self.count - start]))

    def features(self) -> dict[int, Tensor]:
        """Block -> (n, d) float32."""
        return {block: torch.cat(rows) for block, rows in self._found.items()}


def whole_batches(count: int) -> int:
    """`count`, up to the end of its last batch: features of so many inputs have the bits that any longer pass gives."""
    return -(-count // BATCH) * BATCH


def tapped(trainee: Trainee, stored: Tensor, blocks: Sequence[int]) -> dict[int, Tensor]:
    """Block -> features (n, d) of stored inputs (n, …), in evaluation mode, all from one pass."""
    taps = Taps(blocks, len(stored))
    with trainee.reading():
        for number, rows in enumerate(torch.split(stored, BATCH)):
            x = trainee.inputs_of(rows)
            for block in range(1, taps.last + 1):
                x = trainee.network(x, block, block)
                taps.take(block, x, number * BATCH)
    return taps.features()


def pooled(x: Tensor) -> Tensor:
    """x (n, c, h, w) -> (n, c·s²) with the largest s such that c·s² ≤ `WIDEST`, at least 1; (n, d) -> (n, d)."""
    if x.ndim == 2:
        return x.float()
    side = min(x.shape[2], x.shape[3])
    grid = 1
    while 2 * grid <= side and x.shape[1] * (2 * grid) ** 2 <= WIDEST:
        grid *= 2
    return functional.adaptive_avg_pool2d(x.float(), grid).flatten(1)
