"""Which trainings of a pack are one: a trie of stages over its members, and the stacks that train them.

Members whose stages are equal up to some depth share one node there, trained once and told to each of them. Nodes
at one depth that have the same shape are rows of one stack. Both follow from the specs of the whole pack, never
from who is still running, so no number depends on timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bfc_core import specs
from bfc_core.specs import Stage
from bfc_core.specs.train import TrainSpec

#: Rows of one stack at most: more no longer pays on a CPU, and memory grows with them.
MAX_ROWS = 64


@dataclass(frozen=True, eq=False)
class Node:
    """One stage of one state: what its members have in common up to here."""

    depth: int
    stage: Stage
    spec: TrainSpec
    members: tuple[int, ...]
    parent: Node | None
    #: optimiser steps of all stages before this one
    offset: int
    last: bool


def nodes_by_depth(pack: Sequence[TrainSpec]) -> list[list[Node]]:
    """The trie of the pack, level by level; nodes in the order of their first member."""
    stages = [specs.stages(spec) for spec in pack]
    found: list[list[Node]] = []
    parents: dict[int, Node] = {}
    for depth in range(max(map(len, stages), default=0)):
        members = [slot for slot in range(len(pack)) if len(stages[slot]) > depth]
        groups: dict[object, list[int]] = {}
        for slot in members:
            last = len(stages[slot]) == depth + 1
            key = (_identity(pack[slot]), stages[slot][: depth + 1], last)
            groups.setdefault(key, []).append(slot)
        level = []
        for slots in groups.values():
            first = slots[0]
            mine = stages[first]
            offset = sum(stage.steps for stage in mine[:depth])
            last = len(mine) == depth + 1
            node = Node(depth, mine[depth], pack[first], tuple(slots), parents.get(first), offset, last)
            level.append(node)
        parents.update({slot: node for node in level for slot in node.members})
        found.append(level)
    return found


def _identity(spec: TrainSpec) -> str:
    """All of a spec that its numbers and the steps of its records depend on, besides its stages."""
    told = ("data", "model", "probes", "snapshots", "dtype", "device")
    body = specs.dump(spec)
    return specs.canonical({name: body[name] for name in told} | {"seed": list(specs.seeds(spec.seed))})


def stacks(level: Sequence[Node]) -> list[list[Node]]:
    """The nodes of one depth, those of one shape together, at most `MAX_ROWS` a stack."""
    groups: dict[object, list[Node]] = {}
    for node in level:
        groups.setdefault(_shape(node), []).append(node)
    return [nodes[i : i + MAX_ROWS] for nodes in groups.values() for i in range(0, len(nodes), MAX_ROWS)]


def _shape(node: Node) -> object:
    """What rows of one stack must share: all but seeds, masks, gaps, rates, clips and penalties."""
    stage = node.stage
    optimizer = stage.optimizer.model_copy(update={"rate": 1.0, "clip": None})
    hold = (
        None
        if stage.hold is None
        else replace(stage.hold, penalty=None if stage.hold.penalty is None else 1.0)
    )
    local = stage.backward == "local"
    alone = () if specs.shape_key(node.spec) else node.members
    return (
        specs.shape_key(node.spec),
        alone,
        stage.present,
        stage.steps,
        stage.batch,
        optimizer,
        stage.mode,
        hold,
        local,
    )
