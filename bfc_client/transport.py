"""When a call is sent again, and what its outcome means. Pure: the two clients do the sending."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TypeVar

import httpx

from bfc_client.calls import Call
from bfc_client.errors import BfcError, Unreachable, problem_of, retry_after

DEFAULT_URL = "http://127.0.0.1:8321"
TRANSIENT = frozenset({429, 502, 503, 504})
T = TypeVar("T")
Outcome = httpx.Response | httpx.TransportError


@dataclass(frozen=True, slots=True)
class Address:
    """Where the lab is and the key it wants: arguments first, then BFC_URL and BFC_KEY."""

    url: str
    key: str | None

    @classmethod
    def of(cls, url: str | None, key: str | None) -> Address:
        """The address to use. Raises BfcError where it is none."""
        chosen = url or os.environ.get("BFC_URL") or DEFAULT_URL
        try:
            parts = httpx.URL(chosen)
        except httpx.InvalidURL as fault:
            raise BfcError(f"the lab's address {chosen!r} cannot be read: {fault}") from fault
        if parts.scheme not in ("http", "https") or not parts.host:
            raise BfcError(f"the lab's address (BFC_URL) is {chosen!r}; accepted: http://host:port or https://host")
        return cls(chosen.rstrip("/"), key or os.environ.get("BFC_KEY") or None)

    def headers(self, agent: str) -> dict[str, str]:
        """Headers of every request."""
        headers = {"User-Agent": agent}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is sent again, with a pause that doubles from `first_seconds` up to `most_seconds`."""

    times: int = 4
    first_seconds: float = 0.1
    most_seconds: float = 10.0

    def pause(self, call: Call[T], tries: int, outcome: Outcome) -> float | None:
        """Seconds until the next try, or None when the outcome stands.

        A reply of 429 or 503 was refused before anything was done, so even a call that is not repeatable is
        sent again; after a broken connection only if it never reached the server.
        """
        if tries >= self.times or not _worth_repeating(call, outcome):
            return None
        asked = retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        if asked is not None:
            return asked if asked <= self.most_seconds else None
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  many clients must not come back at once
        return min(self.most_seconds, self.first_seconds * 2.0**tries) * jitter


def _worth_repeating(call: Call[T], outcome: Outcome) -> bool:
    if isinstance(outcome, httpx.Response):
        refused = outcome.status_code in (429, 503)
        return refused or (call.repeatable and outcome.status_code in TRANSIENT)
    if isinstance(outcome, httpx.UnsupportedProtocol):
        return False
    return call.repeatable or isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)


def conclude(call: Call[T], outcome: Outcome, url: str) -> T:
    """What the call gives its caller. Raises Unreachable, a Problem, or BadReply."""
    if isinstance(outcome, httpx.TransportError):
        raise Unreachable(url, str(outcome) or type(outcome).__name__) from outcome
    if outcome.is_error:
        raise problem_of(outcome)
    return call.read(outcome)
