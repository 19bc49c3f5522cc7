"""The API process: without torch, small, and up to hostile clients."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from store.config import Config

MEBIBYTE = 1 << 20


class Process:
    """`python -m api` on a free port."""

    def __init__(self, config: Config, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        values = {
            "BFC_DATABASE_URL": config.database_url, "BFC_REDIS_URL": config.redis_url, "BFC_DATA": str(config.data),
            "BFC_LOG": "json", "PATH": os.environ["PATH"],
        }  # fmt: skip
        self.port = int(port)
        self.url = f"http://127.0.0.1:{port}"
        self.log = config.data / "api.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "api", "--port", str(port)], env=values | environment, stderr=log
            )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.child.pid).memory_info().rss)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def process(config: Config) -> Iterator[Process]:
    one = Process(config)
    yield one
    one.child.terminate()
    assert one.child.wait(15) == 0


def test_importing_the_api_leaves_torch_out() -> None:
    code = "import api.app, api.renderer, api.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_is_ready_small_and_logs_with_ids(process: Process) -> None:
    with httpx.Client(base_url=process.url) as client:
        assert client.get("/readyz").json() == {
            "status": "ready",
            "database": "ok",
            "broker": "ok",
            "schema": "ok",
        }
        assert client.get("/openapi.json").status_code == 200
        trace = "0af7651916cd43dd8448eb211c80319c"
        job = client.post(
            "/v1/jobs",
            json={"kind": "study", "spec": {"kind": "correction"}},
            headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "req-12345"},
        ).json()
        for _ in range(20):
            client.get(f"/v1/jobs/{job['id']}/children", params={"limit": 500})
        assert (
            'bfc_http_requests_total{method="POST",route="/v1/jobs",status="201"} 1.0'
            in client.get("/metrics").text
        )
    assert process.resident_bytes() < 150 * MEBIBYTE
    line = next(line for line in process.lines() if line.get("request_id") == "req-12345")
    assert (line["trace_id"], line["status"], line["level"]) == (trace, 201, "info")
    assert line["job_id"] == job["id"]
    assert job["provenance"]["trace_id"] == trace
    assert any(line.get("job_id") == job["id"] for line in process.lines())


def test_without_database_or_broker_it_says_so_and_stays(config: Config) -> None:
    from dataclasses import replace

    away = Process(
        replace(
            config, database_url="postgresql://postgres@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0"
        )
    )
    try:
        assert httpx.get(f"{away.url}/healthz").status_code == 200
        ready = httpx.get(f"{away.url}/readyz", timeout=30)
        assert ready.status_code == 503
        assert "127.0.0.1" not in ready.text
        reply = httpx.get(f"{away.url}/v1/jobs", timeout=30)
        assert (reply.status_code, reply.headers["content-type"]) == (503, "application/problem+json")
        assert reply.headers["retry-after"]
        assert httpx.get(f"{away.url}/v1/jobs/job_01hzy3v7k2q8s4t6w9x0", timeout=30).status_code == 503
    finally:
        away.child.terminate()
        away.child.wait(15)


def test_idle_and_slow_connections_leave_others_unharmed(process: Process) -> None:
    """Silent connections, half a request line, half a body: all at once, and the next caller is served at once."""
    job = httpx.post(f"{process.url}/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    before = process.resident_bytes()
    stream = (
        f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    half = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    held: list[socket.socket] = []
    try:
        for opening in [b"", b"GET /v1/jo", half, stream] * 75:
            one = socket.create_connection(("127.0.0.1", process.port))
            one.sendall(opening)
            held.append(one)
        assert httpx.get(f"{process.url}/v1/jobs/{job}", timeout=15).status_code == 200
        assert process.resident_bytes() - before < 40 * MEBIBYTE
    finally:
        for one in held:
            one.close()


def test_a_flood_of_hostile_bodies_ends_in_refusals_and_bounded_memory(process: Process) -> None:
    before = process.resident_bytes()
    json_ = {"Content-Type": "application/json"}
    bodies = [
        b"[" * (1 << 20), b'{"a":' * 150_000, b'"' + b"\\u0000" * 170_000 + b'"', b"9" * (1 << 20),
        b'{"kind":"train","spec":{' + b",".join(b'"k%d":1' % i for i in range(60_000)) + b"}}",
        b"\xff" * (1 << 20), b"1e" + b"9" * 1000, b"-" * 1000,
    ]  # fmt: skip
    with httpx.Client(base_url=process.url, timeout=60) as client:
        for body in bodies:
            assert client.post("/v1/jobs", content=body, headers=json_).status_code in (400, 413, 422)
        assert client.get("/healthz").status_code == 200
    assert process.resident_bytes() - before < 100 * MEBIBYTE


def test_compressed_bodies_are_not_unpacked(process: Process) -> None:
    import gzip

    bomb = gzip.compress(bytes(200 << 20))[: 1 << 18]
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert httpx.post(f"{process.url}/v1/jobs", content=bomb, headers=headers).status_code in (400, 415)
