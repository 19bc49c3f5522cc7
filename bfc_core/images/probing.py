"""Measures of a run in progress: errors, and the probes of its spec at every block.

Probes of the class (`linear`, `information_gap`) are fitted on training pictures without augmentation and read on the
test part. All others see the network as a view, with the test part for inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from bfc_core.records import Metric, Record
from bfc_core.registry import deed_of
from bfc_core.specs import probe as words
from bfc_core.specs.vocabulary import unit_of

from .class_probes import ClassProbes, Found
from .pictures import Picture, paint
from .stage import Plan
from .taps import Taps, tapped, whole_batches
from .trainee import Trainee
from .view import ImageView

_BY_CLASS = words.Linear | words.InformationGap | words.TwoLayer


class Prober:
    """Reads a trainee; keeps what was read at stage ends for the result's tables."""

    def __init__(self, trainee: Trainee) -> None:
        self.trainee = trainee
        self.probes = trainee.spec.probes
        #: (step, stage, probe's key, block or None, value), of initialisation and stage ends
        self.rows: list[list[Any]] = []
        #: the class probes of the newest stage end, with its step
        self._newest: tuple[int, ClassProbes] | None = None
        #: features of the anchors by block, where the newest reading's test pass gave them all, with its step
        self._anchored: tuple[int, dict[int, Tensor]] | None = None
        #: which test inputs were right at the newest reading, with its step
        self._right: tuple[int, Tensor] | None = None

    def due(self, step: int) -> bool:
        """Whether a probe asks for this step within a stage."""
        return any(self._due(probe, step) for probe in self.probes)

    @staticmethod
    def _due(probe: words.Probe, step: int) -> bool:
        return probe.every is not None and step > 0 and step % probe.every == 0

    def readings(self, plan: Plan, step: int, done: int, end: bool) -> list[Record]:
        """The errors, and every probe that is due (all at initialisation and stage ends), as metrics.

        At initialisation every block is read, also those that are not present yet.
        """
        found = self._kept(self._all(plan, step, done, end, initial=done == 0), plan, done, end)
        return list(found)

    def closing(self, plan: Plan, done: int) -> list[Record]:
        """What is read once, at the end of a run: linear probes of shuffled labels."""
        probes = [probe for probe in self.probes if isinstance(probe, words.Linear)]
        if not probes:
            return []
        classes = (
            self._newest[1] if self._newest is not None and self._newest[0] == done else self._anew(plan)
        )
        return list(self._kept(chain.from_iterable(map(classes.shuffled, probes)), plan, done, end=True))

    def _anew(self, plan: Plan) -> ClassProbes:
        """The class probes of the last stage's end, in a process that has not made them."""
        taps = self._taps(self.probes, plan.stage.present)
        self.trainee.scores(plan, self.trainee.data.test.inputs[: whole_batches(taps.count)], taps)
        return ClassProbes(self.trainee, plan.stage.present, taps.features())

    @property
    def paints(self) -> bool:
        """Whether the weights before the last stage are wanted at the end."""
        return any(isinstance(probe, words.Pictures) for probe in self.probes)

    def pictures(self, plan: Plan) -> list[Picture]:
        """What the blocks look for, before and after the last stage, for every `pictures` probe."""
        view = ImageView(self.trainee, plan, plan.stage.steps)
        painted = (paint(probe, view) for probe in self.probes if isinstance(probe, words.Pictures))
        return list(chain.from_iterable(painted))

    def _kept(self, found: Found, plan: Plan, done: int, end: bool) -> Iterator[Record]:
        """Finite values as metrics; those of stage ends also as rows of the tables."""
        for key, block, value in found:
            if math.isfinite(value):
                unit = unit_of(key) or ("part" if self.trainee.data.classes else "Var y")
                yield Metric(done, key, value, block, unit)
                if end:
                    self.rows.append([done, plan.index, key, block, value])

    def _all(self, plan: Plan, step: int, done: int, end: bool, initial: bool) -> Found:
        numeric = [probe for probe in self.probes if not isinstance(probe, words.Pictures)]
        due = [probe for probe in numeric if end or self._due(probe, step)]
        blocks = range(1, len(self.trainee.network.blocks) + 1) if initial else plan.stage.present
        taps = self._taps(due, blocks)
        yield from self.errors(plan, done, taps)
        features = taps.features()
        self._anchored = self._anchors_of(features, done)
        classes, view = ClassProbes(self.trainee, blocks, features), ImageView(self.trainee, plan, step)
        if end and not initial:
            self._newest = (done, classes)
        for probe in due:
            if isinstance(probe, words.Linear):
                yield from classes.linear(probe, initial)
            elif isinstance(probe, words.InformationGap):
                yield from classes.information_gap(probe)
            elif isinstance(probe, words.TwoLayer):
                yield from classes.two_layer(probe, initial)
            else:
                for reading in deed_of(probe)(probe, view):
                    if reading.undefined is None:
                        yield reading.key, reading.layer, float(reading.values[0].detach())

    @staticmethod
    def _taps(probes: Sequence[words.Probe], blocks: Iterable[int]) -> Taps:
        """Taps of the test pass for those of `probes` that read classes."""
        counts = [probe.inputs for probe in probes if isinstance(probe, _BY_CLASS)]
        return Taps(blocks if counts else (), max(counts, default=0))

    def errors(self, plan: Plan, done: int, taps: Taps | None = None) -> Found:
        """`test_error` and `validation_error`: part of wrong classes, or mean squared error over variance."""
        data = self.trainee.data
        scores = self.trainee.scores(plan, data.test.inputs, taps)
        self._right = (done, scores.argmax(1) == data.test.labels)
        yield "test_error", None, self._error(scores, data.test.labels)
        held = self.trainee.scores(plan, data.validation.inputs)
        yield "validation_error", None, self._error(held, data.validation.labels)

    def anchors(self, plan: Plan, done: int, count: int) -> dict[int, Tensor]:
        """Block -> features of the first `count` test inputs after `done` steps, those of the test pass if it gave them."""
        blocks, inputs = plan.stage.present, self.trainee.data.test.inputs
        if self._anchored is not None and self._anchored[0] == done:
            return {block: self._anchored[1][block] for block in blocks}
        found = tapped(self.trainee, inputs[: whole_batches(count)], blocks)
        return {block: features[:count] for block, features in found.items()}

    def _anchors_of(self, tested: dict[int, Tensor], done: int) -> tuple[int, dict[int, Tensor]] | None:
        """Copies of what a feature snapshot keeps of `tested`, block -> features: the rest need not outlive a reading."""
        kept = self.trainee.spec.snapshots.features
        count = 0 if kept is None else min(kept.inputs, len(self.trainee.data.test))
        if not count or not tested or any(len(z) < count for z in tested.values()):
            return None
        return done, {block: z[:count].clone() for block, z in tested.items()}

    def answers(self, plan: Plan, done: int) -> Tensor | None:
        """Which test inputs the network classifies rightly (n,) after `done` steps; None for real targets."""
        if not self.trainee.data.classes:
            return None
        if self._right is not None and self._right[0] == done:
            return self._right[1]
        test = self.trainee.data.test
        return self.trainee.scores(plan, test.inputs).argmax(1) == test.labels

    def _error(self, scores: Tensor, labels: Tensor) -> float:
        if self.trainee.data.classes:
            return float((scores.argmax(1) != labels).double().mean())
        residual = scores[:, 0].double() - labels.double()
        variance = labels.double().var(correction=0).clamp_min(torch.finfo(torch.float64).tiny)
        return float((residual**2).mean() / variance)

    def last(self, key: str) -> float | None:
        """The newest kept value of a key without blocks."""
        values = [row[4] for row in self.rows if row[2] == key and row[3] is None]
        return values[-1] if values else None

    def state(self) -> list[list[Any]]:
        return [list(row) for row in self.rows]

    def restore(self, rows: list[list[Any]]) -> None:
        self.rows = [list(row) for row in rows]
