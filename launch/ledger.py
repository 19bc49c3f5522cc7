"""The database a command works on: the one of the environment, of the server that runs, or the embedded one for a moment."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from launch.errors import ServerError
from launch.folder import DataFolder
from launch.postgres import Postgres
from launch.supervisor import Service, Supervisor

OLDEST_POSTGRES = 15
VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"


@contextmanager
def open_ledger(data: Path, *, as_it_is: bool = False) -> Iterator[str]:
    """Yields the URL of the database: BFC_DATABASE_URL's, or of the server on `data`, or one started meanwhile.

    Its schema is checked, and our own brought up to date, unless it is wanted `as_it_is`.
    """
    if url := os.environ.get("BFC_DATABASE_URL"):
        reach_database(url)
        if not as_it_is:
            check_schema(url)
        yield url
        return
    folder = DataFolder(data)
    if folder.in_use():
        yield running_url(folder)
        return
    folder.lock()
    try:
        with embedded(folder) as url:
            if not as_it_is:
                migrate(url, may_upgrade=True)
            yield url
    finally:
        folder.unlock()


def running_url(folder: DataFolder) -> str:
    """The database of the server that holds the folder."""
    url = folder.announced().get("database_url")
    if not isinstance(url, str):
        raise ServerError(f"the server on {folder.path} is not ready; try again in a moment")
    reach_database(url)
    return url


@contextmanager
def embedded(folder: DataFolder) -> Iterator[str]:
    """Runs the database of a folder that we hold, and nothing else."""
    supervisor = Supervisor()
    postgres = Postgres(folder)
    try:
        service = postgres_service(postgres)
        supervisor.add(service)
        supervisor.wait_ready(service)
        yield postgres.url
    finally:
        supervisor.stop()
        postgres.clear()


def postgres_service(postgres: Postgres) -> Service:
    """The embedded PostgreSQL as a service. SIGINT is its fast shutdown: sessions end, nothing is lost."""
    return Service(
        name="postgres",
        command=lambda: postgres.command,
        log=postgres.folder.log("postgres"),
        account=postgres.account,
        prepare=postgres.prepare,
        is_ready=postgres.is_ready,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        grace_seconds=30.0,
    )


def reach_database(url: str) -> None:
    """`ServerError` in one line unless a PostgreSQL that is new enough answers there."""
    try:
        with psycopg.connect(plain(url), connect_timeout=5) as connection:
            version = connection.info.server_version // 10_000
    except (psycopg.Error, ValueError) as error:
        raise ServerError(f"the database at {without_password(url)} cannot be reached: {first_line(error)}") from None
    if version < OLDEST_POSTGRES:
        raise ServerError(f"the database at {without_password(url)} is PostgreSQL {version}; {OLDEST_POSTGRES} is needed")


def migrate(url: str, *, may_upgrade: bool) -> None:
    """Brings an empty database to our schema, and one that is behind if we may; `ServerError` if it does not fit."""
    with psycopg.connect(plain(url), connect_timeout=5) as connection:
        empty = revision(connection) is None
    wrong = schema_fault(url) if not empty else "the database has no schema yet"
    if wrong and (empty or (may_upgrade and "behind" in wrong)):
        wrong = migrations(url, "upgrade")
    if wrong:
        raise ServerError(wrong)


def revision(connection: psycopg.Connection[tuple[Any, ...]]) -> str | None:
    """The schema's revision; None for a database without one."""
    row = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def check_schema(url: str) -> None:
    """`ServerError` with the command that mends it unless the schema is the one this code was written for."""
    if wrong := schema_fault(url):
        raise ServerError(wrong)


def schema_fault(url: str) -> str:
    """How the schema differs from the one this code needs; empty when it does not."""
    with psycopg.connect(plain(url), connect_timeout=5) as connection:
        if revision(connection) == head():
            return ""
    return migrations(url, "check")


def head() -> str:
    """The revision this code was written for, read from the migrations' text: Alembic would cost a second of every start."""
    steps = [file.read_text() for file in VERSIONS.glob("*.py")]
    made = {found for step in steps for found in re.findall(r'^revision\b.*?= "(\w+)"', step, re.MULTILINE)}
    passed = {found for step in steps for found in re.findall(r'^down_revision\b.*?= "(\w+)"', step, re.MULTILINE)}
    (newest,) = made - passed
    return str(newest)


def migrations(url: str, *step: str) -> str:
    """Runs one step of `migrations` in a process of its own; what went wrong, or nothing."""
    command = [sys.executable, "-P", "-m", "migrations", *step]
    env = {**os.environ, "BFC_DATABASE_URL": url}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"migrations {step[0]} failed with status {done.returncode}"])[-1]


def plain(url: str) -> str:
    """The URL as libpq takes it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1@", url)


def first_line(error: BaseException) -> str:
    """What an exception says, in one line and without the tail of a traceback."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return said[0] if said else type(error).__name__
