"""1,000 queued jobs drained by four workers beside 100,000 finished ones: fair, none claimed twice, each claim soon.

Promised: the claim's p50 at most 5 ms. The workers are processes on paper: they claim, and end what they have claimed.

    python -m bench.claims [--jobs 1000] [--finished 100000] [--projects 5] [--workers 4]

On the database server of BFC_DATABASE_URL (in a database of its own), else on the embedded one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
from sqlalchemy import text

from bfc_core import specs
from bfc_core.records import Result
from launch import ledger
from launch.folder import DataFolder
from migrations import commands
from store import claims, endings, jobs, workers
from store.config import Config
from store.engine import connect, transact
from store.ids import new_id

GIB = 1 << 30
Claim = tuple[float, float, str, str]
"""When, how long it took, the job, its project."""


def main() -> None:
    """Prints what was drained, how fairly, and how soon."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    asked = parser.parse_args()
    with database() as url:
        names = fill(url, asked.jobs, asked.finished, asked.projects)
        alone = explained(url)
        began = time.monotonic()
        with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
            found = sorted(one for part in pool.map(drain, [url] * asked.workers) for one in part)
        seconds = time.monotonic() - began
        say(found, names, asked, seconds)
        print(f"the claim's statement alone    {alone:.2f} ms in the database, the least of 20")
        say_server(url)


@contextmanager
def database() -> Iterator[str]:
    """A migrated database of its own."""
    if server := os.environ.get("BFC_DATABASE_URL"):
        name = f"bfc_bench_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
            try:
                yield _migrated(f"{server.rpartition('/')[0]}/{name}")
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]
        return
    with tempfile.TemporaryDirectory(prefix="bfc-bench-") as place:
        Path(place).chmod(0o755)
        folder = DataFolder(Path(place) / "data")
        folder.lock()
        with ledger.embedded(folder) as url:
            yield _migrated(url)


def _migrated(url: str) -> str:
    engine = connect(Config(database_url=url), pool_size=1)
    commands.upgrade(engine)
    engine.dispose()
    return url


def fill(url: str, queued: int, finished: int, count: int) -> list[str]:
    """The finished jobs, spread over the projects, and the queued ones, project after project: the unfairest order."""
    engine = connect(Config(database_url=url), pool_size=1)
    names = [new_id("proj") for _ in range(count)]
    with engine.begin() as connection:
        project = text("INSERT INTO projects (id, name) VALUES (:id, :id)")
        connection.execute(project, [{"id": name} for name in names])
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            text("""
                INSERT INTO jobs (id, project_id, kind, spec, spec_hash, state, attempt, epoch, finished_at, queued_at)
                SELECT 'job_' || lpad(n::text, 26, '0'), (CAST(:p AS text[]))[1 + n % :count], 'train',
                       CAST(:spec AS json), '', 'succeeded', 1, 1, now(), now() FROM generate_series(1, :n) n"""),
            {"p": names, "count": count, "n": finished, "spec": specs.TrainSpec().model_dump_json()},
        )
    job = specs.parse_job({"kind": "train", "spec": {}})
    for name in names:
        with engine.begin() as connection:
            for _ in range(queued // count):
                jobs.submit(connection, name, job)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()
    return names


def explained(url: str) -> float:
    """Milliseconds that the database itself needs to plan and run one claim, which is undone again."""
    engine = connect(Config(database_url=url), pool_size=1)
    values = {"worker": None, "class": "cpu", "device": "cpu", "memory": 64 * GIB, "device_memory": 0, "threads": 1,
              "lease": 15.0}  # fmt: skip
    query = text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {claims.CLAIM.text}")
    times = []
    for _ in range(20):
        with engine.connect() as connection:
            (plan,) = connection.execute(query, values).scalar_one()
            times.append(plan["Planning Time"] + plan["Execution Time"])
    engine.dispose()
    return float(min(times))


def drain(url: str) -> list[Claim]:
    """One worker: claims and ends until there is nothing left."""
    engine = connect(Config(database_url=url), pool_size=1)
    standing = workers.Standing(
        id=new_id("wk"), name="paper", host="bench", pid=os.getpid(), device_class="cpu", device="cpu",
        version="0", memory_bytes=64 * GIB,
    )  # fmt: skip
    transact(engine, lambda connection: workers.register(connection, standing))
    room = claims.Room(standing.id, "cpu", "cpu", 64 * GIB)
    done = Result({"relative_test_error": 0.5}, {})
    found: list[Claim] = []
    while True:
        began = time.perf_counter()
        taken = transact(engine, lambda connection: claims.claim(connection, room, 15.0))
        took = time.perf_counter() - began
        if not taken:
            break
        found += [(time.time(), took, one.id, one.project_id) for one in taken]
        ends = [endings.Ending(one.id, one.epoch, "succeeded", result=done) for one in taken]
        transact(engine, partial(endings.end, endings=ends))
    engine.dispose()
    return found


def say(found: list[Claim], names: list[str], asked: argparse.Namespace, seconds: float) -> None:
    times = sorted(took for _, took, _, _ in found)
    had, uneven = Counter(dict.fromkeys(names, 0)), 0
    share = asked.jobs // asked.projects
    for _, _, _, project in found:
        had[project] += 1
        if max(had.values()) < share:
            uneven = max(uneven, max(had.values()) - min(had.values()))
    twice = len(found) - len({job for _, _, job, _ in found})
    p50, p95 = 1000 * statistics.median(times), 1000 * times[int(0.95 * len(times))]
    print(f"{len(found)} jobs of {asked.projects} projects drained by {asked.workers} workers in {seconds:.1f} s")
    print(f"finished jobs beside them      {asked.finished}")
    print(f"claimed twice                  {twice}   needed 0")
    print(f"largest lead of a project      {uneven} jobs at any moment, of {share} each")
    print(f"claim                          p50 {p50:.2f} ms   p95 {p95:.2f} ms   needed: p50 5 ms")


def say_server(url: str) -> None:
    with psycopg.connect(ledger.plain(url)) as connection:
        print(f"PostgreSQL {connection.info.server_version // 10_000}")


if __name__ == "__main__":
    main()
