"""A pack of trainings as one iterator of (slot, record): depth by depth, stack by stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from bfc_core.records import Checkpoint, Record
from bfc_core.specs.train import TrainSpec
from bfc_core.training.checkpoints import from_record
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.lazy import LazyRun
from bfc_core.training.members import Audience, Clock, Member
from bfc_core.training.plan import nodes_by_depth, stacks
from bfc_core.training.stage_run import StageRun, rows_of


def train_pack(
    pack: Sequence[TrainSpec],
    *,
    resume: Mapping[int, Checkpoint],
    audience: Audience,
    checkpoint_now: Callable[[], bool] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[tuple[int, Record]]:
    """Trains all of `pack`; every member ends with one Result or Failure, unless nobody reads it."""
    members = {slot: _member(slot, spec, resume.get(slot), audience) for slot, spec in enumerate(pack)}
    evaluation = Evaluation(device, dtype)
    clock = Clock([member for member in members.values() if member.live], checkpoint_now)
    for level in nodes_by_depth(pack):
        for nodes in stacks(level):
            audience.leave(list(members.values()))
            rows = rows_of(nodes, members)
            if any(row.entry() is not None for row in rows):
                if nodes[0].stage.mode == "lazy":
                    # The network's symmetries make its Jacobian singular: rounding of float32 would be inverted.
                    exact = Evaluation(device, torch.float64)
                    yield from LazyRun(rows, exact).run(clock, audience)
                else:
                    yield from StageRun(rows, evaluation).run(clock, audience)


def _member(slot: int, spec: TrainSpec, checkpoint: Checkpoint | None, audience: Audience) -> Member:
    member = Member(slot, spec, live=audience.wants(slot))
    if checkpoint is not None:
        member.place = from_record(checkpoint)
        member.heard = (member.place.stage, member.place.step)
    return member
