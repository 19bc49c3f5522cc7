"""`bfc doctor`: looks at an installation from the outside and says what to mend. It starts and changes nothing."""

import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg

from launch import devices, ledger
from launch.addresses import address, answers, check_address, reach_broker
from launch.errors import LaunchError
from launch.folder import DataFolder
from launch.postgres import Postgres
from launch.programs import broker_program, postgres_major, postgres_programs
from store.config import Config, ConfigError

# Packages whose absence means that a part of the lab cannot run, by the extra that brings them.
PACKAGES = {"server": "fastapi", "worker": "torch"}
LEAST_FREE = 0.05
SILENT_SECONDS = 15
LATE_SECONDS = 60
SKEW_SECONDS = 5.0

LEDGER = """
    SELECT extract(epoch FROM clock_timestamp()),
           (SELECT count(*) FROM jobs
             WHERE state IN ('running', 'pausing', 'cancelling') AND lease_until < clock_timestamp()),
           (SELECT count(*) FROM outbox WHERE created_at < now() - make_interval(secs => %(late)s)),
           (SELECT array_agg(DISTINCT version) FROM workers
             WHERE state <> 'gone' AND heard_at > now() - interval '1 minute')"""


class Finding(NamedTuple):
    """One thing that was looked at. `state`: fine, note (works, but worth knowing) or wrong; `mend`: the command or step."""

    state: str
    about: str
    said: str
    mend: str = ""

    def line(self) -> str:
        """For a person."""
        sign = {"fine": "ok   ", "note": "note ", "wrong": "WRONG"}[self.state]
        return f"{sign} {self.about}: {self.said}" + (f"\n      → {self.mend}" if self.mend else "")


def examine(data: Path, host: str, port: int) -> list[Finding]:
    """Everything that can be said, in the order in which it would have to be mended."""
    folder = DataFolder(data)
    facts = folder.announced() if folder.in_use() else {}
    return [
        *_installation(),
        *_settings(),
        *_servers(facts),
        *_folder(folder),
        *_server(facts, host, port),
        *_ledger(os.environ.get("BFC_DATABASE_URL") or facts.get("database_url")),
    ]


def _installation() -> Iterator[Finding]:
    yield Finding("fine", "python", sys.version.split()[0])
    for extra, package in PACKAGES.items():
        try:
            yield Finding("fine", extra, f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("wrong", extra, f"{package} is not installed", f"pip install 'bfc-lab[{extra}]'")
    gpus = devices.gpu_names()
    if gpus and devices.torch_build() == "cpu":
        yield Finding("note", "gpu", f"{', '.join(gpus)}, but torch is built for the CPU", "install torch with CUDA")
    else:
        yield Finding("fine", "gpu", ", ".join(gpus) or "none; jobs run on the CPU")


def _settings() -> Iterator[Finding]:
    """What the environment sets, and whether the times in it go together."""
    try:
        config = Config.from_env()
    except ConfigError as error:
        yield Finding("wrong", "settings", str(error), "mend or unset this variable")
        return
    lease, beat = config.lease_seconds, config.heartbeat_seconds
    if lease < 3 * beat:
        said = f"a lease of {lease:g} s (BFC_LEASE_SECONDS) with a heartbeat each {beat:g} s (BFC_HEARTBEAT_SECONDS)"
        yield Finding("wrong", "settings", f"{said}: healthy workers lose their jobs", "let a lease be several heartbeats")
        return
    named = sorted(name for name in os.environ if name.startswith("BFC_") and not name.endswith("_URL"))
    yield Finding("fine", "settings", ", ".join(named) or "all as by default")


def _servers(facts: dict[str, Any]) -> Iterator[Finding]:
    """The database and the broker: those of the environment, of the running server, or those that would be started."""
    database = os.environ.get("BFC_DATABASE_URL") or facts.get("database_url")
    if database is None:
        yield _look("postgres", lambda: f"embedded, version {postgres_major(postgres_programs())}")
    else:
        found = _look("postgres", lambda: _reached(database), "start it, or unset BFC_DATABASE_URL for the embedded one")
        yield found
        if found.state == "fine":
            yield _schema(database)
    broker = os.environ.get("BFC_REDIS_URL") or facts.get("redis_url")
    if broker is None:
        yield _look("redis", lambda: f"embedded, {broker_program()}")
    else:
        yield _look("redis", lambda: reach_broker(broker), "start it, or unset BFC_REDIS_URL", said="answers")


def _reached(url: str) -> str:
    ledger.reach_database(url)
    return f"{ledger.without_password(url)} answers"


def _schema(url: str) -> Finding:
    try:
        fault = ledger.schema_fault(url)
    except psycopg.Error as error:
        fault = ledger.first_line(error)
    if not fault:
        return Finding("fine", "schema", "up to date")
    return Finding("wrong", "schema", fault, "install the newer bfc-lab" if "newer" in fault else "bfc migrate")


def _folder(folder: DataFolder) -> Iterator[Finding]:
    place = folder.path
    there = next(path for path in (place, *place.parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Finding("wrong", "data", f"{place} is not writable by this user", "choose another with --data or BFC_DATA")
        return
    if place.exists() and os.environ.get("BFC_DATABASE_URL") is None:
        yield _look("data", lambda: Postgres(folder).check_major(), said=f"{place} can be used")
    else:
        yield Finding("fine", "data", f"{place} {'can be used' if place.exists() else 'will be made'}")
    disk = shutil.disk_usage(there)
    share = disk.free / disk.total
    free = f"{disk.free / 2**30:.1f} GiB free of {disk.total / 2**30:.1f} ({share:.0%})"
    if share < LEAST_FREE:
        yield Finding("wrong", "disk", f"{free}: new jobs wait below {LEAST_FREE:.0%}", "delete jobs or files")
    else:
        yield Finding("fine", "disk", free)


def _server(facts: dict[str, Any], host: str, port: int) -> Iterator[Finding]:
    """The running server and its workers, or whether one could be started here."""
    if facts:
        place = urlsplit(facts["url"])
        if answers(place.hostname or host, place.port or port):
            yield Finding("fine", "server", f"ready at {facts['url']}, process {facts['pid']}")
        else:
            yield Finding("wrong", "server", f"{facts['url']} is not ready", "see logs/api.log in the data folder")
        yield _workers(facts["database_url"])
    elif answers(host, port):
        yield Finding("fine", "server", f"ready at {address(host, port)}")
    else:
        yield _look("server", lambda: f"none; port {check_address(host, port)} of {host} is free")


def _workers(url: str) -> Finding:
    try:
        with psycopg.connect(ledger.plain(url), connect_timeout=5) as connection:
            rows = connection.execute(
                "SELECT name, device FROM workers WHERE state <> 'gone' AND heard_at > now() - make_interval(secs => %s)",
                (SILENT_SECONDS,),
            ).fetchall()
    except psycopg.Error as error:
        return Finding("wrong", "workers", ledger.first_line(error))
    if not rows:
        said = f"none was heard in {SILENT_SECONDS} s"
        return Finding("wrong", "workers", said, "see logs/worker-*.log in the data folder, or run bfc worker")
    return Finding("fine", "workers", ", ".join(f"{name} on {device}" for name, device in rows))


def _ledger(url: str | None) -> Iterator[Finding]:
    """What the ledger tells of the rest: dead workers' jobs that nobody takes back, bells that nobody rings, odd clocks."""
    if url is None:
        return
    try:
        with psycopg.connect(ledger.plain(url), connect_timeout=5) as connection:
            asked = time.time()
            row = connection.execute(LEDGER, {"late": LATE_SECONDS}).fetchone()
            away = abs(float(row[0]) - (asked + time.time()) / 2) if row else 0.0
    except psycopg.Error:
        # Said already, of the database or its schema.
        return
    assert row is not None
    _, lapsed, unrung, versions = row
    if lapsed:
        said = f"{lapsed} job(s) are held by workers that have been silent past their leases"
        yield Finding("wrong", "leases", said, "start a worker or the API: either takes them back")
    else:
        yield Finding("fine", "leases", "every job at work has a worker that is heard")
    if unrung:
        said = f"{unrung} bell(s) have waited for more than {LATE_SECONDS} s to be rung"
        yield Finding("wrong", "bells", said, "see whether Redis can be reached from the API and the workers")
    others = sorted(set(versions or ()) - {importlib.metadata.version("bfc-lab")})
    if others:
        said = f"workers of version {', '.join(others)} beside {importlib.metadata.version('bfc-lab')} here"
        yield Finding("note", "versions", said, "drain them with SIGTERM when they may be upgraded")
    if away > SKEW_SECONDS:
        said = f"the database's clock and ours are {away:.0f} s apart; leases are counted on the database's alone"
        yield Finding("note", "clock", said)


def _look(about: str, check: Callable[[], str | None], mend: str = "", *, said: str = "") -> Finding:
    """What a check says, or `said`; what it raises says how to mend it, or `mend` does."""
    try:
        return Finding("fine", about, check() or said)
    except LaunchError as error:
        return Finding("wrong", about, str(error), mend)
