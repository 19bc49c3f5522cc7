"""What one connection may cost: bounds on a request's head, its wait and what is pipelined, and on their number.

uvicorn itself reads heads of any size, waits for them for ever, queues as many requests as one packet holds, and
answers what is not HTTP in plain text.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from asyncio.events import TimerHandle
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import MEDIA_TYPE, Problem

#: request line and header fields together, and whatever comes without being a request or a piece of a body
HEAD_BYTES = 32 << 10
HEAD_FIELDS = 100
HEAD_SECONDS = 20.0
PIPELINED = 32
#: what of a reply may wait in the process beside the piece being sent
WRITE_BYTES = 16 << 10

_LARGE = Problem(
    431, "head_too_large", f"request line and headers may take {HEAD_BYTES} bytes in {HEAD_FIELDS} fields"
)
_SLOW = Problem(408, "slow_head", f"no whole request came in {HEAD_SECONDS:g} seconds")
_MALFORMED = Problem(400, "malformed", "this is not an HTTP request as RFC 9112 has it")
_PIPELINED = Problem(400, "pipelined", f"more than {PIPELINED} requests were sent ahead of their replies")
_FULL = Problem(
    503, "connections", "as many connections are open as are served", headers={"Retry-After": "5"}
)


class Guarded(HttpToolsProtocol):
    """uvicorn's protocol, within bounds."""

    #: connections of the process; more are refused
    most = 1 << 20
    _clock: TimerHandle | None = None
    _refusal = _MALFORMED
    #: no request is under way: the head of the next one is awaited
    _awaiting = True
    #: bytes since a request or a piece of a body was last made out in what came
    _idle_bytes = 0
    _progress = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it has some seconds to say what it wants."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        if len(self.connections) > self.most:
            self._refuse(_FULL)
        else:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of it; what is too much ends the connection."""
        if self.transport.is_closing():
            return
        self._progress = False
        super().data_received(data)
        self._idle_bytes = 0 if self._progress else self._idle_bytes + len(data)
        if self._idle_bytes > HEAD_BYTES:
            self._refuse(_LARGE)
        elif self._awaiting and self._clock is None and not self.transport.is_closing():
            self._start_clock()

    def on_headers_complete(self) -> None:
        """A whole head; raises to have it refused, which the parser passes on."""
        self._progress = True
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            self._refusal = _LARGE
            raise _LARGE
        if len(self.pipeline) >= PIPELINED:
            self._refusal = _PIPELINED
            raise _PIPELINED
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise _MALFORMED
        self._stop_clock()
        self._awaiting = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which `api.edge` bounds."""
        self._progress = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The reply is out; without another request at hand the next one is awaited."""
        self._awaiting = not self.pipeline
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """What the parser refuses."""
        self._refuse(self._refusal)

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(HEAD_SECONDS, self._out_of_time)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _out_of_time(self) -> None:
        self._clock = None
        if self._idle_bytes:
            self._refuse(_SLOW)
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Says why, unless a reply is being sent, and hangs up."""
        self._stop_clock()
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_spelt(problem))
        self.transport.close()


def served(app: FastAPI, **options: Any) -> uvicorn.Config:
    """How uvicorn serves the app, wherever it does."""
    return uvicorn.Config(
        app,
        http=Guarded,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        **options,
    )


def _spelt(problem: Problem) -> bytes:
    """The refusal on the wire: there is no request yet that the application could answer."""
    body = json.dumps(problem.json()).encode()
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-request-id": secrets.token_hex(8),
        "connection": "close",
        **(problem.headers or {}),
    }
    status = problem.status_code
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
