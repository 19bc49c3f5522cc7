"""Delivers webhooks: signed, to checked addresses only, without redirects, again with back-off.

It runs beside the requests of each API process: the API is where the network outside is meant to be reachable
(a worker may stand in a closed one), and the ledger hands each delivery to one process at a time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpcore
from httpcore import AsyncNetworkStream
from sqlalchemy.exc import SQLAlchemyError

from api import observe
from api.lab import Lab
from api.submission import VERSION
from store import webhooks
from store.webhooks import Due

LOG = logging.getLogger("bfc.webhooks")
TICK_SECONDS = 0.5
IDLE_SECONDS = 2.0
AT_ONCE = 16
TOTAL_SECONDS = 15.0
CONNECT_SECONDS = 5.0
KEPT_BYTES = 500
#: IPv6 ranges that carry an IPv4 address inside, which could be a private one
_CARRIERS = tuple(
    map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0:0/96"))
)


class Forbidden(Exception):
    """An address that webhooks may not go to."""


def refusal_of(url: str, allow_private: bool) -> str | None:
    """Why a URL is no target for a webhook, as far as it can be told without asking DNS; None if it may be."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as fault:
        return f"not a URL: {fault}"
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        return f"the scheme is {parts.scheme[:20]!r}; accepted: https"
    if not host or not url.isascii() or any(letter <= " " for letter in url):
        return "accepted: an absolute URL of printable ASCII with a host"
    if parts.username is not None or parts.password is not None:
        return "a URL may not hold a user name or password"
    if port == 0:
        return "port 0 cannot be reached"
    host = host.rstrip(".")
    if not allow_private and (host == "localhost" or host.endswith((".localhost", ".local", ".internal"))):
        return f"{host[:80]!r} is a private name"
    try:
        _check([_address(host)], allow_private)
    except Forbidden as fault:
        return str(fault)
    except ValueError:
        pass
    return None


def _address(host: str) -> IPv4Address | IPv6Address:
    """The address that a host spells, in decimal, octal or short form too, as resolvers take it. Raises ValueError."""
    try:
        return ip_address(host)
    except ValueError:
        try:
            return ip_address(socket.inet_aton(host))
        except OSError as fault:
            raise ValueError(str(fault)) from None


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`, as Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


@dataclass(slots=True)
class Postman:
    """The loop that gathers and delivers."""

    lab: Lab

    async def run(self) -> None:
        """Deliver for ever. An unreachable database only delays it."""
        pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            network_backend=CheckedBackend(self.lab.settings.allow_private_webhooks),
            max_keepalive_connections=0,
            retries=0,
        )
        async with pool:
            while True:
                try:
                    busy = await self._round(pool)
                except (SQLAlchemyError, OSError) as fault:
                    LOG.warning("webhooks wait for the database: %s", type(fault).__name__)
                    busy = False
                await asyncio.sleep(TICK_SECONDS if busy else IDLE_SECONDS)

    async def _round(self, pool: httpcore.AsyncConnectionPool) -> bool:
        behind = await self.lab.write(webhooks.gather)
        due = await self.lab.write(webhooks.claim, AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for one in due:
                group.create_task(self._deliver(pool, one))
        return bool(behind or due)

    async def _deliver(self, pool: httpcore.AsyncConnectionPool, due: Due) -> None:
        started = time.time()
        status, error = await attempt(pool, due)
        observe.DELIVERIES.labels("delivered" if error is None else "refused").inc()
        line = {
            "attempt": due.attempt,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            "status": status,
            "error": error,
        }
        await self.lab.write(webhooks.record, due, status, error, line)


async def attempt(pool: httpcore.AsyncConnectionPool, due: Due) -> tuple[int | None, str | None]:
    """One attempt: the status it got, and what was wrong with it (None: nothing)."""
    body = json.dumps(due.payload, separators=(",", ":"), ensure_ascii=False).encode()
    now = int(time.time())
    headers: dict[bytes | str, bytes | str] = {
        "Host": urlsplit(due.url).netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": f"bfc-lab/{VERSION}",
        "webhook-id": due.id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(due.secret, due.id, now, body),
    }
    limits = {
        "timeout": {"connect": CONNECT_SECONDS, "read": TOTAL_SECONDS, "write": TOTAL_SECONDS, "pool": 5}
    }
    try:
        with anyio.fail_after(TOTAL_SECONDS):
            async with pool.stream(
                "POST", due.url, headers=headers, content=body, extensions=limits
            ) as reply:
                return reply.status, await _said(reply)
    except TimeoutError:
        return None, f"no answer in {TOTAL_SECONDS:g} seconds"
    except (Forbidden, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as fault:
        return None, f"{type(fault).__name__}: {fault}"[:KEPT_BYTES]
    except (OSError, ValueError, httpcore.UnsupportedProtocol) as fault:
        return None, f"{type(fault).__name__}: {fault}"[:KEPT_BYTES]


async def _said(reply: httpcore.Response) -> str | None:
    """What is wrong with a reply; its body is read no further than a log line keeps."""
    if 200 <= reply.status < 300:
        return None
    if 300 <= reply.status < 400:
        return f"answered {reply.status}; redirects are not followed"
    kept = b""
    async for piece in reply.aiter_stream():
        kept += piece
        if len(kept) >= KEPT_BYTES:
            break
    return f"answered {reply.status}: {kept[:KEPT_BYTES].decode('utf-8', 'replace')}".replace("\x00", "")


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that it has resolved and checked itself, so that no second look-up can change them."""

    def __init__(self, allow_private: bool) -> None:
        self.allow_private = allow_private
        self.inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """A connection to the first address of `host`, all of which must be allowed."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        _check(addresses, self.allow_private)
        return await self.inner.connect_tcp(str(addresses[0]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> AsyncNetworkStream:
        """Never."""
        raise Forbidden("webhooks do not go to sockets")

    async def sleep(self, seconds: float) -> None:
        """As httpcore wants it."""
        await anyio.sleep(seconds)


def _check(addresses: Iterable[IPv4Address | IPv6Address], allow_private: bool) -> None:
    for address in addresses:
        mapped = getattr(address, "ipv4_mapped", None) or address
        carried = isinstance(mapped, IPv6Address) and any(mapped in network for network in _CARRIERS)
        if not allow_private and (carried or not mapped.is_global or mapped.is_multicast):
            raise Forbidden(f"{address} is not a public address")
