"""Batches for a stack: rows [u, 1, y], one table for all rows, in an order that depends on (seed, stage) alone.

Position t of a stage reads entry t mod N of permutation t div N, so any step's batch can be made without the ones
before it, and a checkpoint need not hold a generator. Samples are iid, so neighbours are read together (`GROUP`)
where the numbers allow: one random access to memory in place of four, which is a fifth of a small model's step.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.specs.data import Synthetic
from bfc_core.specs.train import TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher
from bfc_core.targets.samples import columns, noisy

#: Steps whose batches are prepared at once; a constant, so that draws do not depend on anything but the spec.
AHEAD = 16
#: Neighbouring samples that a permutation keeps together.
GROUP = 4


class Feed(Protocol):
    """Batches of one stage for every row of a stack."""

    def batch(self, step: int) -> Tensor:
        """(K, B, q + 1 + o) for the stage's `step`; valid until the next call."""
        ...


def table(x: Tensor, y: Tensor, teacher: Teacher) -> Tensor:
    """x (n, d), y (n, o) -> rows [u, 1, y] (n, q + 1 + o)."""
    u = teacher.embed(x)
    return torch.cat([u, torch.ones(len(u), 1, dtype=u.dtype, device=u.device), y], dim=1)


class FixedFeed:
    """Batches of fixed training sets, gathered from one table that rows of equal data share."""

    def __init__(self, tables: Tensor, samples: int, data_of_row: Sequence[int], orders: Sequence[tuple[int, int]],
                 batch: int) -> None:  # fmt: skip
        """`tables` (sets · N, columns); `orders` is each row's (order seed, stage)."""
        group = GROUP if samples % GROUP == 0 and batch % GROUP == 0 else 1
        columns = tables.shape[1]
        self.tables = tables.view(-1, group * columns)
        self.samples, self.size = samples // group, batch // group
        self.orders = list(orders)
        self._offsets = [self.samples * position for position in data_of_row]
        self._start = -1
        self._ahead = torch.empty(AHEAD, len(orders), self.size, dtype=torch.int64)
        self._indices = self._ahead.view(AHEAD, -1).unbind()
        self._permutations: dict[tuple[int, int], dict[int, Tensor]] = {}
        self._out = tables.new_empty(len(orders) * self.size, group * columns)
        self._batch = self._out.view(len(orders), batch, columns)

    def batch(self, step: int) -> Tensor:
        start = step - step % AHEAD
        if self._start != start:
            self._look_ahead(start)
        torch.index_select(self.tables, 0, self._indices[step - start], out=self._out)
        return self._batch

    def _look_ahead(self, start: int) -> None:
        """Rows of the table for steps start … start + AHEAD − 1."""
        self._start = start
        found: dict[tuple[int, int], Tensor] = {}
        for row, (order, offset) in enumerate(zip(self.orders, self._offsets, strict=True)):
            if order not in found:
                positions = self._positions(order, start * self.size, AHEAD * self.size)
                found[order] = positions.view(AHEAD, self.size)
            torch.add(found[order], offset, out=self._ahead[:, row])
        if self.tables.device.type != "cpu":
            self._indices = self._ahead.view(AHEAD, -1).to(self.tables.device).unbind()

    def _positions(self, order: tuple[int, int], start: int, count: int) -> Tensor:
        """Entries start … start + count − 1 of the row's endless sequence of permutations."""
        first, last = start // self.samples, (start + count - 1) // self.samples
        known = self._permutations.get(order, {})
        epochs = {
            epoch: known[epoch] if epoch in known else permutation(*order, epoch, self.samples)
            for epoch in range(first, last + 1)
        }
        self._permutations[order] = epochs
        begin = start - first * self.samples
        return torch.cat(list(epochs.values()))[begin : begin + count]


def permutation(seed: int, stage: int, epoch: int, samples: int) -> Tensor:
    """The order in which an epoch of a stage reads its samples (or groups of them)."""
    return torch.randperm(samples, generator=stream("order", seed, stage, epoch))


class FreshFeed:
    """New inputs at each step, in memory that does not grow with the number of steps."""

    def __init__(self, rows: Sequence[TrainSpec], teachers: Sequence[Teacher], stage: int, batch: int,
                 device: torch.device, dtype: torch.dtype) -> None:  # fmt: skip
        self.rows, self.teachers, self.stage, self.size = list(rows), list(teachers), stage, batch
        self.device, self.dtype = device, dtype
        self._ahead: tuple[int, Tensor] | None = None

    def batch(self, step: int) -> Tensor:
        start = step - step % AHEAD
        if self._ahead is None or self._ahead[0] != start:
            self._ahead = (start, self._draw(start // AHEAD))
        first = (step - start) * self.size
        return self._ahead[1][:, first : first + self.size]

    def _draw(self, block: int) -> Tensor:
        """(K, AHEAD · B, columns): rows of equal data and order share one draw."""
        found: dict[Hashable, Tensor] = {}
        keys = [(spec.data, specs.seeds(spec.seed).target, *self._names(spec, block)) for spec in self.rows]
        for key, spec, teacher in zip(keys, self.rows, self.teachers, strict=True):
            if key not in found:
                found[key] = self._draw_row(spec, teacher, block)
        return torch.stack([found[key] for key in keys])

    def _draw_row(self, spec: TrainSpec, teacher: Teacher, block: int) -> Tensor:
        data = spec.data
        assert isinstance(data, Synthetic)
        seed, *names = self._names(spec, block)
        x = teacher.inputs(AHEAD * self.size, stream("data", seed, "fresh", *names))
        x = x.to(self.device, self.dtype)
        y = noisy(columns(teacher.labels(x)), data, teacher, stream("data", seed, "fresh noise", *names))
        return table(x, y, teacher)

    def _names(self, spec: TrainSpec, block: int) -> tuple[int, ...]:
        roles = specs.seeds(spec.seed)
        return (roles.data, roles.order, self.stage, block)


def data_key(spec: TrainSpec) -> Hashable:
    """What two specs must share to see the same target, training set and test inputs."""
    roles = specs.seeds(spec.seed)
    return (spec.data, roles.target, roles.data)


__all__ = ["AHEAD", "Feed", "FixedFeed", "FreshFeed", "data_key", "permutation", "table"]
