"""What is told of a stack while it trains one stage: an iterator of (slot, record)."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bfc_core.learners.base import Weights
from bfc_core.records import Metric, Progress, Record
from bfc_core.training.checkpoints import Place, row_of, to_record
from bfc_core.training.divergence import LOST, diverged, fastest_layer, noise_factor
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.feeds import AHEAD
from bfc_core.training.gauge import Finding, Gauge
from bfc_core.training.members import Audience, Clock, Member
from bfc_core.training.outcome import Final, boundary_rows, result, watch
from bfc_core.training.plan import Node
from bfc_core.training.points import Points
from bfc_core.training.snapshots import snapshots
from bfc_core.training.stack import Entry, Stack


@dataclass
class Row:
    """One network of the stack, who listens to it, and when it is measured."""

    node: Node
    members: list[Member]
    points: Points
    steps: frozenset[int]

    def listeners(self, step: int) -> list[Member]:
        """Members to whom a record made after `step` updates is news."""
        return [member for member in self.members if member.listens(self.node.depth, step)]

    def entry(self) -> Entry | None:
        """The earliest place at which one of its members needs it."""
        found: Entry | None = None
        for member in self.members:
            place = member.place
            if member.live and place.stage <= self.node.depth and (found is None or place.step < found.step):
                found = Entry(place.step, place)
        return found


def rows_of(nodes: Sequence[Node], members: Mapping[int, Member]) -> list[Row]:
    """The rows of a stack of `nodes`."""
    rows = []
    for node in nodes:
        points = Points(node.spec, node.stage.steps)
        rows.append(Row(node, [members[slot] for slot in node.members], points, points.all()))
    return rows


class StageRun:
    """One stage of the rows of one stack."""

    def __init__(self, rows: Sequence[Row], evaluation: Evaluation) -> None:
        self.rows = list(rows)
        self.evaluation = evaluation
        self.stack = Stack([row.node for row in rows], [row.entry() for row in rows], evaluation)
        self.depth, self.steps = self.stack.depth, self.stack.stage.steps
        stack = self.stack
        self.gauge = Gauge(stack.learner, stack.plan, stack.specs, evaluation, stack.initial, stack.before)
        self.members = [member for row in rows for member in row.members]
        self.points = frozenset().union(*(row.steps for row in rows))
        self._spent = time.process_time()
        self._lost: set[int] = set()
        variances = [teacher.variance for teacher in stack.teachers]
        self._noise = [noise_factor(spec) for spec in stack.specs]
        self._limits = (
            LOST * torch.tensor(variances, dtype=torch.float64) * torch.tensor(self._noise, dtype=torch.float64)
        )

    def run(self, clock: Clock, audience: Audience) -> Iterator[tuple[int, Record]]:
        """Trains the stage to its end; yields only between two updates."""
        stack, points = self.stack, self.points
        if self.depth == 0 and stack.first == 0:
            yield from self._tell_start()
        if not self._heard():
            return
        yield from self._tell_progress(stack.first)
        for step in range(stack.first, self.steps):
            stack.update(step)
            done = step + 1
            if done % AHEAD == 0 or done in points:
                yield from self._settle(done)
            if done in points:
                self._end_early(done)
                yield from self._tell_point(done)
            if done == self.steps:
                break
            if clock.progress_due():
                audience.leave(self.members)
                if not self._heard():
                    return
                yield from self._tell_progress(done)
            if clock.checkpoint_due():
                yield from self._tell_checkpoint(done)
        yield from self._finish(clock)

    def _heard(self) -> bool:
        """Whether anybody still reads this stack."""
        return any(member.live for member in self.members)

    def _end_early(self, done: int) -> None:
        """Ends a `staged` stage, always of one row, at the point where its training error is below its threshold."""
        threshold = self.stack.stage.option("threshold")
        if threshold is None or self._mean_loss(0, done) >= threshold * self.stack.teachers[0].variance:
            return
        row = self.rows[0]
        self.steps = done
        self.rows[0] = replace(row, points=replace(row.points, steps=done))

    def _tell(self, row: Row, done: int, records: Sequence[Record]) -> Iterator[tuple[int, Record]]:
        for member in row.listeners(done):
            for record in records:
                yield member.slot, record

    def _tell_start(self) -> Iterator[tuple[int, Record]]:
        """Step 0: what the initial networks show before anything has trained, in all their layers."""
        stack = self.stack
        every = [range(len(spec.probes)) for spec in stack.specs]
        findings = yield from self._measure(0, every, [0 for _ in self.rows], stack.learner.layers)
        for row, finding in zip(self.rows, findings, strict=True):
            for member in row.listeners(0):
                member.place.readings += boundary_rows(0, finding)
                member.place.undefined = finding.undefined_since(member.place.undefined)
                watch(member.place, 0, finding)
            yield from self._tell(row, 0, finding.metrics)

    def _tell_point(self, done: int) -> Iterator[tuple[int, Record]]:
        """Training loss, test error, probes and snapshots of the rows that are due."""
        due = [i for i, row in enumerate(self.rows) if done in row.steps]
        # Onsets are told even of points that were heard before an interruption.
        if any(self._present(self.rows[i]) for i in due):
            yield from self._tell_due(done, due)
        for i in due:
            self.stack.window[i] = 0.0

    def _tell_due(self, done: int, due: Sequence[int]) -> Iterator[tuple[int, Record]]:
        probes = [row.points.probes(done) if i in due else [] for i, row in enumerate(self.rows)]
        tested = [row.node.offset + done if row.points.tests(done) else None for row in self.rows]
        self._findings = yield from self._measure(done, probes, tested, self.stack.stage.present)
        weights: Weights | None = None
        for i in due:
            if i in self._lost:
                continue
            row = self.rows[i]
            for member in self._present(row):
                watch(member.place, row.node.offset + done, self._findings[i])
            self._findings[i].metrics.insert(0, self._train_loss(i, done))
            records: list[Record] = list(self._findings[i].metrics)
            if row.points.keeps(done):
                weights = weights if weights is not None else self.stack.program.weights()
                records += snapshots(row.node, row.points, done, row_of(weights, i), self._seen(weights, i))
            yield from self._tell(row, done, records)

    def _present(self, row: Row) -> list[Member]:
        """Members that are read and have this stage before them."""
        return [member for member in row.members if member.live and member.place.stage <= self.depth]

    def _measure(self, done: int, probes: Sequence[Sequence[int]], tested: Sequence[int | None],
                 layers: tuple[int, ...]) -> Generator[tuple[int, Record], None, list[Finding]]:  # fmt: skip
        """Test errors (where `tested` gives a global step) and readings of the probes at these positions, by row.

        Yields the failures of rows whose test error is no longer a number; lost rows have no findings.
        """
        steps = [row.node.offset + done for row in self.rows]
        findings = [Finding() for _ in self.rows]
        if any(step is not None for step in tested):
            findings = self.gauge.test(self.stack.program, tested)
            yield from self._lose(done, findings)
            findings = [Finding() if i in self._lost else one for i, one in enumerate(findings)]
        if any(probes):
            weights = self.stack.program.weights()
            stage = self.depth + (done > 0)
            readings = self.gauge.probe(weights, probes, steps, stage, layers, self._lost)
            for finding, read in zip(findings, readings, strict=True):
                finding.metrics += read.metrics
                finding.undefined |= read.undefined
        return findings

    def _train_loss(self, row: int, done: int) -> Metric:
        """The mean training loss since the row's last point."""
        step = self.rows[row].node.offset + done
        return Metric(step, "train_loss", self._mean_loss(row, done), unit="mean square")

    def _mean_loss(self, row: int, done: int) -> float:
        last = max((point for point in self.rows[row].steps if point < done), default=0)
        return float(self.stack.window[row]) / (done - last)

    def _seen(self, weights: Weights, row: int) -> dict[str, Tensor]:
        """Features of the row on its fixed test inputs, by name, with the inputs themselves."""
        kept = self.rows[row].node.spec.snapshots.features
        if kept is None:
            return {}
        return self.gauge.features_on_test(weights, row, kept.inputs)

    def _settle(self, done: int) -> Iterator[tuple[int, Record]]:
        """Adds up the last losses; failures of the members of rows whose loss is no longer a number."""
        first, losses = self.stack.settle(done)
        bad = ~(losses < self._limits)
        if not bool(bad.any()):
            return
        for i in bad.any(dim=0).nonzero().flatten().tolist():
            if i not in self._lost:
                self._lost.add(i)
                step = int(bad[:, i].nonzero()[0])
                yield from self._fail(i, first + step + 1, "training loss", float(losses[step, i]))

    def _lose(self, done: int, findings: Sequence[Finding]) -> Iterator[tuple[int, Record]]:
        """Failures of the rows whose last update left no network: its loss would be read at the next one."""
        for i, finding in enumerate(findings):
            relative = finding.relative_test_error
            if i not in self._lost and relative is not None and not relative < LOST * self._noise[i]:
                self._lost.add(i)
                variance = self.stack.teachers[i].variance
                yield from self._fail(i, done, "test error", relative * variance)

    def _fail(self, row: int, done: int, what: str, error: float) -> Iterator[tuple[int, Record]]:
        stack, node = self.stack, self.rows[row].node
        layer = fastest_layer(stack.learner, row_of(stack.program.weights(), row), row_of(stack.before, row))
        variance = stack.teachers[row].variance
        failure = diverged(node.offset + done, what, error, variance, layer, node.stage, node.spec)
        for member in self.rows[row].listeners(done):
            member.live = False
            yield member.slot, failure

    def _tell_progress(self, done: int) -> Iterator[tuple[int, Record]]:
        for row in self.rows:
            for member in row.listeners(done):
                yield member.slot, Progress(row.node.offset + done, member.total)

    def _tell_checkpoint(self, done: int) -> Iterator[tuple[int, Record]]:
        self._add_seconds()
        places = self.stack.places(done)
        for row, place in zip(self.rows, places, strict=True):
            for member in row.listeners(done):
                yield member.slot, to_record(_as_told(place, member), row.node.offset + done)

    def _add_seconds(self) -> None:
        """Shares the processor time since the last call among the rows."""
        now = time.process_time()
        share = (now - self._spent) / len(self.rows)
        self._spent = now
        for member in self.members:
            if member.live and member.place.stage <= self.depth:
                member.place.seconds += share

    def _finish(self, clock: Clock) -> Iterator[tuple[int, Record]]:
        """Ends the stage: its members go on to the next, with a checkpoint, or have their result."""
        self._add_seconds()
        weights = self.stack.program.weights()
        for i, row in enumerate(self.rows):
            for member in row.members:
                if not member.live or member.place.stage > self.depth:
                    continue
                end = row.node.offset + self.steps
                yield member.slot, Progress(end, member.total)
                self._advance(member, i, row_of(weights, i))
                if row.node.last:
                    member.live = False
                    yield member.slot, result(member, self._final(i))
                else:
                    yield member.slot, to_record(member.place, end)
        clock.checkpointed()

    def _advance(self, member: Member, row: int, weights: dict[str, Tensor]) -> None:
        finding, place = self._findings[row], member.place
        member.place = Place(
            stage=self.depth + 1,
            before=weights,
            readings=place.readings + boundary_rows(self.depth + 1, finding),
            taken=[*place.taken, self.steps],
            undefined=finding.undefined_since(place.undefined),
            onsets=place.onsets,
            watched=place.watched,
            seconds=place.seconds,
        )

    def _final(self, row: int) -> Final:
        stack, finding = self.stack, self._findings[row]
        tail_loss = float(stack.tail[row]) / stack.tail_count
        if self.steps < stack.stage.steps:
            tail_loss = finding.value("train_loss") or 0.0
        return Final(stack.teachers[row], finding, tail_loss, stack.learner)


def _as_told(place: Place, member: Member) -> Place:
    """The row's place as the member's own: with what it has been told in earlier stages."""
    told = member.place
    return replace(
        place,
        readings=told.readings,
        taken=told.taken,
        undefined=told.undefined,
        onsets=told.onsets,
        watched=told.watched,
        seconds=told.seconds,
    )
