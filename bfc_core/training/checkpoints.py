"""A member's place in its stages, as a record and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bfc_core import records

FORMAT = 1


@dataclass
class Place:
    """Where a member stands: `step` updates into stage `stage`, with all that later numbers depend on."""

    stage: int = 0
    step: int = 0
    #: weights at the start of the stage
    before: dict[str, Tensor] = field(default_factory=dict)
    #: `values` and the optimiser's moments, by name; empty at the start of a stage
    inside: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    #: sums of the training loss: since the last point, and over the last part of the stage
    window: float = 0.0
    tail: float = 0.0
    #: norms of the residuals of the last steps, not yet in the sums: sums are made in blocks, whatever interrupts
    pending: list[float] = field(default_factory=list)
    #: what was read at the boundaries of earlier stages
    readings: list[list[Any]] = field(default_factory=list)
    #: updates that each earlier stage took: its budget, or fewer where a threshold ended it
    taken: list[int] = field(default_factory=list)
    undefined: dict[str, str] = field(default_factory=dict)
    #: layer -> the first step since which every feature error was small, None while the last was not
    onsets: dict[str, int | None] = field(default_factory=dict)
    #: the global step up to which `onsets` has been told
    watched: int = -1
    seconds: float = 0.0


def to_record(place: Place, global_step: int) -> records.Checkpoint:
    """The checkpoint of one member."""
    tensors = {f"before/{name}": pack(block) for name, block in place.before.items()}
    for group, blocks in place.inside.items():
        tensors |= {f"{group}/{name}": pack(block) for name, block in blocks.items()}
    state = {
        "format": FORMAT,
        "stage": place.stage,
        "step": place.step,
        "window": place.window,
        "tail": place.tail,
        "pending": place.pending,
        "readings": place.readings,
        "taken": place.taken,
        "undefined": place.undefined,
        "onsets": place.onsets,
        "watched": place.watched,
        "seconds": place.seconds,
    }
    return records.Checkpoint(global_step, tensors, state)


def from_record(checkpoint: records.Checkpoint) -> Place:
    """The place that a checkpoint holds.

    Raises:
        ValueError: of another format, such as one written by a newer version.
    """
    state = checkpoint.state
    if state.get("format") != FORMAT:
        raise ValueError(f"checkpoint format {state.get('format')!r}; this version reads {FORMAT}")
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in checkpoint.tensors.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = unpack(tensor)
    return Place(
        stage=state["stage"],
        step=state["step"],
        before=groups.pop("before", {}),
        inside=groups,
        window=state["window"],
        tail=state["tail"],
        pending=list(state["pending"]),
        readings=[list(row) for row in state["readings"]],
        taken=list(state["taken"]),
        undefined=dict(state["undefined"]),
        onsets=dict(state.get("onsets", {})),
        watched=state.get("watched", -1),
        seconds=state["seconds"],
    )


def pack(block: Tensor) -> records.Tensor:
    """A tensor as it is stored."""
    return records.Tensor.of(block.detach().cpu().contiguous().numpy())


def unpack(tensor: records.Tensor) -> Tensor:
    """A stored tensor back on the CPU."""
    return torch.from_numpy(tensor.numpy().copy())


def row_of(blocks: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """One row's copy of named blocks (K, …)."""
    return {name: block[row].clone() for name, block in blocks.items()}
