"""What a child is told before it starts: specs, checkpoints, and the stored things its spec names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from bfc_core.records import Checkpoint, Tensor
from store import claims, snapshots, tensors
from worker import wire

START = text("""
    SELECT needed.id FROM job_dependencies d JOIN jobs mine ON mine.id = d.job_id JOIN jobs needed ON needed.id = d.needs_id
     WHERE d.job_id = :id AND mine.kind = 'train' AND needed.kind = 'train' AND needed.parent_id = mine.parent_id""")


Told = tuple[wire.Frame, list[bytes]]


class MissingInput(LookupError):
    """The job names something that is no longer stored; trying again would not help."""


def marks_and_checkpoints(
    connection: Connection, jobs: Sequence[claims.Claimed]
) -> tuple[dict[int, int], dict[int, Checkpoint]]:
    """Where each slot's sink goes on counting, and the checkpoint it goes on from, if any.

    A forked job's first attempt goes on from another job's checkpoint; so does that of a study's training that waits for
    another of the study's trainings, whose stages are its own first ones (`studies.Member.start`).
    """
    marks: dict[int, int] = {}
    resume: dict[int, Checkpoint] = {}
    for job in jobs:
        slot = job.slot or 0
        marks[slot] = 0
        found = snapshots.newest_checkpoint(connection, job.id) if job.attempt > 1 else None
        if found is not None:
            marks[slot], resume[slot] = found
        elif job.origin_snapshot_id is not None:
            resume[slot] = snapshots.checkpoint(connection, job.project_id, job.origin_snapshot_id)
        else:
            starts = connection.execute(START, {"id": job.id}).scalars().all()
            shared = snapshots.newest_checkpoint(connection, starts[0]) if len(starts) == 1 else None
            if shared is not None:
                resume[slot] = shared[1]
    return marks, resume


def frames(
    connection: Connection, jobs: Sequence[claims.Claimed], resume: Mapping[int, Checkpoint], device: str
) -> list[Told]:
    """Everything the child is told before it starts. Raises `MissingInput`."""
    first = jobs[0]
    if first.pack_id is not None:
        pack = claims.pack_specs(connection, first.pack_id)
        # Slots are places in the list: a pack has no gaps, as none of its members is ever deleted alone.
        specs = [pack[slot] for slot in range(len(pack))]
    else:
        specs = [first.spec]
    head = {
        "t": "job",
        "kind": first.kind,
        "specs": specs,
        "slots": [job.slot or 0 for job in jobs],
        "pack": first.pack_id is not None,
        "device": device,
        "dtype": first.dtype,
        "threads": first.threads,
        "trace_id": first.trace_id,
    }
    told: list[Told] = [(wire.Frame(head), [])]
    for slot, checkpoint in resume.items():
        said = {"t": "checkpoint", "slot": slot, "step": checkpoint.step, "state": checkpoint.state}
        told.append(_with_tensors(said, checkpoint.tensors))
    sent: set[str] = set()
    for job in jobs:
        told += _inputs(connection, job, sent)
    told.append((wire.Frame({"t": "go"}), []))
    return told


def _inputs(connection: Connection, job: claims.Claimed, sent: set[str]) -> Iterator[Told]:
    """What a job names; a data set that a pack's members share goes once: `sent` holds those that have gone."""
    yield from _datasets(connection, job, job.spec, sent)
    if job.kind == "probe":
        for head, found in _probed(connection, job):
            # Networks on pictures are probed on the data of their own job where the probe names no other.
            if job.spec.get("data") is None:
                yield from _datasets(connection, job, head["spec"], sent)
            yield _with_tensors(head, found)


def _datasets(
    connection: Connection, job: claims.Claimed, spec: Mapping[str, Any], sent: set[str]
) -> Iterator[Told]:
    for dataset_id in sorted(set(_named(spec, "dataset")) - sent):
        sent.add(dataset_id)
        row = connection.execute(
            text("SELECT id, meta FROM datasets WHERE id = :id AND project_id = :project"),
            {"id": dataset_id, "project": job.project_id},
        ).one_or_none()
        if row is None:
            raise MissingInput(f"data set {dataset_id} is no longer stored")
        parts = connection.execute(
            text("SELECT name, tensor_id FROM dataset_tensors WHERE dataset_id = :id ORDER BY position"),
            {"id": dataset_id},
        )
        found = tensors.load(connection, {part.name: part.tensor_id for part in parts})
        head = {"t": "dataset", "id": dataset_id, "class_names": row.meta.get("class_names", [])}
        yield _with_tensors(head, found)


def _probed(
    connection: Connection, job: claims.Claimed
) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """The stored weights that a probe reads: those it names, or all of the job it names."""
    of = job.spec["of"]
    rows = connection.execute(
        text("""
            SELECT s.id, s.job_id, s.step, s.kind, s.meta, j.spec FROM snapshots s JOIN jobs j ON j.id = s.job_id
             WHERE s.project_id = :project AND s.kind = 'weights'
               AND (s.job_id = :job OR s.id = ANY(:ids)) ORDER BY s.job_id, s.step"""),
        {"project": job.project_id, "job": of.get("job"), "ids": list(of.get("snapshots") or ())},
    ).all()
    missing = set(of.get("snapshots") or ()) - {row.id for row in rows}
    if missing or not rows:
        raise MissingInput(f"no stored weights: {', '.join(sorted(missing)) or of.get('job')}")
    for row in rows:
        head = {"t": "snapshot", "id": row.id, "job_id": row.job_id, "step": row.step, "kind": row.kind}
        yield head | {"meta": row.meta, "spec": row.spec}, snapshots.load(connection, row.id)


def _with_tensors(head: dict[str, Any], found: Mapping[str, Tensor]) -> Told:
    return wire.Frame(head | {"tensors": wire.tensor_heads(found)}), [one.data for one in found.values()]


def _named(value: Any, key: str) -> Iterator[str]:
    """Every string under `key`, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield inner
            else:
                yield from _named(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, key)
