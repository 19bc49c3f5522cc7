"""Figures, comparisons and uploads, worked on in bounded, recycled child processes beside the API.

A child reads tables and tensors from the store itself and writes there itself, so nothing large passes through the
API, and JavaScript engine, numerics and hostile archives never swell or stall the process that serves the streams.
What is drawn or computed is kept by content.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api import observe
from api.problems import Fault, Problem
from store.config import Config

IDLE_SECONDS = 300.0
USES = 200
WAITING = 32
CACHE_BYTES = 12 << 20
FRAME = struct.Struct(">II")


@dataclass(slots=True)
class _Child:
    """One rendering process."""

    process: Process
    uses: int = 0
    used_at: float = field(default_factory=time.monotonic)

    @property
    def fresh(self) -> bool:
        return self.process.returncode is None and self.uses < USES

    async def ask(self, order: bytes) -> tuple[dict[str, Any], bytes]:
        """The child's answer: a header, and content. Raises OSError or IncompleteReadError where it has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(FRAME.pack(len(order), 0) + order)
        except RuntimeError as closed:  # uvloop, of a pipe that it has seen break before the child's end was told
            raise BrokenPipeError from closed
        await self.process.stdin.drain()
        header_bytes, content_bytes = FRAME.unpack(await self.process.stdout.readexactly(FRAME.size))
        header = json.loads(await self.process.stdout.readexactly(header_bytes))
        self.uses, self.used_at = self.uses + 1, time.monotonic()
        return header, await self.process.stdout.readexactly(content_bytes)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@dataclass(slots=True)
class Rendering:
    """The rendering children, and what they made lately."""

    config: Config
    most: int
    limit_seconds: float = 60.0
    _free: list[_Child] = field(default_factory=list)
    _busy: int = 0
    _waiting: int = 0
    _slots: asyncio.Semaphore | None = None
    _made: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _made_bytes: int = 0

    async def make(self, name: str | None, order: Mapping[str, Any]) -> bytes:
        """What `order` says; `name` is that of its content, under which it is kept (None: not kept).

        Raises 503 when too many wait or it takes too long, and the child's own refusals.
        """
        if name is not None and name in self._made:
            self._made.move_to_end(name)
            observe.RENDERS.labels("cached").inc()
            return self._made[name]
        if self._waiting >= WAITING:
            raise Problem(503, "rendering", f"{WAITING} others are waiting", headers={"Retry-After": "2"})
        self._waiting += 1
        self._slots = self._slots or asyncio.Semaphore(self.most)
        try:
            async with self._slots:
                content = await self._order(json.dumps(order).encode())
        finally:
            self._waiting -= 1
        if name is not None:
            self._keep(name, content)
        return content

    async def tidy(self) -> None:
        """End children that have been idle: their memory is better spent elsewhere."""
        now = time.monotonic()
        old = [child for child in self._free if now - child.used_at > IDLE_SECONDS or not child.fresh]
        self._free = [child for child in self._free if child not in old]
        for child in old:
            await child.end()

    async def close(self) -> None:
        """End all children."""
        for child in self._free:
            await child.end()
        self._free.clear()

    async def _order(self, order: bytes) -> bytes:
        child = await self._child()
        try:
            header, content = await asyncio.wait_for(child.ask(order), self.limit_seconds)
        except TimeoutError:
            await child.end()
            observe.RENDERS.labels("timeout").inc()
            says = f"it took more than {self.limit_seconds:g} seconds"
            raise Problem(503, "rendering", says, headers={"Retry-After": "5"}) from None
        except (asyncio.IncompleteReadError, OSError):
            await child.end()
            observe.RENDERS.labels("died").inc()
            raise Problem(
                503, "rendering", "the rendering process died", headers={"Retry-After": "1"}
            ) from None
        except BaseException:  # cancelled while waiting: the answer would be read by the next order
            await child.end()
            raise
        if child.fresh and not header.get("tired"):
            self._free.append(child)
        else:
            await child.end()
        if "problem" in header:
            observe.RENDERS.labels("refused").inc()
            raise _refused(**header["problem"])
        observe.RENDERS.labels("made").inc()
        return content

    async def _child(self) -> _Child:
        while self._free:
            child = self._free.pop()
            if child.fresh:
                return child
            await child.end()
        environment = {**os.environ, "BFC_DATABASE_URL": self.config.database_url}
        # Threads of BLAS wait for each other by spinning: beside busy workers a comparison of 32 ms took 2 s of CPU.
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.renderer", stdin=PIPE, stdout=PIPE, env=environment
        )
        return _Child(process)

    def _keep(self, name: str, content: bytes) -> None:
        if len(content) > CACHE_BYTES // 2:
            return
        self._made_bytes += len(content) - len(self._made.pop(name, b""))
        self._made[name] = content
        while self._made_bytes > CACHE_BYTES:
            self._made_bytes -= len(self._made.popitem(last=False)[1])


def _refused(status: int, code: str, detail: str, pointer: str | None, place: str) -> Problem:
    faults = [] if pointer is None else [Fault(pointer, detail, place)]
    return Problem(status, code, detail, faults, {"Retry-After": "60"} if status == 429 else None)
