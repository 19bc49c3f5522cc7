"""A study or sweep in this very process: for notebooks, tests and benches. What workers share, one process does in turn.

from bfc_core import local, specs

result = local.run_study(specs.CorrectionSpec(seeds=6))
print(*(claim["says"] for claim in result.summary["claims"]), sep="\\n")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bfc_core import studies
from bfc_core.records import Checkpoint, Failure, Metric, Record, Result
from bfc_core.studies import Member, Outcome

Told = Callable[[Member, Record], None]


@dataclass
class Heard:
    """What one member has said: its series, its last checkpoint, and how it ended."""

    key: str
    end: Result | Failure | None = None
    checkpoint: Checkpoint | None = None
    series: dict[tuple[str, int | None], tuple[list[int], list[float]]] = field(default_factory=dict)

    def hear(self, record: Record) -> None:
        if isinstance(record, Metric):
            steps, values = self.series.setdefault((record.key, record.layer), ([], []))
            steps.append(record.step)
            values.append(record.value)
        elif isinstance(record, Checkpoint):
            self.checkpoint = record
        elif isinstance(record, Result | Failure):
            self.end = record

    def read(self, keys: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        for (key, layer), (steps, values) in self.series.items():
            if key in keys:
                yield {"key": key, "layer": layer, "steps": steps, "values": values}

    def outcome(self) -> Outcome:
        if isinstance(self.end, Result):
            return Outcome(self.key, "succeeded", self.end.summary, self.end.tables, None, self.read)
        error = asdict(self.end) if self.end else {"code": "silent", "message": "ended without a result"}
        return Outcome(self.key, "failed", error=error, series=self.read)


def run_study(
    spec: Any, *, device: str = "cpu", threads: int = 1, inputs: Any = None, told: Told | None = None
) -> Result:
    """The result of a study or sweep, its members run one after the other, packs as packs.

    `inputs` holds the data sets that it names; `told` hears every record of every member as it is made.
    """
    heard = run_members(studies.members(spec), device=device, threads=threads, inputs=inputs, told=told)
    return studies.conclude(spec, {key: one.outcome() for key, one in heard.items()})


def run_members(
    members: Iterable[Member],
    *,
    device: str = "cpu",
    threads: int = 1,
    inputs: Any = None,
    told: Told | None = None,
) -> dict[str, Heard]:
    """What each member said, by key. Loads torch."""
    from bfc_core import run, run_pack

    units: dict[str, list[Member]] = {}
    for member in members:
        units.setdefault(member.pack or member.key, []).append(member)
    heard: dict[str, Heard] = {}
    for unit in units.values():
        heard |= {member.key: Heard(member.key) for member in unit}
        if len(unit) > 1:
            records = run_pack(
                [member.spec for member in unit], device=device, threads=threads, inputs=inputs
            )
        else:
            start = heard[unit[0].start].checkpoint if unit[0].start else None
            alone = run(unit[0].spec, resume=start, device=device, threads=threads, inputs=inputs)
            records = ((0, record) for record in alone)
        for slot, record in records:
            heard[unit[slot].key].hear(record)
            if told is not None:
                told(unit[slot], record)
    return heard
