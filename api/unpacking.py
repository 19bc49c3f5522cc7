"""Archives read back, in a child: every name, size and hash is checked before a job of it exists."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import numpy as np
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError

from api.manifests import JobSaid, ManifestSaid, PointsSaid, ResultSaid, Said, SeriesSaid, SnapshotSaid
from bfc_core import specs
from bfc_core.records import Tensor
from bfc_core.specs.errors import faults_of
from store import archives, tensors
from store.archives import Differs, Member
from store.engine import transact
from store.series import Points

MOST_ENTRIES = 500_000
MANIFEST_BYTES = 256 << 20
TENSOR_BYTES = 1 << 30
BATCH_BYTES = 32 << 20
T = TypeVar("T", bound=Said)


class BadArchive(ValueError):
    """The file is not an archive of a study, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive's entries by name, each a place in the file."""

    file: IO[bytes]
    entries: Mapping[str, tuple[int, int]]

    def read(self, name: str, most: int = MANIFEST_BYTES) -> bytes:
        """One entry."""
        if name not in self.entries:
            raise BadArchive(f"{name} is missing")
        start, size = self.entries[name]
        if size > most:
            raise BadArchive(f"{name} has {size} bytes; at most {most} are read")
        self.file.seek(start)
        return self.file.read(size)

    def sha256(self, name: str) -> str:
        """The hash of one entry, however large."""
        start, left = self.entries[name]
        self.file.seek(start)
        digest = hashlib.sha256()
        while left and (piece := self.file.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
        return digest.hexdigest()

    def json(self, name: str) -> Any:
        """One entry as JSON."""
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError):
            raise BadArchive(f"{name} is not JSON") from None

    def said(self, shape: type[T], name: str) -> T:
        """One entry as JSON of this shape."""
        content = self.json(name)
        try:
            return shape.model_validate(content)
        except ValidationError as error:
            fault = faults_of(error, content)[0]
            raise BadArchive(f"{name} does not say what it must: {fault.pointer or '/'}: {fault.detail}"[:500]) from None


def unpack(engine: Engine, path: str, project: str, key_id: str | None) -> dict[str, str]:
    """`{"id": root's new id}`. Tensors first, in short transactions, then all jobs in one."""
    with open(path, "rb") as file:  # noqa: PTH123 - the API's own temporary file
        opened = Opened(file, _entries(file))
        _check_sums(opened)
        members = [_member(opened, job) for job in opened.said(ManifestSaid, "manifest.json").jobs]
        _store_tensors(engine, project, opened, members)
        try:
            root = transact(engine, lambda connection: archives.write(connection, project, key_id, members))
        except Differs as fault:
            raise BadArchive(str(fault)) from None
        except (DataError, IntegrityError) as fault:
            raise BadArchive(f"the database does not take what it says: {fault.orig}"[:500]) from None
    return {"id": root}


def _entries(file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Regular files only; nothing is ever written to disk under a name from the archive."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                if not entry.isreg():
                    raise BadArchive(f"{entry.name[:80]!r} is not a plain file")
                if entry.name in found or len(found) >= MOST_ENTRIES:
                    raise BadArchive(f"{entry.name[:80]!r} stands twice, or there are too many entries")
                found[entry.name] = (entry.offset_data, entry.size)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as fault:
        raise fault if isinstance(fault, BadArchive) else BadArchive(f"not a tar file: {fault}") from None
    if "manifest.json" not in found:
        raise BadArchive("manifest.json is missing; is this an archive made by `bfc export`?")
    return found


def _check_sums(opened: Opened) -> None:
    """Every entry is there, is listed, and is what it was when it was exported."""
    sums = opened.json(archives.CHECKSUMS)
    told = {name for name in opened.entries if not name.startswith(archives.TENSORS)} - {archives.CHECKSUMS}
    if not isinstance(sums, dict) or set(sums) != told:
        odd = sorted(told.symmetric_difference(sums if isinstance(sums, dict) else ()))[:1]
        raise BadArchive(f"{archives.CHECKSUMS} and the entries differ: {', '.join(map(repr, odd))}"[:200])
    for name, expected in sums.items():
        if opened.sha256(name) != expected:
            raise BadArchive(f"{name} has another content than when it was exported")


def _member(opened: Opened, said: JobSaid) -> Member:
    row = said.job.model_dump()
    if "sha256:" + hashlib.sha256(specs.canonical(row["spec"]).encode()).hexdigest() != row["spec_hash"]:
        raise BadArchive(f"the spec of {said.id} has another hash than the archive says")
    try:
        specs.load(row["kind"], row["spec"])
    except ValueError as fault:
        raise BadArchive(f"the spec of {said.id} is not one of this version: {fault}"[:500]) from None
    result = None
    if said.result_hash is not None:
        result = opened.said(ResultSaid, f"results/{said.id}.json").result()
    if row["summary"] != (None if result is None else result.summary):
        raise BadArchive(f"{said.id} is shown with another summary than its results have")
    name = f"series/{said.id}.json"
    points = opened.said(SeriesSaid, name).series if name in opened.entries else []
    kept = [one.model_dump() | {"packed": _heads(opened, one)} for one in said.snapshots]
    return Member(
        said.id, said.parent, said.after, row, result, said.result_hash, [_points(one) for one in points], kept
    )


def _points(said: PointsSaid) -> Points:
    values = np.array([float(value) for value in said.values], np.float64)
    return Points(said.key, said.layer, said.unit, np.array(said.steps, np.int64), values)


def _heads(opened: Opened, said: SnapshotSaid) -> dict[str, tensors.Packed]:
    found = {}
    for one in said.tensors:
        name = f"tensors/{one.hash}"
        if name not in opened.entries:
            raise BadArchive(f"{name} is missing")
        size = opened.entries[name][1]
        found[one.name] = archives.packed_head(bytes.fromhex(one.hash), one.dtype, one.shape, size)
    return found


def _store_tensors(engine: Engine, project: str, opened: Opened, members: Iterable[Member]) -> None:
    wanted = {
        packed.hash: packed
        for member in members
        for kept in member.snapshots
        for packed in kept["packed"].values()
    }
    batch: list[tensors.Packed] = []
    held = 0
    for hash_, head in wanted.items():
        try:
            tensor = Tensor(head.dtype, head.shape, opened.read(f"tensors/{hash_.hex()}", TENSOR_BYTES))
        except ValueError as fault:
            raise BadArchive(f"tensors/{hash_.hex()}: {fault}") from None
        fresh = tensors.pack(tensor)
        if fresh.hash != hash_:
            raise BadArchive(f"tensors/{hash_.hex()} has another content than its name says")
        batch.append(fresh)
        held += fresh.size
        if held >= BATCH_BYTES:
            _put(engine, project, batch)
            batch, held = [], 0
    if batch:
        _put(engine, project, batch)


def _put(engine: Engine, project: str, batch: list[tensors.Packed]) -> None:
    transact(engine, lambda connection: tensors.put(connection, project, batch))
