"""What a pack is measured on: its targets, test sets and fresh inputs, each made once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.learners.base import Program
from bfc_core.specs.train import TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher
from bfc_core.targets.samples import teacher_of, test_set, training_set
from bfc_core.training.feeds import data_key, table

#: Numbers of one test batch over all rows: bounds memory, and keeps a batch near the processor's cache.
CHUNK = 1 << 20


class Evaluation:
    """Targets and inputs of a pack, shared by members of equal data."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._teachers: dict[Hashable, Teacher] = {}
        self._tests: dict[Hashable, tuple[Tensor, Tensor]] = {}
        self._inputs: dict[Hashable, Tensor] = {}
        self._tables: dict[Hashable, Tensor] = {}
        self._joined: tuple[tuple[Hashable, ...], Tensor] | None = None

    def teacher(self, spec: TrainSpec) -> Teacher:
        """The target of a spec; a law of sampling does not change it."""
        key = (spec.data, specs.seeds(spec.seed).target)
        if key not in self._teachers:
            self._teachers[key] = teacher_of(spec)
        return self._teachers[key]

    def test(self, spec: TrainSpec) -> tuple[Tensor, Tensor]:
        """Test u (n, q) and y (n, o) on the device."""
        key = data_key(spec)
        if key not in self._tests:
            teacher = self.teacher(spec)
            x, y = test_set(spec, teacher)
            self._tests[key] = (teacher.embed(x).to(self.device, self.dtype), y.to(self.device, self.dtype))
        return self._tests[key]

    def training_tables(self, rows: Sequence[TrainSpec]) -> tuple[Tensor, list[int]]:
        """Rows [u, 1, y] of the fixed training sets, equal ones once, one below the other; and each row's set."""
        keys = [data_key(spec) for spec in rows]
        for key, spec in zip(keys, rows, strict=True):
            if key not in self._tables:
                teacher = self.teacher(spec)
                x, y = training_set(spec, teacher)
                self._tables[key] = table(x, y, teacher).to(self.device, self.dtype)
        wanted = tuple(dict.fromkeys(keys))
        if self._joined is None or self._joined[0] != wanted:
            tables = [self._tables[key] for key in wanted]
            self._joined = (wanted, tables[0] if len(tables) == 1 else torch.cat(tables))
        return self._joined[1], [wanted.index(key) for key in keys]

    def inputs(self, spec: TrainSpec, role: str, count: int) -> Tensor:
        """Fresh x (count, d): the same for every step and arm of one data seed."""
        key = (data_key(spec), role, count)
        if key not in self._inputs:
            generator = stream("data", specs.seeds(spec.seed).data, "fresh inputs", role, count)
            self._inputs[key] = self.teacher(spec).inputs(count, generator).to(self.device, self.dtype)
        return self._inputs[key]

    @torch.no_grad()
    def errors(self, program: Program, rows: Sequence[TrainSpec]) -> tuple[Tensor, Tensor]:
        """Mean squared test error (K,) and part of test inputs with the wrong largest output (K,), in float64."""
        tests = [self.test(spec) for spec in rows]
        count = len(tests[0][0])
        size = max(256, CHUNK // (len(rows) * tests[0][0].shape[1]))
        squared = torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        wrong = torch.zeros_like(squared)
        for start in range(0, count, size):
            u = torch.stack([u[start : start + size] for u, _ in tests])
            y = torch.stack([y[start : start + size] for _, y in tests])
            output = program.outputs(u)
            squared += (output - y).double().square().sum(dim=(1, 2))
            if y.shape[2] > 1:
                wrong += (output.argmax(dim=2) != y.argmax(dim=2)).sum(dim=1)
        return squared / count, wrong / count
