"""What one stage asks of an image network, worked out once before its first step."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from bfc_core import specs
from bfc_core.specs import Stage, TrainSpec
from bfc_core.specs.resolution import HeadKind

#: Fields of a spec that change what a stage computes, beside the stage itself.
_FIELDS = ("data", "model", "recipe", "precision", "adversarial_radius", "seed", "dtype")


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks 1…last stand; 1…prefix neither train nor let a gradient through; `heads` are (block, kind)."""

    index: int
    stage: Stage
    last: int
    prefix: int
    heads: tuple[tuple[int, HeadKind], ...]

    @property
    def read(self) -> tuple[tuple[int, HeadKind], ...]:
        """Heads whose scores, added up, are the network's: all when detached, else the last one."""
        return self.heads if self.stage.backward == "detached" else self.heads[-1:]


def plans(spec: TrainSpec) -> tuple[Plan, ...]:
    """A plan for every stage of `spec`."""
    return tuple(_plan(spec, i, stage) for i, stage in enumerate(specs.stages(spec)))


def _plan(spec: TrainSpec, index: int, stage: Stage) -> Plan:
    last = max(stage.present)
    prefix = min(stage.train, default=last + 1) - 1
    if stage.backward != "full" or spec.adversarial_radius:
        prefix = 0  # the adversary needs the gradient with respect to the picture
    return Plan(index, stage, last, prefix, specs.heads(spec, stage))


def digests(spec: TrainSpec) -> tuple[str, ...]:
    """A name for each stage: equal names, with equal ones before, train to equal bits on equal devices."""
    fixed = {name: _plain(getattr(spec, name)) for name in _FIELDS}
    found = []
    for stage in specs.stages(spec):
        body = {name: _plain(value) for name, value in dataclasses.asdict(stage).items()}
        text = specs.canonical({"fixed": fixed, "stage": body})
        found.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return tuple(found)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, specs.Spec) else value
