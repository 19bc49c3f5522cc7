"""Uploads, streamed to a file of their own and hashed on the way; the children read them from there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread
from fastapi import Request

from api.lab import Lab
from api.problems import Fault, Problem, Refused
from api.routing import refuse_coded

AT_ONCE = 4
WRITE_BYTES = 1 << 20
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
    if lab.uploads >= AT_ONCE:
        raise Problem(503, "uploads", f"{AT_ONCE} uploads are under way", headers={"Retry-After": "5"})
    lab.uploads += 1
    folder = lab.config.data / "uploads"
    path = await to_thread.run_sync(_fresh, folder)
    try:
        yield await _written(request, path)
    finally:
        lab.uploads -= 1
        await to_thread.run_sync(path.unlink, True)


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


def _put(file: object, digest: object, block: bytes) -> None:
    digest.update(block)  # type: ignore[attr-defined]
    file.write(block)  # type: ignore[attr-defined]
