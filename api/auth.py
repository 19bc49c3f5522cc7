"""Who calls: a key's project and scopes, or, on loopback without a key, the machine's own user.

Scopes nest: `admin` may submit, `submit` may read. Routes say what they need in their signature
(`who: Reader`), and `api.routing` settles it before a byte of the body is read.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fastapi import Request, Security
from psycopg_pool import AsyncConnectionPool

from api.problems import NeedsKey, NotAllowed
from store import keys

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "submit", "admin")
#: A key revoked through another process is refused after this long; through this one, at once.
TRUST_SECONDS = 1.0
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: `rank` is the highest scope it holds, `operator` may manage every project."""

    project: str
    rank: int
    key_id: str | None = None
    operator: bool = False
    requests_per_minute: int | None = None

    def may(self, scope: Scope) -> bool:
        """True where the caller holds `scope` or one above it."""
        return self.rank >= SCOPES.index(scope)


NOBODY = Principal("", -1)


@dataclass(slots=True)
class KeyRing:
    """Keys looked up lately, so that a busy key costs one read a second and not one a request."""

    pool: AsyncConnectionPool
    _known: dict[bytes, tuple[float, Principal | None]] = field(default_factory=dict)

    async def principal(self, secret: str) -> Principal:
        """The caller who holds `secret`. Raises 401 for an unknown, revoked or lapsed key."""
        hashed = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        now = time.monotonic()
        found = self._known.get(hashed)
        if found is None or found[0] < now:
            found = (now + TRUST_SECONDS, await self._look_up(hashed))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[hashed] = found
        if found[1] is None:
            raise NeedsKey("the key is not known, has lapsed, or was revoked")
        return found[1]

    def forget(self) -> None:
        """After a key was revoked or its project's quota changed."""
        self._known.clear()

    async def _look_up(self, hashed: bytes) -> Principal | None:
        async with self.pool.connection() as connection:
            row = await keys.find(connection, hashed)
        if row is None:
            return None
        rank = max(SCOPES.index(scope) for scope in row.scopes)
        operator = row.project_name == keys.DEFAULT_PROJECT and rank == SCOPES.index("admin")
        return Principal(row.project_id, rank, row.id, operator, row.requests_per_minute)


def bearer(header: str | None) -> str | None:
    """The key in an Authorization header; None without one. Raises 401 for another scheme."""
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NeedsKey("send the key as `Authorization: Bearer <key>`")
    return secret.strip()


async def identify(request: Request, scope: Scope) -> Principal:
    """The caller of `request`, who must hold `scope`. Raises 401, 403 or 429."""
    lab = request.app.state.lab
    address = request.client.host if request.client else ""
    secret = bearer(request.headers.get("authorization"))
    if secret is not None:
        who: Principal = await _holder(request, secret, address)
    elif lab.gate.trusts(address):
        who = await lab.local_principal()
    else:
        raise NeedsKey("this server needs a key: `Authorization: Bearer <key>`")
    request.scope["bfc.rate"] = lab.rates.spend(who, address)
    request.scope["bfc.caller"] = who.key_id or address
    if not who.may(scope):
        raise NotAllowed("scope", f"this needs a key with scope {scope!r}")
    return who


async def _holder(request: Request, secret: str, address: str) -> Principal:
    """Who holds the key; whoever tries unknown ones spends from the bucket of the address. Raises 401 or 429."""
    lab = request.app.state.lab
    try:
        who: Principal = await lab.keys.principal(secret)
    except NeedsKey:
        request.scope["bfc.rate"] = lab.rates.spend(NOBODY, address)
        raise
    return who


async def _settled(request: Request) -> Principal:
    """The caller whom `api.routing` has already let in."""
    who: Principal = request.scope["bfc.who"]
    return who


Reader = Annotated[Principal, Security(_settled, scopes=["read"])]
Submitter = Annotated[Principal, Security(_settled, scopes=["submit"])]
Admin = Annotated[Principal, Security(_settled, scopes=["admin"])]
