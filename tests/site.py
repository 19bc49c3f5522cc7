"""A lab of real processes for tests: the API, and workers where they are asked for, on a database of their own."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from launch.addresses import free_port
from tests import servers

REPOSITORY = Path(__file__).parents[1]


@dataclass
class Site:
    """An API process at a port of its own, which can be stopped and started again; `work` adds a worker."""

    database_url: str
    broker_url: str
    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = self._run("api", "--port", str(self.port))
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.data / "api.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def work(self) -> None:
        """One worker on the CPU."""
        self.worker = self._run("worker", "--device", "cpu")

    def _run(self, room: str, *arguments: str) -> subprocess.Popen[bytes]:
        addresses = {"BFC_DATABASE_URL": self.database_url, "BFC_REDIS_URL": self.broker_url}
        with (self.data / f"{room}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", room, *arguments],
                cwd=REPOSITORY,
                env={**os.environ, **addresses, "BFC_DATA": str(self.data), **self.settings},
                stderr=log,
            )

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        for process in (self.worker, self.process):
            if process is not None:
                process.terminate()
                process.wait(30)
        self.worker = self.process = None


@contextmanager
def own_site(template: str, data: Path, **settings: str) -> Iterator[Site]:
    """A started site on a copy of the template database, which goes with it, and with a Redis database of its own.

    Its worker would answer the bells of whatever other test shared the Redis database.
    """
    server = os.environ["BFC_TEST_DATABASE_URL"]
    name = f"{template}_{uuid.uuid4().hex[:6]}_site"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[call-overload]
    try:
        with servers.redis_database() as broker_url:
            site = Site(f"{server.rpartition('/')[0]}/{name}", broker_url, data, settings)
            try:
                site.start()
                yield site
            finally:
                site.stop()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[call-overload]
