"""Turns a child's frames into rows: in batches, in order, each with its epoch, each batch once.

A checkpoint and everything before it are one transaction. A batch whose answer was lost in an outage is
sent again and skipped where the job's mark shows that it had arrived.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from bfc_core.records import Result
from store import claims, series, snapshots, tensors
from store.engine import STALE_EPOCH, is_outage, sqlstate, transact
from worker import wire
from worker.spool import Spool

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.2
# Tensors beyond this are sent before the transaction that needs them, which so stays short.
AHEAD_BYTES = 4 << 20
LONGEST_PAUSE_SECONDS = 2.0


@dataclass(slots=True)
class Part:
    """What one batch adds to one job under one mark."""

    job_id: str
    mark: int
    points: dict[tuple[str, int | None], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    units: dict[str, str | None] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[snapshots.Fresh] = field(default_factory=list)
    checkpoint: int | None = None


@dataclass(slots=True)
class Held:
    """A job as the sink sees it: its lease, its next mark, its progress, and what it has stored."""

    job: claims.Claimed
    mark: int
    done: int = 0
    total: int = 0
    unit: str = "step"
    snapshot_bytes: int = 0
    checkpoint_step: int | None = None
    checkpoints: int = 0
    result: Result | None = None
    error: dict[str, Any] | None = None
    fenced: bool = False

    @property
    def concluded(self) -> bool:
        return self.result is not None or self.error is not None


class Sink:
    """Takes frames from a spool, on a thread of its own, until the last has been written or nobody wants them."""

    def __init__(
        self, engine: Engine, spool: Spool, held: Mapping[int, Held], wake: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._spool = spool
        self.held = dict(held)
        self._wake = wake
        self._abandoned = threading.Event()
        self.end: dict[str, Any] | None = None
        self.outage_since: float | None = None
        self.first_progress: float | None = None
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """True when every frame has been written, or given up."""
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Writes nothing more: the leases are lost, or the worker must end."""
        self._abandoned.set()
        self._spool.close()

    def join(self, timeout_seconds: float) -> bool:
        """Waits for the last frame to be written; False when it has not been in time."""
        self._thread.join(timeout_seconds)
        return self.finished

    def _work(self) -> None:
        try:
            while not self._spool.drained and not self._abandoned.is_set():
                if frames := self._spool.get(0.5, GATHER_SECONDS):
                    self._take(frames)
        except Exception:
            log.exception("the sink broke; the attempt will be made again")
            self.end = {"how": "sink"}
            self._abandoned.set()
            self._spool.close()
        finally:
            self._wake()

    def _take(self, frames: Sequence[wire.Frame]) -> None:
        """Writes a run of frames: up to each checkpoint, result or end, what came before is one batch."""
        parts: dict[int, Part] = {}
        batch: list[Part] = []
        conclusions: list[tuple[Held, Result | None, dict[str, Any] | None]] = []
        for frame in frames:
            self._sort(frame, parts, batch, conclusions)
        batch += parts.values()
        self._write([part for part in batch if self._wanted(part)])
        # Only now: a result counts when all that it rests on has been written.
        for held, result, error in conclusions:
            held.result, held.error = result, error
        if conclusions:
            self._wake()

    def _sort(
        self, frame: wire.Frame, parts: dict[int, Part], batch: list[Part], conclusions: list[Any]
    ) -> None:
        head = frame.head
        match frame.kind:
            case "metrics":
                for slot, step, key, value, layer, unit in head["items"]:
                    part = self._part(parts, slot)
                    part.points[key, layer].append((step, value))
                    part.units[key] = unit
            case "progress":
                self._progress(head["items"])
            case "log":
                said = {"level": head["level"], "message": head["message"][:4000]}
                self._part(parts, head["slot"]).logs.append(said)
            case "snapshot" | "checkpoint":
                self._keep(frame, parts, batch)
            case "result":
                conclusions.append((self.held[head["slot"]], wire.result_of(frame), None))
            case "failure":
                conclusions.append((self.held[head["slot"]], None, head["error"]))
            case "end":
                self.end = head

    def _part(self, parts: dict[int, Part], slot: int) -> Part:
        if slot not in parts:
            held = self.held[slot]
            held.mark += 1
            parts[slot] = Part(held.job.id, held.mark)
        return parts[slot]

    def _progress(self, items: Sequence[Sequence[Any]]) -> None:
        if self.first_progress is None:
            self.first_progress = time.monotonic()
        for slot, done, total, unit in items:
            held = self.held[slot]
            held.done, held.total, held.unit = done, total, unit

    def _keep(self, frame: wire.Frame, parts: dict[int, Part], batch: list[Part]) -> None:
        head = frame.head
        held = self.held[head["slot"]]
        checkpoint = frame.kind == "checkpoint"
        part = self._part(parts, head["slot"])
        packed = {name: tensors.pack(one) for name, one in wire.tensors_of(frame).items()}
        done = max(held.done, head["step"]) if held.job.kind == "train" else held.done
        part.snapshots.append(
            snapshots.Fresh(
                project_id=held.job.project_id,
                job_id=held.job.id,
                epoch=held.job.epoch,
                mark=part.mark,
                step=head["step"],
                kind="checkpoint" if checkpoint else head["kind"],
                meta={} if checkpoint else head["meta"],
                tensors=packed,
                state=head["state"] if checkpoint else None,
                done=done,
            )
        )
        if checkpoint:
            # What follows belongs to the next mark: a claim cuts exactly behind this record.
            part.checkpoint = head["step"]
            batch.append(parts.pop(head["slot"]))
        else:
            held.snapshot_bytes += sum(one.size for one in packed.values())

    def _wanted(self, part: Part) -> bool:
        return not self._of(part.job_id).fenced

    def _of(self, job_id: str) -> Held:
        return next(held for held in self.held.values() if held.job.id == job_id)

    def _write(self, parts: list[Part]) -> None:
        """One transaction, tried until the database takes or refuses it."""
        if not parts:
            return
        pause = 0.1
        while not self._abandoned.is_set():
            try:
                self._send_ahead(parts)
                fenced = transact(self._engine, lambda connection: self._store(connection, parts))
            except DBAPIError as error:
                if sqlstate(error) == STALE_EPOCH:
                    # The lease was lost between the look and the write: the next look will tell whose.
                    log.warning("a batch was refused: %s", error.orig)
                    continue
                if not is_outage(error):
                    raise
                if self.outage_since is None:
                    self.outage_since = time.monotonic()
                    log.warning("the database is away, records wait: %s", str(error.orig).strip())
                self._abandoned.wait(pause)
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
                continue
            self.outage_since = None
            self._note(parts, fenced)
            return

    def _send_ahead(self, parts: Sequence[Part]) -> None:
        found: dict[str, list[tensors.Packed]] = defaultdict(list)
        for part in parts:
            for fresh in part.snapshots:
                found[fresh.project_id] += fresh.tensors.values()
        for project_id, packed in found.items():
            if sum(one.stored_bytes for one in packed) < AHEAD_BYTES:
                continue
            for few in _groups(packed, AHEAD_BYTES):
                transact(self._engine, lambda connection, few=few: tensors.put(connection, project_id, few))  # type: ignore[misc] # noqa: B023

    def _store(self, connection: Connection, parts: Sequence[Part]) -> set[str]:
        """Writes what has not arrived yet; the jobs whose lease is lost."""
        marks: dict[str, int] = {}
        for part in parts:
            marks[part.job_id] = max(part.mark, marks.get(part.job_id, 0))
        before = claims.hold(connection, {job: self._of(job).job.epoch for job in marks}, marks)
        fresh = [part for part in parts if part.job_id in before and part.mark > before[part.job_id]]
        batches = [
            series.Batch(part.job_id, self._of(part.job_id).job.epoch, part.mark, _points(part))
            for part in fresh
        ]
        news = series.write(connection, batches)
        snapshots.write(connection, [one for part in fresh for one in part.snapshots])
        told: list[tuple[str, str, Mapping[str, Any]]] = [
            (job, "metric", {"series": said}) for job, said in news.items()
        ]
        told += [(part.job_id, "log", said) for part in fresh for said in part.logs]
        claims.tell(connection, told)
        for job_id in {part.job_id for part in fresh if part.checkpoint is not None}:
            snapshots.thin_checkpoints(connection, job_id, _keep_count(self._of(job_id).job))
        return set(marks) - set(before)

    def _note(self, parts: Sequence[Part], fenced: set[str]) -> None:
        for part in parts:
            held = self._of(part.job_id)
            if part.job_id in fenced:
                held.fenced = True
            elif part.checkpoint is not None:
                held.checkpoint_step = part.checkpoint
                held.checkpoints += 1
        if fenced or any(part.checkpoint is not None for part in parts):
            self._wake()


def _points(part: Part) -> list[series.Points]:
    found = []
    for (key, layer), pairs in part.points.items():
        steps = np.array([step for step, _ in pairs], np.int64)
        values = np.array([value for _, value in pairs], np.float64)
        found.append(series.Points(key, layer, part.units.get(key), steps, values))
    return found


def _keep_count(job: claims.Claimed) -> int:
    kept = ((job.spec.get("snapshots") or {}).get("checkpoint") or {}).get("keep")
    return int(kept) if kept else 1


def _groups(packed: Sequence[tensors.Packed], most_bytes: int) -> list[list[tensors.Packed]]:
    groups: list[list[tensors.Packed]] = [[]]
    size = 0
    for one in packed:
        if groups[-1] and size + one.stored_bytes > most_bytes:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += one.stored_bytes
    return groups
