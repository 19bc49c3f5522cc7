"""Snapshots and checkpoints: named tensors of one step of one job, read back whole, by name, or as safetensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, text

from bfc_core.records import ITEM_BYTES, Checkpoint, Tensor
from store import tensors
from store.errors import NotFound
from store.ids import new_id
from store.results import finite
from store.tables import checkpoints, snapshot_tensors, snapshots

HEAD = [
    snapshots.c[name]
    for name in ("id", "project_id", "job_id", "step", "kind", "bytes", "hash", "meta", "created_at")
]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A snapshot about to be written; `state` makes it a checkpoint."""

    project_id: str
    job_id: str
    epoch: int
    mark: int
    step: int
    kind: str
    meta: Mapping[str, Any]
    tensors: Mapping[str, tensors.Packed]
    state: Mapping[str, Any] | None = None
    done: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """A safetensors file before its tensors are read: `head` bytes, then each tensor's bytes from its offset."""

    head: bytes
    parts: tuple[tuple[int, int, int, int], ...]
    """(tensor id, bytes of an element, first byte in the file, last byte + 1), in file order."""
    bytes: int

    def edge(self, start: int, stop: int) -> int:
        """`tensors.edge` in the file."""
        for _, _, first, last in self.parts:
            if first < stop <= last:
                return first + tensors.edge(start - first, stop - first)
        return stop


def write(connection: Connection, fresh: Sequence[Fresh]) -> list[str]:
    """Writes snapshots with their tensors; ids. The database refuses a stale epoch.

    One of the same kind and step takes the place of the old one: it is the same bits made again.
    """
    ids: list[str] = []
    for project_id in dict.fromkeys(one.project_id for one in fresh):
        mine = [one for one in fresh if one.project_id == project_id]
        known = tensors.put(
            connection, project_id, [packed for one in mine for packed in one.tensors.values()]
        )
        ids += _heads(connection, mine, known)
    return ids


def of_job(
    connection: Connection, job_id: str, *, after_id: str | None = None, limit: int = 100
) -> Sequence[RowMapping]:
    """The snapshots of a job (which the caller has checked), oldest first, past `after_id`."""
    query = select(*HEAD).where(snapshots.c.job_id == job_id)
    if after_id is not None:
        query = query.where(snapshots.c.id > after_id)
    return connection.execute(query.order_by(snapshots.c.id).limit(limit)).mappings().all()


def get(connection: Connection, project_id: str, snapshot_id: str) -> RowMapping:
    """One snapshot's head; `NotFound` in another project."""
    query = select(*HEAD).where(snapshots.c.id == snapshot_id, snapshots.c.project_id == project_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("snapshot", snapshot_id)
    return row


def listing(connection: Connection, snapshot_id: str) -> Sequence[RowMapping]:
    """Its tensors in order: name, id, dtype, shape, bytes, hash."""
    return (
        connection.execute(
            text("""SELECT s.name, t.id, t.dtype, t.shape, t.bytes, t.hash FROM snapshot_tensors s
                      JOIN tensors t ON t.id = s.tensor_id WHERE s.snapshot_id = :id ORDER BY s.position"""),
            {"id": snapshot_id},
        )
        .mappings()
        .all()
    )


def load(connection: Connection, snapshot_id: str) -> dict[str, Tensor]:
    """All its tensors by name."""
    return tensors.load(connection, {row["name"]: row["id"] for row in listing(connection, snapshot_id)})


def layout(rows: Sequence[RowMapping], meta: Mapping[str, str]) -> Layout:
    """Where everything lies in the safetensors file of the tensors `rows` (of `listing`)."""
    header: dict[str, Any] = {"__metadata__": dict(meta)} if meta else {}
    offset = 0
    spans = []
    for row in rows:
        header[row["name"]] = {
            "dtype": row["dtype"],
            "shape": list(row["shape"]),
            "data_offsets": [offset, offset + row["bytes"]],
        }
        spans.append((row["id"], ITEM_BYTES[row["dtype"]], offset, offset + row["bytes"]))
        offset += row["bytes"]
    words = json.dumps(header, separators=(",", ":")).encode()
    # The format wants the data aligned to 8 bytes; spaces may end the header.
    words += b" " * (-len(words) % 8)
    head = len(words).to_bytes(8, "little") + words
    parts = tuple((id_, item, len(head) + first, len(head) + last) for id_, item, first, last in spans)
    return Layout(head, parts, len(head) + offset)


def stream(connection: Connection, plan: Layout, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes `start` … `stop` of the file laid out by `plan`, about 1 MiB at a time."""
    stop = plan.bytes if stop is None else min(stop, plan.bytes)
    if start < len(plan.head):
        yield plan.head[start : min(stop, len(plan.head))]
    for tensor_id, item, first, last in plan.parts:
        if first < stop and last > start:
            yield from tensors.part(connection, tensor_id, item, max(0, start - first), min(stop, last) - first)


def newest_checkpoint(connection: Connection, job_id: str) -> tuple[int, Checkpoint] | None:
    """The mark and content of the checkpoint that the job's next attempt goes on from."""
    row = connection.execute(
        select(checkpoints.c.snapshot_id, checkpoints.c.step, checkpoints.c.mark, checkpoints.c.state)
        .where(checkpoints.c.job_id == job_id)
        .order_by(checkpoints.c.mark.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return row.mark, Checkpoint(row.step, load(connection, row.snapshot_id), _read(row.state))


def checkpoint(connection: Connection, project_id: str, snapshot_id: str) -> Checkpoint:
    """The checkpoint kept as `snapshot_id`; `NotFound` when it is none."""
    head = get(connection, project_id, snapshot_id)
    state = connection.execute(
        select(checkpoints.c.state).where(checkpoints.c.snapshot_id == snapshot_id)
    ).scalar_one_or_none()
    if state is None:
        raise NotFound("checkpoint", snapshot_id)
    return Checkpoint(head["step"], load(connection, snapshot_id), _read(state))


def thin_checkpoints(connection: Connection, job_id: str, keep: int) -> None:
    """Drops all checkpoints of a job but the `keep` newest and those between two stages (`step` 0)."""
    connection.execute(
        text("""
            DELETE FROM snapshots WHERE id IN (
                SELECT snapshot_id FROM checkpoints WHERE job_id = :job
                   AND coalesce(state ->> 'step', '1') <> '0'
                   AND mark NOT IN (SELECT mark FROM checkpoints WHERE job_id = :job ORDER BY mark DESC LIMIT :keep)
                   AND NOT EXISTS (SELECT 1 FROM jobs WHERE origin_snapshot_id = checkpoints.snapshot_id
                                      AND state NOT IN ('succeeded', 'failed', 'cancelled')))"""),
        {"job": job_id, "keep": max(1, keep)},
    )


def stored_bytes(connection: Connection, job_id: str) -> int:
    """What the job's weights and features are charged for, in raw bytes."""
    return int(
        connection.execute(
            text(
                "SELECT coalesce(sum(bytes), 0) FROM snapshots WHERE job_id = :job AND kind <> 'checkpoint'"
            ),
            {"job": job_id},
        ).scalar_one()
    )


def _heads(connection: Connection, fresh: Sequence[Fresh], known: Mapping[bytes, int]) -> list[str]:
    connection.execute(
        text("""
            DELETE FROM snapshots USING unnest(CAST(:jobs AS text[]), CAST(:kinds AS text[]), CAST(:steps AS bigint[]))
                   AS again(job_id, kind, step)
             WHERE snapshots.job_id = again.job_id AND snapshots.kind = again.kind AND snapshots.step = again.step"""),
        {
            "jobs": [one.job_id for one in fresh],
            "kinds": [one.kind for one in fresh],
            "steps": [one.step for one in fresh],
        },
    )
    ids: list[str] = []
    heads, parts, states = [], [], []
    for one in fresh:
        snapshot_id = new_id("snap")
        ids.append(snapshot_id)
        heads.append(
            {
                "id": snapshot_id,
                "project_id": one.project_id,
                "job_id": one.job_id,
                "step": one.step,
                "kind": one.kind,
                "epoch": one.epoch,
                "mark": one.mark,
                "bytes": sum(packed.size for packed in one.tensors.values()),
                "hash": _hash(one),
                "meta": finite(one.meta),
            }
        )
        parts += [
            {"snapshot_id": snapshot_id, "name": name, "position": place, "tensor_id": known[packed.hash]}
            for place, (name, packed) in enumerate(one.tensors.items())
        ]
        if one.state is not None:
            states.append(
                {
                    "snapshot_id": snapshot_id,
                    "job_id": one.job_id,
                    "step": one.step,
                    "mark": one.mark,
                    "done": one.done,
                    "state": _written(dict(one.state)),
                }
            )
    connection.execute(insert(snapshots), heads)
    if parts:
        connection.execute(insert(snapshot_tensors), parts)
    if states:
        connection.execute(insert(checkpoints), states)
    return ids


def _written(value: Any) -> Any:
    """A checkpoint's state as JSON that comes back with the same bits: it has no word for NaN and infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Mapping):
        return {name: _written(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_written(inner) for inner in value]
    return value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$float"}:
            return float(value["$float"])
        return {name: _read(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_read(inner) for inner in value]
    return value


def _hash(fresh: Fresh) -> bytes:
    """sha256 over the names and contents of the tensors."""
    digest = hashlib.sha256()
    for name, packed in fresh.tensors.items():
        digest.update(json.dumps(name).encode() + packed.hash)
    return digest.digest()
