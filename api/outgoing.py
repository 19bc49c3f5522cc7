"""What is on its way out: large replies and downloads share a budget, so that slow readers cannot fill the memory.

A large reply goes out piece by piece, each when the one before has left; until then it counts against its caller and
against all. A download holds only two windows of its file. They start small and double as its client takes them, while
all downloads together leave room: whoever reads slowly never holds much.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from starlette.types import Message, Send

from api.problems import Problem

#: a reply up to this size is simply sent
LARGE_BYTES = 256 << 10
PIECE_BYTES = 256 << 10
REPLIES_BYTES = 48 << 20
#: what a client must take in a second, after some seconds' grace
SLOWEST_BYTES_PER_SECOND = 32 << 10
GRACE_SECONDS = 30.0
WINDOWS_BYTES = 16 << 20
WINDOW_BYTES = 4 << 20
LEAST_WINDOW_BYTES = 64 << 10
DOWNLOADS = 128


class TooSlow(Exception):
    """The client takes the reply so slowly that the connection is cut."""


@dataclass(slots=True)
class Outgoing:
    """The budget of one process."""

    held: Counter[str] = field(default_factory=Counter)
    downloads: int = 0
    #: bytes that all downloads hold in their windows
    window_bytes: int = 0

    @contextmanager
    def reply(self, caller: str, size: int) -> Iterator[None]:
        """Room for a large reply. Raises 503 where the caller, or all together, keep too much waiting."""
        total = self.held.total()
        full = total and total + size > REPLIES_BYTES
        if full or (self.held[caller] and self.held[caller] + size > REPLIES_BYTES // 2):
            raise Problem(
                503,
                "outgoing",
                "large replies are still being sent; ask for less, or again later",
                headers={"Retry-After": "5"},
            )
        self.held[caller] += size
        try:
            yield
        finally:
            self.held[caller] -= size
            if not self.held[caller]:
                del self.held[caller]

    def admit_download(self) -> None:
        """Raises 503 where as many downloads as can be served are under way."""
        if self.downloads >= DOWNLOADS:
            says = f"{DOWNLOADS} downloads are under way, as many as this process serves"
            raise Problem(503, "downloads", says, headers={"Retry-After": "5"})

    @contextmanager
    def download(self) -> Iterator[Windows]:
        """While this lasts a download takes its windows."""
        self.downloads += 1
        mine = Windows(self)
        try:
            yield mine
        finally:
            self.downloads -= 1
            self.window_bytes -= mine.sent + mine.ahead


@dataclass(slots=True)
class Windows:
    """The two windows of one download: the one that is being sent, and the one read ahead."""

    outgoing: Outgoing
    sent: int = 0
    ahead: int = 0

    def widen(self) -> int:
        """The window read ahead is sent now; how many bytes to read ahead instead."""
        self.outgoing.window_bytes -= self.sent
        room = (WINDOWS_BYTES - self.outgoing.window_bytes) // 2
        self.sent, self.ahead = self.ahead, max(LEAST_WINDOW_BYTES, min(WINDOW_BYTES, 2 * self.ahead, room))
        self.outgoing.window_bytes += self.ahead
        return self.ahead


async def in_pieces(send: Send, body: bytes | memoryview, more: bool) -> None:
    """Sends a large body as its client takes it. Raises TooSlow."""
    view = memoryview(body)
    until = GRACE_SECONDS + len(body) / SLOWEST_BYTES_PER_SECOND
    started = time.monotonic()
    for start in range(0, len(body), PIECE_BYTES):
        last = start + PIECE_BYTES >= len(body)
        piece: Message = {
            "type": "http.response.body",
            "body": view[start : start + PIECE_BYTES],
            "more_body": more or not last,
        }
        try:
            with anyio.fail_after(max(0.0, started + until - time.monotonic())):
                await send(piece)
        except TimeoutError:
            raise TooSlow from None
