"""Large files in both directions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

from bfc_client.errors import BfcError

_CHUNK_BYTES = 1 << 20


class Partial:
    """A file that is being downloaded beside its target, and takes its name only when it is whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        self._etag: str | None = None
        self._received = 0
        try:
            self._file = self._path.open("wb")
        except OSError as fault:
            raise BfcError(f"cannot write {target}: {fault.strerror}") from fault

    def headers(self) -> dict[str, str]:
        """What the next request sends: the rest alone, provided that the content is still the same."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self._received and self._etag:
            headers |= {"Range": f"bytes={self._received}-", "If-Range": self._etag}
        return headers

    def begin(self, response: httpx.Response) -> None:
        """A reply starts: 206 goes on, anything else starts over."""
        self._etag = response.headers.get("etag")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            self._file.seek(0)
            self._file.truncate()
            self._received = 0

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._received += len(chunk)

    def finish(self) -> Path:
        """The whole file under its own name."""
        self._file.close()
        self._path.replace(self._target)
        return self._target

    def drop(self) -> None:
        """Give up and leave nothing behind."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def chunks(path: Path) -> Iterator[bytes]:
    """A file's content, a megabyte at a time. Raises BfcError where it cannot be read."""
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK_BYTES):
                yield block
    except OSError as fault:
        raise BfcError(f"cannot read {path}: {fault.strerror}") from fault


async def achunks(path: Path) -> AsyncIterator[bytes]:
    """The same for the async client; a local read blocks for less than a turn of the loop."""
    for block in chunks(path):
        yield block
