"""By which Host a server may be called, and from which Origin it may be written to.

Without keys a browser is the danger: a foreign page may rebind its own name to 127.0.0.1 (DNS rebinding) or
post across sites. So a server that is open without keys answers only to names that cannot be rebound, and no
server takes an unsafe method from another origin.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from api.problems import NotAllowed
from api.settings import Settings
from store.config import Config, is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Gate:
    """The check of both headers, settled at start from where the server listens."""

    config: Config
    settings: Settings
    names: frozenset[str] = field(init=False)
    #: others than this machine can reach the server
    exposed: bool = field(init=False)
    #: some caller may do without a key
    keyless: bool = field(init=False)

    def __post_init__(self) -> None:
        own = {self.config.host.lower(), socket.gethostname().lower()} - {"0.0.0.0", "::", ""}  # noqa: S104
        exposed = not is_loopback(self.config.host)
        keyless = not self.config.require_key and (self.config.allow_no_auth or not exposed)
        object.__setattr__(self, "names", frozenset(own | set(self.settings.allowed_hosts)))
        object.__setattr__(self, "exposed", exposed)
        object.__setattr__(self, "keyless", keyless)

    def trusts(self, address: str) -> bool:
        """True where a caller from `address` needs no key."""
        return self.keyless and (self.config.allow_no_auth or is_loopback(address))

    def check(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises 403 for a Host or an Origin that is not accepted."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self.keyless:
            self._check_host(host)
        if method not in SAFE_METHODS:
            _check_origin(host, headers)

    def _check_host(self, host: str) -> None:
        match = _HOST.fullmatch(host)
        name = match["name"].strip("[]") if match else ""
        if not (name and (is_loopback(name) or name in self.names or (self.exposed and _is_address(name)))):
            raise NotAllowed(
                "host",
                f"Host {host[:80]!r} is not a name of this server; add it to BFC_ALLOWED_HOSTS if it should be",
            )


def _check_origin(host: str, headers: Mapping[bytes, bytes]) -> None:
    origin = headers.get(b"origin")
    if origin is not None:
        _, _, there = origin.decode("latin-1").lower().partition("://")
        if there != host:
            raise NotAllowed("origin", "this was sent by a page of another origin")
    elif headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        raise NotAllowed("origin", "this was sent by a page of another site")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
