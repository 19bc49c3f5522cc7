"""What the environment says, read once at the edge of each process."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

DEFAULT_DATABASE_URL = "postgresql://postgres@127.0.0.1:5432/bfc"
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"

DATABASE_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
REDIS_SCHEMES = ("redis", "rediss", "unix")

N = TypeVar("N", int, float)


class ConfigError(ValueError):
    """A variable of the environment has a value that cannot be used; the message names both."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one server process. Times in seconds, sizes in bytes."""

    database_url: str = DEFAULT_DATABASE_URL
    redis_url: str = DEFAULT_REDIS_URL
    data: Path = Path("bfc-data")
    host: str = "127.0.0.1"
    port: int = 8321
    allow_no_auth: bool = False
    require_key: bool = False
    max_job_memory_bytes: int | None = None
    max_job_wall_seconds: float | None = None
    max_job_attempts: int | None = None
    max_job_snapshot_bytes: int | None = None
    lease_seconds: float = 15.0
    heartbeat_seconds: float = 0.4
    cancel_grace_seconds: float = 10.0
    outage_seconds: float = 120.0
    spool: Path = Path("bfc-data/spool")
    spool_bytes: int = 1 << 30
    spool_memory_bytes: int = 64 << 20
    free_disk_fraction: float = 0.05
    log: str = "text"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Config":
        """The settings of `env` (default: the process environment); `ConfigError` for a bad value."""
        env = os.environ if env is None else env
        data = Path(env.get("BFC_DATA") or "bfc-data")
        log = env.get("BFC_LOG") or "text"
        if log not in ("text", "json"):
            raise ConfigError(f"BFC_LOG is {log!r}; accepted: text, json")
        return cls(
            database_url=_url(env, "BFC_DATABASE_URL", DEFAULT_DATABASE_URL, DATABASE_SCHEMES),
            redis_url=_redis_url(env),
            data=data,
            host=env.get("BFC_HOST") or "127.0.0.1",
            port=_number(env, "BFC_PORT", 8321, int),
            allow_no_auth=_truth(env, "BFC_ALLOW_NO_AUTH"),
            require_key=_truth(env, "BFC_REQUIRE_KEY"),
            max_job_memory_bytes=_number(env, "BFC_MAX_JOB_MEMORY_BYTES", 0, int) or None,
            max_job_wall_seconds=_number(env, "BFC_MAX_JOB_WALL_SECONDS", 0.0, float) or None,
            max_job_attempts=_number(env, "BFC_MAX_JOB_ATTEMPTS", 0, int) or None,
            max_job_snapshot_bytes=_number(env, "BFC_MAX_JOB_SNAPSHOT_BYTES", 0, int) or None,
            lease_seconds=_positive(env, "BFC_LEASE_SECONDS", 15.0),
            heartbeat_seconds=_positive(env, "BFC_HEARTBEAT_SECONDS", 0.4),
            cancel_grace_seconds=_number(env, "BFC_CANCEL_GRACE_SECONDS", 10.0, float),
            outage_seconds=_number(env, "BFC_OUTAGE_SECONDS", 120.0, float),
            spool=Path(env.get("BFC_SPOOL") or data / "spool"),
            spool_bytes=_number(env, "BFC_SPOOL_BYTES", 1 << 30, int),
            spool_memory_bytes=_number(env, "BFC_SPOOL_MEMORY_BYTES", 64 << 20, int),
            free_disk_fraction=_number(env, "BFC_FREE_DISK_FRACTION", 0.05, float),
            log=log,
        )

    @property
    def job_limits(self) -> dict[str, float]:
        """What this server lets a job use at most, named as a job's own limits; empty where it sets none."""
        found = {
            "wall_seconds": self.max_job_wall_seconds,
            "memory_bytes": self.max_job_memory_bytes,
            "attempts": self.max_job_attempts,
            "snapshot_bytes": self.max_job_snapshot_bytes,
        }
        return {name: most for name, most in found.items() if most is not None}


def _url(env: Mapping[str, str], name: str, default: str, schemes: tuple[str, ...]) -> str:
    url = env.get(name) or default
    try:
        parts = urlsplit(url)
        fault = None if parts.scheme in schemes else f"accepted: {', '.join(f'{one}://…' for one in schemes)}"
        _ = parts.port
    except ValueError as error:
        fault = str(error)
    if fault is not None:
        # What stands before the last @ may be a password.
        raise ConfigError(f"{name} is {re.sub(r'(://).*@', '://', url)!r}: {fault}")
    return url


def _redis_url(env: Mapping[str, str]) -> str:
    url = _url(env, "BFC_REDIS_URL", DEFAULT_REDIS_URL, REDIS_SCHEMES)
    number = urlsplit(url).path.strip("/")
    if not url.startswith("unix:") and number and not number.isdecimal():
        raise ConfigError(f"BFC_REDIS_URL names the database {number!r}; a number is needed, as in redis://host:6379/0")
    return url


def _number(env: Mapping[str, str], name: str, default: N, kind: type[N]) -> N:
    text = env.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}; a number is needed") from None
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} is {text!r}; a number of at least 0 is needed")
    return value


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    value = _number(env, name, default, float)
    if value == 0:
        raise ConfigError(f"{name} is {env[name]!r}; a number above 0 is needed")
    return value


def _truth(env: Mapping[str, str], name: str) -> bool:
    text = (env.get(name) or "0").lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ConfigError(f"{name} is {text!r}; accepted: 1, 0")


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """True for a name or address that only this machine can reach."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def no_keys_yet(host: str) -> str:
    """Why another host than loopback is not served, and what to do."""
    return (
        f"there are no keys yet, so {host} is not served; make one with `bfc key create`, "
        "or set BFC_ALLOW_NO_AUTH=1 if everyone who can reach it may do everything"
    )
