"""What worker and child say to each other: frames of a JSON header and raw tensor bytes. No pickle.

A frame is the header's length (4 bytes), the body's (8 bytes), the header, the body. Tensors lie in the
body one after another, in the order of the header's `tensors`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from bfc_core.records import (
    Checkpoint,
    Failure,
    Log,
    Metric,
    Progress,
    Record,
    Result,
    Snapshot,
    Table,
    Tensor,
)

_LENGTHS = struct.Struct(">IQ")
MOST_HEADER_BYTES = 1 << 28
MOST_BODY_BYTES = 1 << 36


class WireError(ConnectionError):
    """The other end closed in the middle of a frame, or sent something that is none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: `head` (with its `kind` under "t") and the bytes of its tensors."""

    head: dict[str, Any]
    body: bytes = b""

    @property
    def kind(self) -> str:
        return str(self.head["t"])

    @property
    def size(self) -> int:
        """Bytes of memory it takes, roughly."""
        return len(self.body) + 64 * len(self.head.get("items", ())) + 512


def write(stream: BinaryIO, frame: Frame, parts: Sequence[bytes] = ()) -> None:
    """Sends one frame; `parts` are pieces of the body that follow `frame.body` uncopied."""
    head = json.dumps(frame.head, separators=(",", ":")).encode()
    size = len(frame.body) + sum(map(len, parts))
    stream.write(_LENGTHS.pack(len(head), size) + head + frame.body)
    for part in parts:
        stream.write(part)
    stream.flush()


def read(stream: BinaryIO) -> Frame | None:
    """The next frame; None at the end of the stream. `WireError` when it ends within one."""
    lengths = stream.read(_LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < _LENGTHS.size:
        raise WireError("the stream ended within a frame")
    head_size, body_size = _LENGTHS.unpack(lengths)
    if head_size > MOST_HEADER_BYTES or body_size > MOST_BODY_BYTES:
        raise WireError(f"a frame of {head_size} and {body_size} bytes")
    head = _exactly(stream, head_size)
    body = _exactly(stream, body_size)
    return Frame(json.loads(head), body)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) < size:
        raise WireError("the stream ended within a frame")
    return data


def tensor_heads(tensors: Mapping[str, Tensor]) -> list[list[Any]]:
    """Name, dtype, shape and bytes of each tensor, as a header carries them."""
    return [[name, one.dtype, list(one.shape), len(one.data)] for name, one in tensors.items()]


def tensors_of(frame: Frame) -> dict[str, Tensor]:
    """The tensors in a frame's body."""
    found, offset = {}, 0
    for name, dtype, shape, size in frame.head["tensors"]:
        found[name] = Tensor(dtype, tuple(shape), frame.body[offset : offset + size])
        offset += size
    return found


def encode(slot: int, record: Record) -> tuple[Frame, list[bytes]]:
    """One record of one slot. Metrics and progress are better sent many a frame, by `Outgoing`."""
    match record:
        case Metric():
            return Frame({"t": "metrics", "items": [metric_item(slot, record)]}), []
        case Progress(done, total, unit):
            return Frame({"t": "progress", "items": [[slot, done, total, unit]]}), []
        case Log(level, message):
            return Frame({"t": "log", "slot": slot, "level": level, "message": message}), []
        case Snapshot(step, kind, tensors, meta):
            head = {"t": "snapshot", "slot": slot, "step": step, "kind": kind, "meta": meta}
            return Frame(head | {"tensors": tensor_heads(tensors)}), [one.data for one in tensors.values()]
        case Checkpoint(step, tensors, state):
            head = {"t": "checkpoint", "slot": slot, "step": step, "state": state}
            return Frame(head | {"tensors": tensor_heads(tensors)}), [one.data for one in tensors.values()]
        case Result(summary, tables):
            rows = {name: table.json() for name, table in tables.items()}
            return Frame({"t": "result", "slot": slot, "summary": summary, "tables": rows}), []
        case Failure(code, message, step, layer, hint):
            said = {"code": code, "message": message, "step": step, "layer": layer, "hint": hint}
            told = {name: value for name, value in said.items() if value is not None}
            return Frame({"t": "failure", "slot": slot, "error": told}), []


def metric_item(slot: int, metric: Metric) -> list[Any]:
    return [slot, metric.step, metric.key, metric.value, metric.layer, metric.unit]


def checkpoint_of(frame: Frame) -> Checkpoint:
    return Checkpoint(frame.head["step"], tensors_of(frame), frame.head["state"])


def result_of(frame: Frame) -> Result:
    tables = {name: Table.of(table) for name, table in frame.head["tables"].items()}
    return Result(frame.head["summary"], tables)


@dataclass(slots=True)
class Outgoing:
    """Sends records in order, metrics and progress gathered into frames of many."""

    stream: BinaryIO
    #: slots that still report; when all have, their progress is one frame
    expected: int = 1
    most: int = 512
    _metrics: list[list[Any]] = field(default_factory=list)
    _progress: dict[int, list[Any]] = field(default_factory=dict)

    def put(self, slot: int, record: Record) -> None:
        """Sends one record, or keeps it for the next frame. Progress sends what has been kept."""
        if isinstance(record, Metric):
            self._metrics.append(metric_item(slot, record))
            if len(self._metrics) >= self.most:
                self.flush()
        elif isinstance(record, Progress):
            self._progress[slot] = [slot, record.done, record.total, record.unit]
            if len(self._progress) >= self.expected:
                self.flush()
        else:
            self.flush()
            write(self.stream, *encode(slot, record))

    def flush(self) -> None:
        if self._metrics:
            write(self.stream, Frame({"t": "metrics", "items": self._metrics}))
            self._metrics = []
        if self._progress:
            write(self.stream, Frame({"t": "progress", "items": list(self._progress.values())}))
            self._progress = {}
