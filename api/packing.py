"""A finished study as one tar file, written while it is read: manifest, results, series, figures, tensors.

Nothing in it depends on this server: tensors are named by their content, times are UTC, ids are origins.
"""

from __future__ import annotations

import hashlib
import math
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection

from api.lab import Lab
from api.outgoing import Windows
from api.problems import Problem
from api.replies import dumps
from api.tables import csv_of
from bfc_core import figures
from store import results, series, tensors
from store.archives import CHECKSUMS, TENSORS, TensorPlace
from store.series import Points


async def packed(
    lab: Lab, project: str, manifest: Mapping[str, Any], places: Mapping[str, TensorPlace]
) -> AsyncGenerator[bytes, None]:
    """The archive's bytes."""
    with lab.outgoing.download() as windows:
        async for piece in _pieces(lab, project, manifest, places, windows):
            yield piece


async def _pieces(
    lab: Lab,
    project: str,
    manifest: Mapping[str, Any],
    places: Mapping[str, TensorPlace],
    windows: Windows,
) -> AsyncIterator[bytes]:
    at = _at(manifest["jobs"][0]["job"])
    sums: dict[str, str] = {}
    async for name, content in _told(lab, project, manifest):
        sums[name] = hashlib.sha256(content).hexdigest()
        yield _entry(name, content, at)
    for hash_, place in places.items():
        yield _head(f"{TENSORS}{hash_}", place.bytes, at)
        start = 0
        while start < place.bytes:
            last = min(place.bytes, tensors.edge(start, start + windows.widen()))
            for piece in await lab.read(_window, place.id, start, last):
                yield piece
            start = last
        yield _padding(place.bytes)
    yield _entry(CHECKSUMS, dumps(sums), at)
    yield bytes(2 * tarfile.BLOCKSIZE)


async def _told(lab: Lab, project: str, manifest: Mapping[str, Any]) -> AsyncIterator[tuple[str, bytes]]:
    """All entries that their name does not already hold to their content."""
    yield "manifest.json", dumps(manifest)
    for member in manifest["jobs"]:
        if member["result_hash"] is not None:
            yield f"results/{member['id']}.json", await lab.read(_results, member["id"])
        told = await lab.read(_series, member["id"])
        if told is not None:
            yield f"series/{member['id']}.json", told
    async for name, content in _shown(lab, project, manifest):
        yield name, content


async def _shown(lab: Lab, project: str, manifest: Mapping[str, Any]) -> AsyncIterator[tuple[str, bytes]]:
    """For eyes: the root's tables as CSV and its figures."""
    root = manifest["jobs"][0]
    if root["result_hash"] is None:
        return
    found = await lab.read(results.get, root["id"])
    assert found is not None
    for name, table in found["tables"].items():
        yield f"tables/{name}.csv", csv_of(table)
    kind = root["job"]["spec"].get("kind") if root["job"]["kind"] == "study" else root["job"]["kind"]
    for one in figures.names(str(kind), root["job"]["spec"]):
        for form, suffix in (("json", "vl.json"), ("svg", "svg")):
            order = {
                "op": "figure",
                "job": root["id"],
                "figure": one["name"],
                "format": form,
                "theme": "light",
            }
            name = f"{project}-{root['result_hash']}-{one['name']}-{form}-light"
            try:
                yield f"figures/{one['name']}.{suffix}", await lab.rendering.make(name, order)
            except Problem:
                continue  # a figure that cannot be drawn of these tables must not spoil the archive


def _results(connection: Connection, job_id: str) -> bytes:
    found = results.get(connection, job_id)
    assert found is not None
    return dumps({"summary": found["summary"], "tables": found["tables"]})


def _series(connection: Connection, job_id: str) -> bytes | None:
    """Every point of every series; None where there is none. Values that are not numbers are spelt as text."""
    found = [_spelt(points) for _, points in series.read(connection, [job_id])]
    return dumps({"series": found}) if found else None


def _spelt(points: Points) -> dict[str, Any]:
    values: Any = np.ascontiguousarray(points.values)
    if not np.isfinite(values).all():
        values = [value if math.isfinite(value) else str(value) for value in values.tolist()]
    head = {"key": points.key, "layer": points.layer, "unit": points.unit}
    return head | {"steps": np.ascontiguousarray(points.steps), "values": values}


def _window(connection: Connection, tensor_id: int, start: int, stop: int) -> list[bytes]:
    return list(tensors.read(connection, tensor_id, start, stop))


def _entry(name: str, content: bytes, at: int) -> bytes:
    return _head(name, len(content), at) + content + _padding(len(content))


def _head(name: str, size: int, at: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, at, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _at(job: Mapping[str, Any]) -> int:
    finished = job["finished_at"]
    return int(finished.timestamp()) if isinstance(finished, datetime) else 0
