"""The response that is an event stream: history first, then what the hub hands out."""

from __future__ import annotations

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api import observe
from api.downloads import watched
from api.hub import Hub
from api.outgoing import LARGE_BYTES, TooSlow
from api.sse import RETRY
from store.tail import Place
from store.tail import Scope as Of

#: a client that takes nothing for so long is cut off
STALL_SECONDS = 30.0


class EventStream(Response):
    """Writes a topic's events until its job tells no more or the client leaves.

    `over` says that the job had ended before its history was read, so that there is nothing to wait for.
    """

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, scope: Of, of: str, place: Place, over: bool) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.hub, self.scope, self.of, self.place, self.over = hub, scope, of, place, over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Listens before the reply begins, so that a refusal still has its own status."""
        scope["bfc.stream"] = True
        async with self.hub.listen(self.scope, self.of, self.place) as (listener, until):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with watched(receive, listener.cut):
                await send(_body(RETRY))
                over = self.over
                async for content, last in self.hub.history(self.scope, self.of, self.place, until):
                    over = self.over or last
                    await _sent(send, content)
                while not over:
                    await listener.more()
                    content, over = listener.take()
                    await _sent(send, content)
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _sent(send: Send, content: bytes) -> None:
    """Sends it in pieces, each when the one before has left. Raises TooSlow, so that the client comes back for the rest."""
    view = memoryview(content)
    for start in range(0, len(content), LARGE_BYTES):
        try:
            with anyio.fail_after(STALL_SECONDS):
                await send(_body(view[start : start + LARGE_BYTES]))
        except TimeoutError:
            observe.STREAMS_DROPPED.inc()
            raise TooSlow from None


def _body(content: bytes | memoryview) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": True}
