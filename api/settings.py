"""What only the API reads from the environment, beside `store.config.Config`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from store.config import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds of one API process. Sizes in bytes, times in seconds."""

    #: names by which the server may be called beside loopback ones and its own address
    allowed_hosts: tuple[str, ...] = ()
    #: requests that one key (or, without keys, one address) may make in a minute, unless its quota says so
    requests_per_minute: int = 120_000
    #: event streams open at once; more get 503
    max_streams: int = 1_500
    #: one data set's upload
    max_dataset_bytes: int = 2 << 30
    #: webhooks may go to private addresses (for tests and closed networks)
    allow_private_webhooks: bool = False
    #: rendering children; each takes about 150 MB while it lives
    renderers: int = 1
    #: finished jobs older than this are deleted; None keeps all
    retention_days: float | None = None
    #: jobs of one project that may wait for their turn, unless its quota says so
    max_queued_jobs: int = 100_000

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """The settings of `env`; ConfigError names a value that cannot be used."""
        env = os.environ if env is None else env
        hosts = tuple(
            host.strip().lower() for host in env.get("BFC_ALLOWED_HOSTS", "").split(",") if host.strip()
        )
        default = cls()
        days = env.get("BFC_RETENTION_DAYS")
        return cls(
            allowed_hosts=hosts,
            requests_per_minute=_integer(env, "BFC_REQUESTS_PER_MINUTE", default.requests_per_minute),
            max_streams=_integer(env, "BFC_MAX_STREAMS", default.max_streams),
            max_dataset_bytes=_integer(env, "BFC_MAX_DATASET_BYTES", default.max_dataset_bytes),
            allow_private_webhooks=env.get("BFC_ALLOW_PRIVATE_WEBHOOKS", "0") == "1",
            renderers=_integer(env, "BFC_RENDERERS", default.renderers),
            retention_days=float(_integer(env, "BFC_RETENTION_DAYS", 0)) if days else None,
            max_queued_jobs=_integer(env, "BFC_MAX_QUEUED_JOBS", default.max_queued_jobs),
        )


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{name} is {text!r}; a whole number of at least 1 is needed")
    return int(text)
