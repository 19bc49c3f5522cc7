"""Rate limits: a token bucket a caller, in this process. The counts are told in `RateLimit` headers.

With several API processes each counts for itself, so the limit of the whole is their number times one's;
a shared count would cost a round trip on each request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from api.auth import Principal
from api.problems import TooMany

WINDOW_SECONDS = 60
_REMEMBERED = 20_000


@dataclass(slots=True)
class Bucket:
    """Tokens left at a moment; refilled evenly to `limit` in a window."""

    limit: int
    tokens: float
    at: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit` and `RateLimit-Policy` as structured fields (draft-ietf-httpapi-ratelimit-headers)."""
        left = int(self.tokens)
        refilled = round((self.limit - self.tokens) * WINDOW_SECONDS / self.limit + 0.5)
        return [
            (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (self.limit, WINDOW_SECONDS)),
            (b"ratelimit", b'"requests";r=%d;t=%d' % (left, refilled)),
        ]


@dataclass(slots=True)
class Rates:
    """The buckets of all callers."""

    requests_per_minute: int
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def spend(self, who: Principal, address: str) -> Bucket:
        """Take one request from the caller's bucket. Raises 429 when it is empty."""
        name = who.key_id or address
        limit = who.requests_per_minute or self.requests_per_minute
        now = time.monotonic()
        bucket = self._buckets.get(name)
        if bucket is None or bucket.limit != limit:
            if len(self._buckets) >= _REMEMBERED:
                self._buckets.clear()
            bucket = self._buckets[name] = Bucket(limit, limit, now)
        bucket.tokens = min(limit, bucket.tokens + (now - bucket.at) * limit / WINDOW_SECONDS)
        bucket.at = now
        if bucket.tokens < 1:
            wait = (1 - bucket.tokens) * WINDOW_SECONDS / limit
            raise _over(bucket, wait)
        bucket.tokens -= 1
        return bucket


def _over(bucket: Bucket, wait_seconds: float) -> TooMany:
    problem = TooMany(f"more than {bucket.limit} requests in {WINDOW_SECONDS} seconds", wait_seconds)
    told = {name.decode(): value.decode() for name, value in bucket.headers()}
    problem.headers = {**(problem.headers or {}), **told}
    return problem
