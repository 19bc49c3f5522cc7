"""Several trainings of one network on the same data: stages that they share are trained once.

The members' stages form a tree. It is walked depth first, in the order of members; a stage's records go to every
member that has it, and each branch starts from the checkpoint at its parent's end. A member's numbers are those it
has alone, whoever it is packed with.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bfc_core import specs
from bfc_core.records import Checkpoint, Failure, Progress, Record
from bfc_core.specs import TrainSpec
from bfc_core.specs.data import Uploaded
from bfc_core.threads import use_threads

from .data import Data, prepare
from .datasets import DatasetError
from .engine import Inputs, Run
from .stage import digests

_FRESH = Checkpoint(0, {}, {"engine": "images", "stages": [], "stage": 0, "step": 0})


@dataclass
class Member:
    """One slot: its stages by name, the newest checkpoint, and the step up to which it has been told everything."""

    slot: int
    spec: TrainSpec
    latest: Checkpoint
    live: bool
    names: tuple[str, ...] = ()
    heard: int = -1
    total: int = field(init=False)

    def __post_init__(self) -> None:
        told = specs.canonical(specs.dump(self.spec)["probes"])
        kept = specs.canonical(specs.dump(self.spec)["snapshots"])
        self.names = tuple(f"{name}/{told}/{kept}" for name in digests(self.spec))
        self.total = specs.total_steps(self.spec)
        past = self.latest.state["stages"]
        if past != list(digests(self.spec)[: len(past)]):
            raise ValueError("a pack's member goes on from its own checkpoints only; run it alone to fork it")
        self.heard = self.latest.step if past else -1

    @property
    def place(self) -> tuple[int, int]:
        """(stage, step within it)."""
        return self.latest.state["stage"], self.latest.state["step"]


def train_pack(
    pack: Sequence[TrainSpec],
    *,
    resume: Mapping[int, Checkpoint] | None = None,
    active: Container[int] | None = None,
    gone: Callable[[], set[int]] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    threads: int = 1,
    checkpoint_now: Callable[[], bool] | None = None,
    inputs: Inputs | None = None,
) -> Iterator[tuple[int, Record]]:
    """The records of every active member, as (slot, record); each ends with one Result or Failure."""
    use_threads(threads)
    found = resume or {}
    members = [
        Member(slot, spec, found.get(slot, _FRESH), active is None or slot in active)
        for slot, spec in enumerate(pack)
    ]
    walk = _Walk(members, gone or set, checkpoint_now or (lambda: False), device, dtype, inputs)
    yield from walk.branch(members, 0)


class _Walk:
    """The walk over a pack's tree of stages."""

    def __init__(
        self,
        members: list[Member],
        gone: Callable[[], set[int]],
        asked: Callable[[], bool],
        device: str,
        dtype: str | None,
        inputs: Inputs | None,
    ) -> None:
        self.members = members
        self.gone = gone
        self.asked = asked
        self.device = device
        self.dtype = dtype
        self.inputs = inputs
        self._data: dict[str, Data] = {}
        #: the run that trained last, where its newest checkpoint left it
        self._standing: tuple[Checkpoint, Run] | None = None

    def branch(self, members: list[Member], depth: int) -> Iterator[tuple[int, Record]]:
        """Everything of members that have shared all stages before `depth`."""
        for member in members:
            if member.live and depth == len(member.names):
                yield from self._finish(member)
        groups: dict[str, list[Member]] = {}
        for member in members:
            if depth < len(member.names):
                groups.setdefault(member.names[depth], []).append(member)
        for group in groups.values():
            yield from self._stage(group, depth)
            yield from self.branch(group, depth + 1)

    def _stage(self, group: list[Member], depth: int) -> Iterator[tuple[int, Record]]:
        """The stage at `depth`, trained once from where the member stands that is furthest behind."""
        waiting = [member for member in group if member.live and member.place < (depth + 1, 0)]
        self._leave()
        if not any(member.live for member in waiting):
            return
        behind = min(waiting, key=lambda member: member.place)
        try:
            run = self._run(behind)
        except (ValueError, DatasetError) as error:
            for member in waiting:
                yield from self._fail(
                    member, Failure("invalid_data", str(error), hint="change data or model")
                )
            return
        for record in run.stage_records():
            if isinstance(record, Checkpoint):
                self._standing = (record, run)
            self._leave()
            listening = [member for member in waiting if member.live]
            if not listening:
                return
            for member in listening:
                yield from self._tell(member, record, run.done)
            if isinstance(record, Checkpoint) and self.asked():
                others = [member for member in self.members if member.live and member not in listening]
                yield from ((member.slot, member.latest) for member in others)

    def _tell(self, member: Member, record: Record, done: int) -> Iterator[tuple[int, Record]]:
        """The record, to a member that has not heard it in an earlier attempt."""
        if isinstance(record, Failure):
            yield from self._fail(member, record)
        elif done > member.heard:
            if isinstance(record, Checkpoint):
                member.latest, member.heard = record, record.step
            elif isinstance(record, Progress):
                record = Progress(record.done, member.total)
            yield member.slot, record

    def _fail(self, member: Member, failure: Failure) -> Iterator[tuple[int, Record]]:
        if member.live:
            member.live = False
            yield member.slot, failure

    def _finish(self, member: Member) -> Iterator[tuple[int, Record]]:
        member.live = False
        standing, self._standing = self._standing, None
        # The run that has just trained the last stage still holds its newest readings.
        run = standing[1] if standing is not None and standing[0] is member.latest else self._run(member)
        for record in run.finish():
            yield member.slot, record

    def _leave(self) -> None:
        lost = self.gone()
        for member in self.members:
            member.live = member.live and member.slot not in lost

    def _run(self, member: Member) -> Run:
        """A run that stands where `member` stands."""
        spec = member.spec
        dtype = self.dtype or spec.dtype
        return Run(spec, self._prepared(spec), dtype, self.asked, member.latest)

    def _prepared(self, spec: TrainSpec) -> Data:
        assert isinstance(spec.data, Uploaded)
        if self.inputs is None:
            raise ValueError(f"data set {spec.data.dataset} was not fetched for this job")
        key = specs.canonical({"data": specs.dump(spec)["data"], "seed": specs.seeds(spec.seed).data})
        if key not in self._data:
            # Members of a pack share their data; only the newest is kept, in case they do not.
            self._data.clear()
            arrays = self.inputs.dataset(spec.data.dataset)
            self._data[key] = prepare(
                spec.data, arrays, specs.seeds(spec.seed).data, torch.device(self.device)
            )
        return self._data[key]
