"""Clients that cost less than the server they measure: requests a second, and delays of event streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping


def request(path: str, headers: Mapping[str, str]) -> bytes:
    """A GET on a connection that stays open."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Repeat(asyncio.Protocol):
    """Sends the same request again whenever its reply has come."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.count = 0
        self.left = -1
        self.held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.said)

    def data_received(self, data: bytes) -> None:
        self.held += data
        if self.left < 0:
            head, found, rest = self.held.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 200"), head[:200]
            self.left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.held = rest
        if len(self.held) >= self.left:
            self.count, self.left, self.held = self.count + 1, -1, b""
            self.transport.write(self.said)


async def get_for(
    port: int, path: str, headers: Mapping[str, str], connections: int, seconds: float
) -> float:
    """Replies a second to the same GET over some connections at once."""
    loop = asyncio.get_running_loop()
    said = request(path, headers)
    made = [
        await loop.create_connection(lambda: _Repeat(said), "127.0.0.1", port) for _ in range(connections)
    ]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    count = sum(protocol.count for _, protocol in made)
    for transport, _ in made:
        transport.abort()
    return count / took


class _Listener(asyncio.Protocol):
    """Takes the time between an event's `at` and its arrival."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.held = b""
        self.seen: list[int] = []
        self.delays: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.said)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        *lines, self.held = (self.held + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and b'"progress"' in line:
                told = json.loads(line[6:])["data"]
                self.seen.append(told["done"])
                self.delays.append(now - told["at"])


async def listen_all(
    port: int, path: str, headers: Mapping[str, str], count: int, tell: Callable[[], int]
) -> tuple[list[float], bool]:
    """Delays of all events to all of `count` clients while `tell` writes them; True if each got each once, in order."""
    loop = asyncio.get_running_loop()
    said = request(path, {**headers, "Accept": "text/event-stream"})
    made = []
    for _ in range(count):
        made.append(await loop.create_connection(lambda: _Listener(said), "127.0.0.1", port))
        if len(made) % 50 == 0:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    told = await asyncio.to_thread(tell)
    until = time.monotonic() + 10
    for _, one in made:
        while len(one.seen) < told and time.monotonic() < until:  # noqa: ASYNC110 - a protocol of its own, no task to await
            await asyncio.sleep(0.1)
    for transport, _ in made:
        transport.abort()
    complete = all(one.seen == list(range(told)) for _, one in made)
    return [delay for _, one in made for delay in one.delays], complete
