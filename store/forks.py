"""Forks: what a new job may start from."""

from __future__ import annotations

from sqlalchemy import Connection, select

from store.errors import NotFound
from store.tables import snapshots


class NoCheckpoint(ValueError):
    """A snapshot of another kind: there is nothing in it to go on from."""


def check(connection: Connection, project_id: str, job_id: str, snapshot_id: str) -> None:
    """Raises `NotFound` unless the snapshot is the job's, `NoCheckpoint` unless it is one to go on from."""
    query = select(snapshots.c.kind).where(
        snapshots.c.id == snapshot_id, snapshots.c.job_id == job_id, snapshots.c.project_id == project_id
    )
    kind = connection.execute(query).scalar_one_or_none()
    if kind is None:
        raise NotFound("snapshot", snapshot_id)
    if kind != "checkpoint":
        raise NoCheckpoint(f"the snapshot {snapshot_id} holds {kind}; a checkpoint is needed")
