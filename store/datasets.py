"""Uploaded data sets: named tensors and facts, stored once a project by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, insert, select, text

from bfc_core.records import Tensor
from bfc_core.specs import canonical
from store import tensors
from store.errors import Conflict, NotFound
from store.ids import new_id
from store.tables import dataset_tensors, datasets


class OverQuota(Exception):
    """The project may not store so much more."""


class Fresh(NamedTuple):
    """A checked data set about to be stored."""

    project_id: str
    name: str
    format: str
    meta: Mapping[str, Any]
    tensors: Mapping[str, tensors.Packed]


def put(connection: Connection, fresh: Fresh) -> tuple[str, bool]:
    """Stores a data set; its id, and False where the project held the same one already.

    Raises `OverQuota`. What another project stores is neither shared nor seen.
    """
    content = content_hash(fresh)
    known = select(datasets.c.id).where(datasets.c.project_id == fresh.project_id, datasets.c.hash == content)
    # Two equal uploads at once: the second waits here and then finds the first.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": content.hex()})
    found = connection.execute(known).scalar_one_or_none()
    if found is not None:
        return str(found), False
    size = sum(packed.size for packed in fresh.tensors.values())
    _check_quota(connection, fresh.project_id, size)
    ids = tensors.put(connection, fresh.project_id, list(fresh.tensors.values()))
    made = new_id("ds")
    connection.execute(
        insert(datasets),
        {
            "id": made,
            "project_id": fresh.project_id,
            "name": fresh.name,
            "format": fresh.format,
            "hash": content,
            "bytes": size,
            "meta": dict(fresh.meta),
        },
    )
    rows = [
        {"dataset_id": made, "name": name, "position": place, "tensor_id": ids[packed.hash]}
        for place, (name, packed) in enumerate(fresh.tensors.items())
    ]
    connection.execute(insert(dataset_tensors), rows)
    return made, True


def content_hash(fresh: Fresh) -> bytes:
    """sha256 over facts, names and contents; not over the name people gave it or the form it came in."""
    digest = hashlib.sha256(canonical(dict(fresh.meta)).encode())
    for name, packed in sorted(fresh.tensors.items()):
        digest.update(f"{name}:".encode() + packed.hash)
    return digest.digest()


def get(connection: Connection, project_id: str, dataset_id: str) -> RowMapping:
    """One data set's head; `NotFound` in another project."""
    query = select(datasets).where(datasets.c.id == dataset_id, datasets.c.project_id == project_id)
    found = connection.execute(query).mappings().one_or_none()
    if found is None:
        raise NotFound("data set", dataset_id)
    return found


def load(connection: Connection, project_id: str, dataset_id: str) -> tuple[RowMapping, dict[str, Tensor]]:
    """A data set's head and all its tensors; `NotFound` in another project."""
    head = get(connection, project_id, dataset_id)
    query = select(dataset_tensors.c.name, dataset_tensors.c.tensor_id)
    rows = connection.execute(
        query.where(dataset_tensors.c.dataset_id == dataset_id).order_by(dataset_tensors.c.position)
    )
    return head, tensors.load(connection, {row.name: row.tensor_id for row in rows})


def remove(connection: Connection, project_id: str, dataset_id: str) -> None:
    """Deletes a data set; its tensors are collected later. `Conflict` while a job that has not ended names it."""
    get(connection, project_id, dataset_id)
    user = connection.execute(
        text("""SELECT id, state FROM jobs WHERE project_id = :project
                   AND state NOT IN ('succeeded', 'failed', 'cancelled') AND position(:id IN spec::text) > 0 LIMIT 1"""),
        {"project": project_id, "id": dataset_id},
    ).one_or_none()
    if user is not None:
        raise Conflict("delete the data of", user.state, f"the job {user.id} still needs {dataset_id}")
    connection.execute(datasets.delete().where(datasets.c.id == dataset_id))


def _check_quota(connection: Connection, project_id: str, adding: int) -> None:
    row = connection.execute(
        text("""SELECT amount, (SELECT coalesce(sum(bytes), 0) FROM datasets WHERE project_id = :project) AS used
                  FROM quotas WHERE project_id = :project AND name = 'dataset_bytes'"""),
        {"project": project_id},
    ).one_or_none()
    if row is not None and row.used + adding > row.amount:
        raise OverQuota(f"{row.used} bytes of data sets are stored and {adding} more would pass {row.amount}")
