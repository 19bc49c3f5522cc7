"""What stands around every request: its id, the Host and Origin check, bounds on its body, headers, one log line.

Plain ASGI: Starlette's BaseHTTPMiddleware costs a task and a queue per request and buffers streams.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import observe
from api.bodies import JSON_LIMIT_BYTES
from api.hosts import Gate
from api.outgoing import LARGE_BYTES, Outgoing, TooSlow, in_pieces
from api.problems import Problem
from api.rates import Bucket

LOG = logging.getLogger("bfc.api")
CHUNK_SECONDS = 20.0
GRACE_SECONDS = 20.0
SLOWEST_BYTES_PER_SECOND = 2_000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_DEFAULTS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"cache-control", b"no-store"),
)


@dataclass(slots=True)
class Edge:
    """The outermost layer of the application."""

    app: ASGIApp
    gate: Gate
    outgoing: Outgoing
    #: longest body by path, in bytes; others may send JSON_LIMIT_BYTES
    body_limits: dict[str, int]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._refuse_or_pass(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request = observe.begin(_id(headers), _trace(headers))
        method = scope["method"]
        if method == "HEAD":
            # A GET of which the head alone is sent (RFC 9110 §9.3.2).
            scope = {**scope, "method": "GET"}
        scope["bfc.request_id"], scope["bfc.trace_id"] = request.request_id, request.trace_id
        reply = _Reply(scope, send, request.request_id, self.outgoing)
        started = time.perf_counter()
        try:
            self.gate.check(method, headers)
            limit = self.body_limits.get(scope["path"], JSON_LIMIT_BYTES)
            body = _Body(receive, headers, limit)
            del headers  # a stream would keep them
            if method == "HEAD":
                await self._head_alone(scope, body, reply)
            else:
                await self.app(scope, body, reply)
        except Problem as problem:
            await reply.instead(problem)
        except TooSlow:
            LOG.info("a reply was cut off: its client takes it too slowly")
        except Exception as fault:
            LOG.exception("request failed: %s", type(fault).__name__)
            says = f"the server failed; its log tells why under request id {request.request_id}"
            await reply.instead(Problem(500, "internal", says))
        finally:
            observe.end(scope, method, reply.status, time.perf_counter() - started)

    async def _head_alone(self, scope: Scope, body: Receive, reply: _Reply) -> None:
        """Calls the application until its reply's head is out: a stream would never end by itself."""
        with anyio.CancelScope() as enough:
            reply.enough = enough
            await self.app(scope, body, reply)

    async def _refuse_or_pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        else:
            await self.app(scope, receive, send)


@dataclass(slots=True)
class _Reply:
    """Sends on, adding the headers that every reply carries; what is large goes within the budget of `outgoing`."""

    scope: Scope
    send: Send
    request_id: str
    outgoing: Outgoing
    status: int = 0
    #: set for HEAD: cancelled instead of sending a body
    enough: anyio.CancelScope | None = None
    #: the head waits for the first of the body: a reply that has no room is refused instead
    _head: Message | None = None
    _refused: bool = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body" and not self._refused:
            await self._go_on(message)

    async def instead(self, problem: Problem) -> None:
        """The problem, unless a reply has begun: then the connection is cut by returning."""
        if not self.status or self._head is not None:
            self._head = None
            await problem.response()(self.scope, _nothing, self)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        if self.status == 201:
            # So that the log line of a submission names its job.
            self.scope["bfc.made"] = dict(message.get("headers", [])).get(b"location", b"").decode()
        message["headers"] = self._headers(list(message.get("headers", [])))
        self._head = message

    async def _go_on(self, message: Message) -> None:
        body = message.get("body", b"")
        if self.enough is not None:
            await self._send_head()
            if not self.enough.cancel_called:
                await self.send({"type": "http.response.body", "body": b"", "more_body": False})
                self.enough.cancel()
        elif self._head is None or len(body) <= LARGE_BYTES:
            await self._send_head()
            await self.send(message)
        else:
            await self._send_large(body, message.get("more_body", False))

    async def _send_large(self, body: bytes, more: bool) -> None:
        try:
            with self.outgoing.reply(self.scope.get("bfc.caller", ""), len(body)):
                await self._send_head()
                await in_pieces(self.send, body, more)
        except Problem as problem:
            await self.instead(problem)
            self._refused = True

    async def _send_head(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            await self.send(head)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in headers}
        headers.extend(_HEADERS)
        headers.extend(header for header in _DEFAULTS if header[0] not in given)
        headers.append((b"x-request-id", self.request_id.encode()))
        bucket = self.scope.get("bfc.rate")
        if isinstance(bucket, Bucket):
            headers.extend(bucket.headers())
        if self.status in (408, 413):
            headers.append((b"connection", b"close"))
        return headers


class _Body:
    """Receives a body within bounds: of size, of the wait for each piece, and of the rate of the whole."""

    __slots__ = ("done", "limit", "receive", "started", "taken")

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], limit: int) -> None:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > limit:
            raise _too_large(limit)
        self.receive, self.limit = receive, limit
        self.taken, self.done, self.started = 0, False, time.monotonic()

    async def __call__(self) -> Message:
        if self.done:
            return await self.receive()
        try:
            with anyio.fail_after(CHUNK_SECONDS):
                message = await self.receive()
        except TimeoutError:
            raise Problem(
                408, "slow_body", f"no byte of the body came for {CHUNK_SECONDS:g} seconds"
            ) from None
        if message["type"] == "http.request":
            self.done = not message.get("more_body", False)
            self._count(len(message.get("body", b"")))
        return message

    def _count(self, size: int) -> None:
        self.taken += size
        if self.taken > self.limit:
            raise _too_large(self.limit)
        late = time.monotonic() - self.started - GRACE_SECONDS
        if not self.done and late > 0 and self.taken < late * SLOWEST_BYTES_PER_SECOND:
            raise Problem(
                408, "slow_body", f"the body came at less than {SLOWEST_BYTES_PER_SECOND} bytes a second"
            )


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"at most {limit} bytes are taken here")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _trace(headers: dict[bytes, bytes]) -> str:
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b"").decode("latin-1"))
    return match[1] if match else secrets.token_hex(16)
