"""How fast the API answers, side by side with a bare FastAPI route that does the same single read.

    python -m bench.api_speed [--jobs 100000] [--streams 1000] [--seconds 2]

One database (BFC_DATABASE_URL names a server on which a scratch database is made and dropped), one uvicorn worker
each, one run; rounds are interleaved and medians told. Needs no worker: what it reads is written by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import psycopg
from sqlalchemy import Connection, Engine, text

from bench.api_load import get_for, listen_all
from bench.api_sink import points_per_second
from bfc_core import specs
from bfc_core.records import Tensor
from migrations import commands
from store import claims, jobs, keys, series, snapshots, tensors, workers
from store.config import Config
from store.engine import connect
from store.ids import new_id

ROUNDS = 5
CONNECTIONS = 16
READS = 25
DOWNLOAD_BYTES = 64 << 20
SINK_POINTS = 1_000_000
SINK_ROUNDS = 3
PORT, BARE_PORT = 8397, 8398

Line = tuple[str, bool]


def main() -> int:
    """Prints a line a measure with its bound; 1 where one is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with scratch_database() as url, filled_database(url, given.jobs) as filled, served(url, filled) as server:
        kept = [_told(line) for line in Bench(filled, server, given.seconds).lines(given.streams)]
    return 0 if all(kept) else 1


def _told(line: Line) -> bool:
    says, kept = line
    print(("ok    " if kept else "MISS  ") + says, flush=True)
    return kept


class Filled:
    """A database with jobs, a long series and a large snapshot in it."""

    def __init__(self, engine: Engine, count: int) -> None:
        self.engine = engine
        with engine.begin() as connection:
            self.project = keys.project(connection)
            self.secret = keys.create(connection, self.project, "bench").secret
            self.job = jobs.submit(connection, self.project, specs.parse_job({"kind": "train", "spec": {}}))
            room = _room(connection)
            (self.claimed,) = claims.claim(connection, room, 3600)
            self.points = self._series(connection)
            for _ in range(SINK_ROUNDS):
                jobs.submit(connection, self.project, specs.parse_job({"kind": "train", "spec": {}}))
            self.written = [claims.claim(connection, _room(connection), 3600)[0] for _ in range(SINK_ROUNDS)]
            self.snapshot = self._snapshot(connection)
        with engine.begin() as connection:
            _fill(connection, self.project, self.job, count)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))

    def _series(self, connection: Connection) -> int:
        for mark, (key, count) in enumerate((("ten_thousand", 10_000), ("million", 1_000_000)), start=1):
            values = np.random.default_rng(0).normal(size=count).cumsum()
            # As a sink writes them: some thousand points a row.
            for start in range(0, count, series.CHUNK_POINTS):
                steps = np.arange(start, min(count, start + series.CHUNK_POINTS))
                batch = series.Batch(self.job, self.claimed.epoch, mark * 1_000_000 + start)
                batch.points.append(series.Points(key, None, None, steps, values[steps]))
                series.write(connection, [batch])
        return 1_010_000

    def _snapshot(self, connection: Connection) -> str:
        """Four noisy tensors: nothing of them compresses away."""
        draws = np.random.default_rng(1)
        packed = {
            f"layer{i}": tensors.pack(
                Tensor.of(np.frombuffer(draws.bytes(DOWNLOAD_BYTES // 4), np.uint8).copy())
            )
            for i in range(4)
        }
        fresh = snapshots.Fresh(self.project, self.job, self.claimed.epoch, 1, 1, "weights", {}, packed)
        return snapshots.write(connection, [fresh])[0]


class Bench:
    """The measures, each a line with its bound and whether it was kept."""

    def __init__(self, filled: Filled, server: int, seconds: float) -> None:
        self.filled, self.server, self.seconds = filled, server, seconds
        self.url = f"http://127.0.0.1:{PORT}"
        self.headers = {"Authorization": f"Bearer {filled.secret}"}

    def lines(self, streams: int) -> Iterator[Line]:
        """All of them, each as it is measured."""
        yield self.job_read()
        yield self.list_page()
        yield from self.series_reads()
        yield self.sink()
        yield self.download()
        yield self.streams(streams)
        yield self.memory()

    def job_read(self) -> Line:
        path = f"/v1/jobs/{self.filled.job}"
        rates: dict[int, list[float]] = {PORT: [], BARE_PORT: []}
        for _ in range(ROUNDS):
            for port, found in rates.items():
                found.append(asyncio.run(get_for(port, path, self.headers, CONNECTIONS, self.seconds)))
        ours, bare = (statistics.median(rates[port]) for port in (PORT, BARE_PORT))
        says = f"GET /v1/jobs/{{id}} with a key: {ours:,.0f}/s against {bare:,.0f}/s bare: {ours / bare:.2f} (≥ .5)"
        return says, ours >= 0.5 * bare

    def list_page(self) -> Line:
        params = {"limit": 100, "state": "succeeded", "label": "series:s7"}
        took, cpu = self._milliseconds("/v1/jobs", params, lambda body: len(body["items"]) == 100)
        return f"100 of the jobs by state and label: {took:.1f} ms (≤ 15), {cpu:.1f} ms of them computed", took <= 15

    def series_reads(self) -> list[Line]:
        path = f"/v1/jobs/{self.filled.job}/metrics"
        all_, few = {"keys": "ten_thousand", "max_points": 10_000}, {"keys": "million", "max_points": 1_000}
        whole, whole_cpu = self._milliseconds(path, all_, lambda body: len(body["series"][0]["steps"]) == 10_000)
        thin, thin_cpu = self._milliseconds(path, few, lambda body: 900 <= len(body["series"][0]["steps"]) <= 1_000)
        return [
            (f"10,000 points of one series: {whole:.1f} ms (≤ 15), {whole_cpu:.1f} ms of them computed", whole <= 15),
            (f"1,000,000 points thinned to 1,000: {thin:.1f} ms (≤ 100), {thin_cpu:.1f} ms of them computed", thin <= 100),
        ]

    def sink(self) -> Line:
        """Rounds of a million points through the worker's own sink, each to a job of its own."""
        rates = [
            points_per_second(self.filled.engine, one, 0, SINK_POINTS) for one in self.filled.written[:SINK_ROUNDS]
        ]
        rate = statistics.median(rates)
        return f"the sink stores {rate:,.0f} points/s (≥ 100,000)", rate >= 100_000

    def download(self) -> Line:
        """Against reading the same chunks from the same database by raw psycopg, in this process."""
        ours, raw = [], []
        for _ in range(ROUNDS):
            ours.append(_timed(self._download))
            raw.append(_timed(self._raw_read))
        rate, bare = (DOWNLOAD_BYTES / (1 << 20) / statistics.median(found) for found in (ours, raw))
        says = f"snapshot download: {rate:,.0f} MiB/s against {bare:,.0f} MiB/s raw: {rate / bare:.2f} (≥ .5)"
        return says, rate >= 0.5 * bare

    def streams(self, count: int) -> Line:
        stop = time.monotonic() + 8

        def tell() -> int:
            told = 0
            while time.monotonic() < stop:
                with self.filled.engine.begin() as connection:
                    claims.tell(
                        connection, [(self.filled.job, "progress", {"done": told, "at": time.time()})]
                    )
                told += 1
                time.sleep(0.1)
            return told

        path = f"/v1/jobs/{self.filled.job}/events"
        delays, complete = asyncio.run(listen_all(PORT, path, self.headers, count, tell))
        p99 = float(np.quantile(delays, 0.99)) * 1000
        says = f"{count:,} streams of one job: every event to everyone: {complete}; p99 delay {p99:.0f} ms (≤ 500)"
        return says, complete and p99 <= 500

    def memory(self) -> Line:
        peak = peak_bytes(self.server) / 1e6
        return f"API process, its peak: {peak:.0f} MB (≤ 200)", peak <= 200

    def _milliseconds(self, path: str, params: Any, right: Callable[[Any], bool]) -> tuple[float, float]:
        """The median of the wall clock, and the mean of what the API process computes for it."""
        process = psutil.Process(self.server)
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=60) as client:
            assert right(client.get(path, params=params).json())
            before = sum(process.cpu_times()[:2])
            wall = statistics.median(_timed(lambda: client.get(path, params=params)) for _ in range(READS))
            computed = (sum(process.cpu_times()[:2]) - before) / READS
        return wall * 1000, computed * 1000

    def _download(self) -> None:
        path = f"{self.url}/v1/snapshots/{self.filled.snapshot}/download"
        with httpx.stream("GET", path, headers=self.headers, timeout=60) as reply:
            size = sum(len(piece) for piece in reply.iter_raw())
        assert size > DOWNLOAD_BYTES

    def _raw_read(self) -> None:
        query = """SELECT c.data FROM snapshot_tensors p JOIN tensor_chunks c USING (tensor_id)
                    WHERE p.snapshot_id = %s ORDER BY p.position, c.number"""
        url = self.filled.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            size = sum(len(row[0]) for row in connection.execute(query, (self.filled.snapshot,), binary=True))
        assert size >= DOWNLOAD_BYTES


@contextmanager
def scratch_database() -> Iterator[str]:
    """The URL of a migrated database that is dropped afterwards."""
    server = Config.from_env().database_url
    name = f"bfc_bench_{os.getpid()}"
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    maintenance = urlsplit(server)._replace(path="/postgres").geturl()
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    try:
        engine = connect(Config(database_url=url), pool_size=1)
        commands.upgrade(engine)
        engine.dispose()
        yield url
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


@contextmanager
def filled_database(url: str, count: int) -> Iterator[Filled]:
    engine = connect(Config(database_url=url), pool_size=2)
    try:
        yield Filled(engine, count)
    finally:
        engine.dispose()


@contextmanager
def served(url: str, filled: Filled) -> Iterator[int]:
    """Both servers, one uvicorn worker each; the pid of ours."""
    environment = {**os.environ, "BFC_DATABASE_URL": url, "BFC_REQUESTS_PER_MINUTE": "100000000"}
    ours = subprocess.Popen([sys.executable, "-m", "api", "--port", str(PORT)], env=environment)
    bare = subprocess.Popen([sys.executable, "-m", "bench.api_bare", str(BARE_PORT)], env=environment)
    try:
        for port, path in ((PORT, "/healthz"), (BARE_PORT, f"/v1/jobs/{filled.job}")):
            _wait(port, path)
        yield ours.pid
    finally:
        for process in (ours, bare):
            process.terminate()
            process.wait(15)


def _wait(port: int, path: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            httpx.get(f"http://127.0.0.1:{port}{path}").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing answers on port {port}")


def _room(connection: Connection) -> claims.Room:
    standing = workers.Standing(new_id("wk"), "bench", "bench", 1, "cpu", "cpu", "0", 8 << 30)
    workers.register(connection, standing)
    return claims.Room(standing.id, "cpu", "cpu", 8 << 30)


def _fill(connection: Connection, project: str, like: str, count: int) -> None:
    """Finished jobs like `like`, of ten series; copied by the database itself."""
    ids = [new_id("job") for _ in range(count)]
    connection.execute(
        text("""
            INSERT INTO jobs (id, project_id, kind, name, labels, spec, spec_hash, state, finished_at, summary)
            SELECT made.id, :project, j.kind, 'job ' || n, jsonb_build_object('series', 's' || n % 10), j.spec,
                   j.spec_hash, CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'succeeded' END, now(), '{"stuck": false}'
              FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS made(id, n), jobs j WHERE j.id = :like"""),
        {"project": project, "ids": ids, "like": like},
    )


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_bytes(pid: int) -> int:
    """The kernel's high-water mark where it tells one, else the present size."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return int(psutil.Process(pid).memory_info().rss)


if __name__ == "__main__":
    sys.exit(main())
