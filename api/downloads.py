"""Replies that go on while their client takes them, and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.problems import Problem


class Download(Response):
    """A body sent in pieces; its source is closed as soon as the client leaves.

    Starlette's own streaming leaves that to the garbage collector: a client that hangs up would go on holding its
    windows, its connection and its place among the downloads.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        media: str | None = None,
    ) -> None:
        self.source = source
        self.status_code, self.media_type, self.background = status, media, None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        """Sends it all, or as much as is wanted."""
        with anyio.CancelScope() as wanted, watched(receive, wanted):
            async with aclosing(self.source) as source:
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                async for piece in source:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextmanager
def watched(receive: Receive, reply: anyio.CancelScope) -> Iterator[None]:
    """Cancels `reply` when its client is gone, or sends a body that does not come.

    Not a task group: its scope and events would take a tenth more of what an idle stream holds.
    """
    watching = asyncio.create_task(_until_gone(receive, reply))
    try:
        yield
    finally:
        watching.cancel()


async def _until_gone(receive: Receive, reply: anyio.CancelScope) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Problem:
        pass
    finally:
        reply.cancel()
