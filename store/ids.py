"""Identifiers: a prefix that says the noun, then 128 sortable bits (UUIDv7) in Crockford's base 32."""

import os
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A fresh id such as `job_01jd…`; within one process later ids sort after earlier ones."""
    return f"{prefix}_{_base32(_uuid7())}"


def _uuid7() -> int:
    """RFC 9562: 48 bits of Unix milliseconds, version, 12 bits of their fraction, variant, 62 random bits."""
    global _last
    with _lock:
        stamp = time.time_ns() * 4096 // 1_000_000
        stamp = max(stamp, _last + 1)
        _last = stamp
    milliseconds, fraction = divmod(stamp, 4096)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random


def _base32(number: int) -> str:
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
