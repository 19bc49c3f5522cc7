"""A lab to be harmed: its own PostgreSQL and Redis, and some workers, all under the supervisor of `bfc serve`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import redis
from sqlalchemy import Engine, insert, text

from bfc_core import specs, studies
from launch.addresses import free_port
from launch.broker import Broker
from launch.folder import DataFolder
from launch.ledger import postgres_service
from launch.postgres import DATABASE, USER, Postgres
from launch.supervisor import Service, Supervisor
from migrations import commands
from store import jobs, outbox
from store.bell import Bell, BellError
from store.config import Config
from store.engine import connect, transact
from store.ids import new_id
from store.tables import projects
from tests.chaos import hosts

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "fake_child.py"
SPOOL_DISK_BYTES = 1 << 20


class City:
    """Services, a client's view of the ledger, and handles to do harm with."""

    def __init__(self, workers: int, engine: str, settings: dict[str, str], *, apart: bool) -> None:
        """`apart` gives each worker a host of its own, which changes this machine's network for the while."""
        self.home = Path(tempfile.mkdtemp(prefix="bfc-chaos-"))
        self.home.chmod(0o755)
        self.folder = DataFolder(self.home / "data")
        self.folder.lock()
        self.supervisor = Supervisor()
        self.supervisor.say = lambda *_, **__: None  # type: ignore[method-assign]  # deaths are what we came for
        self.hosts, self.no_hosts = hosts.found(workers) if apart else ([], "hosts were not asked for")
        self.postgres = Postgres(self.folder, {"listen_addresses": "127.0.0.1", "port": str(free_port())})
        self.broker = Broker()
        self.config = Config(
            database_url=self.postgres.url, redis_url=self.broker.url, spool=self.home / "spool"
        )
        self.env = {
            **os.environ,
            "BFC_DATABASE_URL": self.postgres.url,
            "BFC_REDIS_URL": self.broker.url,
            "BFC_DATA": str(self.home),
            "BFC_SPOOL": str(self.home / "spool"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **({"BFC_CHAOS_CHILD": str(FAKE)} if engine == "fake" else {}),
            **settings,
        }
        self.names = [f"worker-{number}" for number in range(workers)]
        self.engine: Engine = connect(self.config, name="bfc chaos")
        self.bell = Bell(self.config.redis_url)
        self.project = new_id("proj")

    def open(self) -> None:
        """Starts everything; returns when work can be submitted."""
        self._add(postgres_service(self.postgres))
        self._add(Service("redis", lambda: self.broker.command, self.home / "redis.log", stdin=self.broker.settings,
                          is_ready=self.broker.is_ready, stop_signal=signal.SIGINT))  # fmt: skip
        commands.upgrade(self.engine)
        with self.engine.begin() as connection:
            connection.execute(insert(projects), {"id": self.project, "name": "chaos"})
        _full_sized(self.home / "spool")
        for number, name in enumerate(self.names):
            command = [sys.executable, "-m", "tests.chaos.worker", "--device", "cpu", "--name", name]
            env = self.env
            if self.hosts:
                host, port = self.hosts[number], self.postgres.settings["port"]
                command = host.command(command)
                ledger = f"postgresql://{USER}:{self.folder.password()}@127.0.0.1:{port}/{DATABASE}"
                env = env | {
                    "BFC_DATABASE_URL": host.reach(ledger),
                    "BFC_REDIS_URL": host.reach(self.broker.url),
                }
            self._add(Service(name, lambda command=command: command, self.home / f"{name}.log", env=env))  # type: ignore[misc]

    def close(self) -> None:
        self.supervisor.stop()
        self.postgres.clear()
        self.bell.close()
        self.engine.dispose()
        self.folder.unlock()
        for host in self.hosts:
            host.close()
        subprocess.run(["umount", self.home / "spool"], check=False, capture_output=True, timeout=20)
        shutil.rmtree(self.home, ignore_errors=True)

    def live_through(self, storm: Any) -> None:
        """Runs `storm` while the supervisor, in this thread, starts again whatever dies."""
        fault: list[BaseException] = []

        def run() -> None:
            try:
                storm()
            except BaseException as error:  # told in the main thread
                fault.append(error)
            finally:
                self.supervisor.stopping = True

        self.supervisor.stopping = False
        thread = threading.Thread(target=run)
        thread.start()
        self.supervisor.watch()
        thread.join()
        if fault:
            raise fault[0]

    # what a client does

    def submit(self, body: dict[str, Any], *, ring: bool = True) -> str:
        """Submits as the API does: one transaction, then the bell, which may be lost."""
        job = specs.parse_job(body)
        members = tuple(studies.members(job.spec)) if job.kind in jobs.STUDIES else ()
        job_id = transact(self.engine, lambda connection: jobs.submit(connection, self.project, job, members))
        if ring:
            with contextlib.suppress(BellError):
                outbox.relay(self.engine, self.bell.ring)
        return str(job_id)

    def ask(self, step: Any, job_id: str) -> None:
        transact(self.engine, lambda connection: step(connection, self.project, job_id))

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), values))

    # what harm needs

    def service(self, name: str) -> Service:
        return next(service for service in self.supervisor.services if service.name == name)

    def process(self, name: str) -> psutil.Process | None:
        """The service's process, if it has one now. Workers run behind no other program on Linux."""
        running = self.service(name).running
        if running is None or running.poll() is not None:
            return None
        try:
            return psutil.Process(running.pid)
        except psutil.Error:
            return None

    def children(self) -> list[psutil.Process]:
        """Children of all workers, in reserve or at work."""
        found = []
        for name in self.names:
            process = self.process(name)
            if process is not None:
                try:
                    found += process.children()
                except psutil.Error:
                    continue
        return found

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.config.redis_url, socket_timeout=2)

    def _add(self, service: Service) -> None:
        self.supervisor.add(service)
        self.supervisor.wait_ready(service)
        # A chaos run has no patience for the delays that spare a broken installation.
        threading.Thread(target=_forgive, args=(service, self.supervisor), daemon=True).start()


def _full_sized(spool: Path) -> None:
    """A disk of its own for the spool, small enough to be filled; a plain folder where mounting is not allowed."""
    spool.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SPOOL_DISK_BYTES}", "bfc-spool", str(spool)]
    with contextlib.suppress(OSError):
        subprocess.run(mount, check=False, capture_output=True, timeout=20)


def _forgive(service: Service, supervisor: Supervisor) -> None:
    import time

    while supervisor.services:
        service.failures = 0
        time.sleep(0.1)
