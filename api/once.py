"""`Idempotency-Key`: the same request sent twice is carried out once and answered twice the same."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, TypeVar

import anyio
from fastapi import Header
from sqlalchemy import Connection
from starlette.responses import Response

from api.bodies import canonical
from api.lab import Lab
from api.problems import Conflicting
from store import idempotency

T = TypeVar("T")
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="a name of this request, kept for 24 hours: sent again with the same body it is answered "
        "from the first, with `Idempotent-Replayed: true`",
    ),
]
_SECRETS = 1_000


class Made(NamedTuple):
    """A reply that may be given again."""

    status: int
    headers: dict[str, str]
    body: bytes

    def response(self, replayed: bool = False) -> Response:
        """The reply itself."""
        again = {"Idempotent-Replayed": "true"} if replayed else {}
        return Response(self.body, self.status, {**self.headers, **again}, "application/json")


@dataclass(slots=True)
class Secrets:
    """Replies that hold a secret: told again while this process lives, never written down."""

    _kept: OrderedDict[tuple[str, str], bytes] = field(default_factory=OrderedDict)

    def keep(self, project: str, key: str, body: bytes) -> None:
        """Remember a reply."""
        self._kept[project, key] = body
        while len(self._kept) > _SECRETS:
            self._kept.popitem(last=False)

    def find(self, project: str, key: str) -> bytes:
        """The reply; 409 where it is no longer known."""
        found = self._kept.get((project, key))
        if found is None:
            raise Conflicting(
                "this was made before; its secret was shown once and is not kept", "secret_shown"
            )
        return found


SECRETS = Secrets()


def once(
    connection: Connection,
    project: str,
    key: str | None,
    route: str,
    body: Any,
    work: Callable[[Connection], Made],
    *,
    secret: bool = False,
) -> Response:
    """`work`'s reply, or the one it gave before under this key.

    One transaction holds the key and the work: where the work fails nothing is kept, and an equal request
    that comes meanwhile waits for its end. Raises 409 where the key stood for another request.
    """
    if key is None:
        return work(connection).response()
    hashed = hashlib.sha256(canonical(body)).digest()
    kept = idempotency.begin(connection, project, key, route, hashed)
    if kept is None:
        made = work(connection)
        if secret:
            SECRETS.keep(project, key, made.body)
        idempotency.finish(connection, project, key, made.status, made.headers, b"" if secret else made.body)
        return made.response()
    if (kept.route, kept.body_hash) != (route, hashed):
        raise Conflicting(f"the Idempotency-Key {key[:80]!r} stood for another request", "idempotency")
    content = SECRETS.find(project, key) if secret else bytes(kept.body or b"")
    return Made(kept.status or 200, kept.headers, content).response(replayed=True)


class Asked(NamedTuple):
    """A request under its Idempotency-Key: the route, and what tells two bodies the same."""

    project: str
    key: str | None
    route: str
    body: Any


async def lasting(
    lab: Lab, asked: Asked, work: Callable[[], Awaitable[T]], reply: Callable[[Connection, T], Made]
) -> Response:
    """As `once`, for work that outlasts a transaction; `reply` tells what it made.

    An equal request that comes meanwhile is refused with 409: it would wait for minutes.
    """
    known = await lab.write(_begin, asked)
    if known is not None:
        return known
    try:
        made = await work()
        return (await lab.write(_finish, asked, lambda connection: reply(connection, made))).response()
    except BaseException:
        with anyio.CancelScope(shield=True):
            await lab.write(_give_up, asked)
        raise


def _begin(connection: Connection, asked: Asked) -> Response | None:
    """Takes the key (None), or gives the reply it stands for. Raises 409."""
    if asked.key is None:
        return None
    hashed = hashlib.sha256(canonical(asked.body)).digest()
    kept = idempotency.begin(connection, asked.project, asked.key, asked.route, hashed)
    if kept is None:
        return None
    if (kept.route, kept.body_hash) != (asked.route, hashed):
        raise Conflicting(f"the Idempotency-Key {asked.key[:80]!r} stood for another request", "idempotency")
    if kept.status is None:
        raise Conflicting("the first request with this Idempotency-Key is still at work", "at_work")
    return Made(kept.status, kept.headers, bytes(kept.body or b"")).response(replayed=True)


def _finish(connection: Connection, asked: Asked, reply: Callable[[Connection], Made]) -> Made:
    made = reply(connection)
    if asked.key is not None:
        idempotency.finish(connection, asked.project, asked.key, made.status, made.headers, made.body)
    return made


def _give_up(connection: Connection, asked: Asked) -> None:
    if asked.key is not None:
        idempotency.forget(connection, asked.project, asked.key)
