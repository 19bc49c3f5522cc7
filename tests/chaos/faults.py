"""The faults. Each takes the city and the storm's dice, does its harm, and undoes what would not end by itself."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import redis
from sqlalchemy.exc import DBAPIError

from store import steps
from store.bell import BellError
from store.errors import Conflict, NotFound
from tests.chaos.city import ROOT, City

Fault = Callable[[City, random.Random], None]


def kill_worker(city: City, dice: random.Random) -> None:
    """kill -9 of a worker: its child must end with it."""
    _signal(city.process(dice.choice(city.names)), signal.SIGKILL)


def kill_child(city: City, dice: random.Random) -> None:
    """kill -9 of a child."""
    children = city.children()
    if children:
        _signal(dice.choice(children), signal.SIGKILL)


def stop_worker(city: City, dice: random.Random) -> None:
    """SIGSTOP past the lease, then SIGCONT: the worker that comes back must write nothing."""
    process = city.process(dice.choice(city.names))
    _signal(process, signal.SIGSTOP)
    time.sleep(float(city.env["BFC_LEASE_SECONDS"]) * dice.uniform(0.5, 1.8))
    _signal(process, signal.SIGCONT)


def stop_child(city: City, dice: random.Random) -> None:
    """SIGSTOP of a child for a moment."""
    children = city.children()
    if children:
        child = dice.choice(children)
        _signal(child, signal.SIGSTOP)
        time.sleep(dice.uniform(0.1, 1.0))
        _signal(child, signal.SIGCONT)


def drain_worker(city: City, dice: random.Random) -> None:
    """SIGTERM of a worker, as for an upgrade."""
    _signal(city.process(dice.choice(city.names)), signal.SIGTERM)


def flush_broker(city: City, _: random.Random) -> None:
    """FLUSHALL."""
    with contextlib.suppress(redis.RedisError), city.redis() as client:
        client.flushall()


def kill_broker(city: City, _: random.Random) -> None:
    """kill -9 of the broker, which keeps nothing."""
    _signal(city.process("redis"), signal.SIGKILL)


def restart_database(city: City, _: random.Random) -> None:
    """A fast shutdown of the database, and a new start."""
    _signal(city.process("postgres"), signal.SIGINT)


def crash_database(city: City, _: random.Random) -> None:
    """An immediate shutdown: the database recovers from its log."""
    _signal(city.process("postgres"), signal.SIGQUIT)


def kill_database(city: City, _: random.Random) -> None:
    """kill -9 of the database: what its processes held is gone, what was committed is not."""
    _signal(city.process("postgres"), signal.SIGKILL)


def cut_connections(city: City, dice: random.Random) -> None:
    """Some or all of the workers' connections end at once."""
    share = dice.choice([0.3, 1.0])
    with contextlib.suppress(DBAPIError):
        city.rows(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'bfc worker' AND random() < :share""",
            share=share,
        )


def fill_spool(city: City, dice: random.Random) -> None:
    """No room for the spool while the database goes away: its disk is full, or its folder gone where it has no disk."""
    spool = city.home / "spool"
    ballast, aside = spool / "ballast", city.home / "spool-aside"
    with contextlib.suppress(OSError):
        if spool.is_mount():
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(bytes(4096))
        else:
            spool.rename(aside)
            spool.write_text("no folder here")
    restart_database(city, dice)
    time.sleep(dice.uniform(0.5, 2.0))
    with contextlib.suppress(OSError):
        ballast.unlink()
    with contextlib.suppress(OSError):
        if aside.exists():
            spool.unlink()
            aside.rename(spool)


def cut_host(city: City, dice: random.Random) -> None:
    """A worker's host is cut off and comes back, within its lease or past it. Without hosts: its connections end."""
    if not city.hosts:
        cut_connections(city, dice)
        return
    host = dice.choice(city.hosts)
    host.cut()
    time.sleep(float(city.env["BFC_LEASE_SECONDS"]) * dice.uniform(0.2, 2.0))
    host.mend()


def duplicate_bells(city: City, dice: random.Random) -> None:
    """The same bells again, for jobs that run, wait, or ended long ago."""
    ids = [row.id for row in city.rows("SELECT id FROM jobs ORDER BY random() LIMIT 5")]
    with contextlib.suppress(BellError):
        for job_id in ids * dice.randint(1, 3):
            city.bell.ring("cpu", job_id)


def delay_bells(city: City, dice: random.Random) -> None:
    """Bells are taken out of the broker and put back later."""
    with contextlib.suppress(redis.RedisError), city.redis() as client:
        held = []
        while (message := client.lpop("bfc.cpu")) is not None:
            held.append(message)
        time.sleep(dice.uniform(0.5, 2.0))
        for message in held:
            client.rpush("bfc.cpu", message)


def pause_and_resume(city: City, dice: random.Random) -> None:
    """A client pauses a job, and lets it go on, if it is quick enough."""
    job = _some_job(city, dice)
    if job is not None:
        for step in (steps.pause, steps.resume):
            with contextlib.suppress(Conflict, NotFound):
                city.ask(step, job)
            time.sleep(dice.uniform(0.0, 1.0))


def cancel_and_retry(city: City, dice: random.Random) -> None:
    """A client cancels a job, and tries it again. A member alone stays out: its study may conclude without it."""
    job = _some_job(city, dice, "AND parent_id IS NULL")
    if job is not None:
        for step in (steps.cancel, steps.retry):
            with contextlib.suppress(Conflict, NotFound):
                city.ask(step, job)
            time.sleep(dice.uniform(0.0, 1.0))


def kill_between_commit_and_publish(city: City, dice: random.Random) -> None:
    """A submitting process dies after its commit and before any bell. Its jobs must run all the same."""
    body = json.dumps(dice.choice(SINGLES))
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.short_lived", city.project, body],
        env=city.env, cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.stdout.strip():
        SUBMITTED.append((done.stdout.strip(), body))


# What the short-lived clients have submitted: (job id, body).
SUBMITTED: list[tuple[str, str]] = []
SINGLES: list[dict[str, object]] = []

FAULTS: dict[str, tuple[Fault, int]] = {
    "kill_worker": (kill_worker, 4),
    "kill_child": (kill_child, 5),
    "stop_worker": (stop_worker, 3),
    "stop_child": (stop_child, 2),
    "drain_worker": (drain_worker, 3),
    "flush_broker": (flush_broker, 3),
    "kill_broker": (kill_broker, 2),
    "restart_database": (restart_database, 2),
    "crash_database": (crash_database, 1),
    "kill_database": (kill_database, 1),
    "cut_connections": (cut_connections, 3),
    "cut_host": (cut_host, 3),
    "fill_spool": (fill_spool, 2),
    "duplicate_bells": (duplicate_bells, 3),
    "delay_bells": (delay_bells, 2),
    "pause_and_resume": (pause_and_resume, 3),
    "cancel_and_retry": (cancel_and_retry, 2),
    "kill_between_commit_and_publish": (kill_between_commit_and_publish, 2),
}


def _signal(process: psutil.Process | None, number: int) -> None:
    if process is not None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _some_job(city: City, dice: random.Random, also: str = "") -> str | None:
    rows = city.rows(f"SELECT id FROM jobs WHERE state <> 'succeeded' {also} ORDER BY id")
    return dice.choice(rows).id if rows else None
