"""Uploads, streamed to a file of their own and hashed on the way; the children read them from there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from anyio import to_thread
from fastapi import Request

from api.lab import Lab
from api.problems import Fault, Problem, Refused
from api.routing import refuse_coded

#: bodies that come in at once, of all callers and of one; each holds at most two blocks in memory
AT_ONCE, OF_ONE = 128, 64
WRITE_BYTES = 128 << 10
SPARE_DISK_BYTES = 256 << 20
_REFUSED_MEDIA = ("multipart/", "application/x-www-form-urlencoded", "application/json", "text/")


@dataclass(frozen=True, slots=True)
class Upload:
    """A body on disk."""

    path: Path
    bytes: int
    sha256: str


@asynccontextmanager
async def received(request: Request, lab: Lab) -> AsyncIterator[Upload]:
    """The request's body as a file that is gone when this ends. Raises 400, 413, 415, 503."""
    refuse_coded(request)
    media = request.headers.get("content-type", "application/octet-stream").lower()
    if media.startswith(_REFUSED_MEDIA):
        raise Problem(
            415, "media_type", "send the file itself as the body: Content-Type: application/octet-stream"
        )
    with _place(lab, request.scope.get("bfc.caller", "")):
        path = await to_thread.run_sync(_fresh, lab.config.data / "uploads")
        try:
            yield await _written(request, path)
        finally:
            await to_thread.run_sync(path.unlink, True)


@contextmanager
def _place(lab: Lab, caller: str) -> Iterator[None]:
    """While a caller's upload is under way; slow ones of one caller leave room for others."""
    held = lab.uploads
    if held.total() >= AT_ONCE or held[caller] >= OF_ONE:
        raise _busy(f"as many uploads are under way as are taken: {OF_ONE} of one caller, {AT_ONCE} of all")
    held[caller] += 1
    try:
        yield
    finally:
        held[caller] -= 1
        if not held[caller]:
            del held[caller]


def _busy(says: str) -> Problem:
    return Problem(503, "uploads", says, headers={"Retry-After": "5"})


def _fresh(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=folder)
    os.close(handle)
    return Path(name)


async def _written(request: Request, path: Path) -> Upload:
    digest, size, held = hashlib.sha256(), 0, bytearray()
    with path.open("wb") as file:
        async for piece in request.stream():
            held += piece
            size += len(piece)
            if len(held) >= WRITE_BYTES:
                block = bytes(held)
                held.clear()
                await to_thread.run_sync(_put, file, digest, block)
        await to_thread.run_sync(_put, file, digest, bytes(held))
    if size == 0:
        raise Refused([Fault("", "the body is empty; send the file itself")])
    return Upload(path, size, digest.hexdigest())


def _put(file: BinaryIO, digest: Any, block: bytes) -> None:
    if shutil.disk_usage(file.name).free < SPARE_DISK_BYTES:
        raise _busy("the server's disk is nearly full; try again when there is room")
    digest.update(block)
    file.write(block)
