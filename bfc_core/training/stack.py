"""One stage of a stack of K networks: its weights, its batches, its updates. What is told of it is `stage_run`'s.

The rows of a stack compute in step. A row whose members are all gone, or stand at a later step, computes unread;
none of its numbers enters another row, so a member's numbers depend on the stack's shape alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bfc_core import specs
from bfc_core.learners.autograd_program import AutogradProgram
from bfc_core.learners.base import Learner, Plan, Program
from bfc_core.learners.linearised_program import LinearisedProgram
from bfc_core.registry import deed_of
from bfc_core.specs.data import Synthetic
from bfc_core.training.checkpoints import Place, row_of
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.feeds import AHEAD, Feed, FixedFeed, FreshFeed
from bfc_core.training.optimizers import StackOptimizer
from bfc_core.training.plan import Node
from bfc_core.training.rates import rate_factor

#: The last part of a stage, whose training error says whether a run is stuck.
TAIL = 0.05


@dataclass(frozen=True)
class Entry:
    """Where a row begins to compute what its members need: `step` updates into the stage, from `place`."""

    step: int
    place: Place


class Stack:
    """K networks in one stage; `entries` says for each row where it begins, None for a row that nobody reads."""

    def __init__(
        self, nodes: Sequence[Node], entries: Sequence[Entry | None], evaluation: Evaluation
    ) -> None:
        self.nodes, self.entries, self.evaluation = list(nodes), list(entries), evaluation
        self.stages = [node.stage for node in nodes]
        self.stage, self.depth = self.stages[0], nodes[0].depth
        self.specs = [node.spec for node in nodes]
        self.teachers = [evaluation.teacher(spec) for spec in self.specs]
        self.learner = self._make_learner()
        self.plan = Plan(
            present=self.stage.present,
            train=tuple(stage.train for stage in self.stages),
            backward=tuple(stage.backward for stage in self.stages),
            batch=self.stage.batch,
            hold=self.stage.hold,
        )
        self._entering = {entry.step for entry in entries if entry is not None and entry.step > 0}
        self.first = min(entry.step for entry in entries if entry is not None)
        self._load_start()
        self.optimizer = StackOptimizer(self.program, [stage.optimizer for stage in self.stages])
        self.feed = self._make_feed()
        self._make_sums()
        self._make_penalty()

    def _make_learner(self) -> Learner:
        first, where = self.teachers[0], self.evaluation
        make = deed_of(self.specs[0].model)
        learner: Learner = make(self.specs, first.read_dim, first.output_dim, where.device, where.dtype)
        return learner

    def _load_start(self) -> None:
        """Weights as initialised, before the stage, and as it starts (some layers drawn anew)."""
        self.initial = self.learner.initial()
        self.before = {name: block.clone() for name, block in self.initial.items()}
        for row, entry in enumerate(self.entries):
            if entry is not None:
                place_row(self.before, row, entry.place.before)
        start = {name: block.clone() for name, block in self.before.items()}
        for row, stage in enumerate(self.stages):
            if stage.reinitialise:
                place_row(start, row, self.learner.redrawn(row, stage.reinitialise, self.depth))
        self.program = self._make_program()
        self.program.load(start)

    def _make_program(self) -> Program:
        if self.stage.mode == "lazy":
            return LinearisedProgram(self.learner, self.plan)
        return self.learner.program(self.plan) or AutogradProgram(self.learner, self.plan)

    def _make_feed(self) -> Feed:
        data, where = self.specs[0].data, self.evaluation
        assert isinstance(data, Synthetic)
        if data.samples == "fresh":
            return FreshFeed(
                self.specs, self.teachers, self.depth, self.stage.batch, where.device, where.dtype
            )
        tables, sets = where.training_tables(self.specs)
        orders = [(specs.seeds(spec.seed).order, self.depth) for spec in self.specs]
        return FixedFeed(tables, data.samples, sets, orders, self.stage.batch)

    def _make_sums(self) -> None:
        """Sums of the training loss (K,), since the last point and over the tail, and the losses not yet added."""
        rows, steps, where = len(self.nodes), self.stage.steps, self.evaluation
        self.window = torch.zeros(rows, dtype=torch.float64, device=where.device)
        self.tail = self.window.clone()
        self.tail_count = max(1, round(TAIL * steps))
        #: norms of the residuals of the steps since the last `settle`, at position step mod AHEAD
        self._norms = torch.zeros(AHEAD, rows, dtype=where.dtype, device=where.device)
        self._norm_of_step = list(self._norms)
        entered = [entry.place.pending for entry in self.entries if entry and entry.step == self.first]
        self._settled = self.first - len(entered[0])
        self._factors = [rate_factor(self.stage.optimizer, step, steps) for step in range(steps)]

    def _make_penalty(self) -> None:
        """2μ for each held weight, laid out as the values; None where nothing is held by a penalty."""
        self._pull: Tensor | None = None
        if self.stage.hold is None or self.stage.hold.penalty is None:
            return
        named = {
            name: torch.zeros_like(block) for name, block in self.program.split(self.program.values).items()
        }
        for row, stage in enumerate(self.stages):
            assert stage.hold is not None
            for name in named:
                if name[0] == "W" and self.learner.owner(name) in stage.hold.layers:
                    named[name][row] = 2 * (stage.hold.penalty or 0.0)
        self._pull = torch.zeros_like(self.program.values)
        self.program.join(named, self._pull)
        self._anchor = self.program.values.clone()

    def update(self, step: int) -> None:
        """The stage's update number `step`, from 0, of every row."""
        if step in self._entering:
            self._enter_rows(step)
        self.program.gradient(self.feed.batch(step), self._norm_of_step[step % AHEAD])
        if self._pull is not None:
            self.program.gradients.addcmul_(self._pull, self.program.values - self._anchor)
        self.optimizer.step(step, self._factors[step])

    def settle(self, done: int) -> tuple[int, Tensor]:
        """Adds the losses since the last call to the sums, after `done` updates; at least every `AHEAD` of them.

        Returns the first of these steps, and their mean squared errors (steps, K) in float64 on the CPU.
        """
        first, start = self._settled, self._settled % AHEAD
        losses = self._norms[start : start + done - first].double().square() / self.stage.batch
        self.window += losses.sum(dim=0)
        tail = self.stage.steps - self.tail_count
        if done > tail:
            self.tail += losses[max(0, tail - first) :].sum(dim=0)
        self._settled = done
        return first, losses.cpu()

    def _enter_rows(self, step: int) -> None:
        """Rows whose members stand inside the stage take their state when the stack gets there."""
        for row, entry in enumerate(self.entries):
            if entry is not None and entry.step == step:
                self._enter(row, entry.place)

    def _enter(self, row: int, place: Place) -> None:
        for name, flat in self._inside().items():
            named = {key: block.clone() for key, block in self.program.split(flat).items()}
            place_row(named, row, place.inside[name])
            self.program.join(named, flat)
        self.window[row], self.tail[row] = place.window, place.tail
        start = self._settled % AHEAD
        for position, norm in enumerate(place.pending):
            self._norms[start + position, row] = norm

    def _inside(self) -> dict[str, Tensor]:
        return {"values": self.program.values, **self.optimizer.moments}

    def places(self, step: int) -> list[Place]:
        """Each row's state after `step` updates, without what its members have told so far."""
        inside = {name: self.program.split(flat) for name, flat in self._inside().items()}
        start = self._settled % AHEAD
        return [
            Place(
                stage=self.depth,
                step=step,
                before=row_of(self.before, row),
                inside={name: row_of(blocks, row) for name, blocks in inside.items()},
                window=float(self.window[row]),
                tail=float(self.tail[row]),
                pending=self._norms[start : start + step - self._settled, row].tolist(),
            )
            for row in range(len(self.nodes))
        ]


def place_row(blocks: Mapping[str, Tensor], row: int, named: Mapping[str, Tensor]) -> None:
    """Copies one row's named blocks into blocks (K, …)."""
    for name, block in named.items():
        blocks[name][row] = block.to(blocks[name])
