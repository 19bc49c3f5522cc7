"""A lab of its own for a measurement: `bfc serve` on an empty folder, and a client of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

PATIENCE_SECONDS = 600.0


@dataclass
class Lab:
    """The server's process and its HTTP interface."""

    server: psutil.Process
    client: httpx.Client

    def submit(self, body: Mapping[str, Any]) -> str:
        reply = self.client.post("/v1/jobs", json=dict(body))
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/jobs/{job_id}").json())

    def ask(self, job_id: str, step: str) -> None:
        assert self.client.post(f"/v1/jobs/{job_id}/{step}").status_code == 200

    def audit(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/jobs/{job_id}/audit").json())

    def until(self, job_id: str, holds: Callable[[dict[str, Any]], bool], pause_seconds: float = 0.01) -> dict[str, Any]:
        """The job as soon as it `holds`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(found := self.job(job_id)):
            assert time.monotonic() < deadline, found
            time.sleep(pause_seconds)
        return found

    def worker_of(self, job_id: str) -> psutil.Process:
        """The process that holds the job."""
        name = self.audit(job_id)["attempts"][-1]["worker_name"]
        return next(one for one in self.server.children(recursive=True) if {name, "worker"} <= set(one.cmdline()))

    def child_of(self, job_id: str) -> psutil.Process:
        """The process that computes it: the oldest of its worker's."""
        return min(self.worker_of(job_id).children(), key=lambda one: one.create_time())


@contextmanager
def lab(workers: int, **settings: str) -> Iterator[Lab]:
    """A lab that is ready, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bfc-bench-") as name:
        Path(name).chmod(0o755)
        command = [sys.executable, "-m", "launch.entry", "serve", "--data", f"{name}/data", "--port", "0"]
        command += ["--workers", str(workers)]
        away = {"BFC_DATABASE_URL", "BFC_REDIS_URL"}
        env = {key: value for key, value in os.environ.items() if key not in away} | settings
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, timeout=60) as client:
                yield Lab(psutil.Process(server.pid), client)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(120)
