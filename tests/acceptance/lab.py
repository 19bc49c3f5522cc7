"""A lab as a person runs it: `bfc serve` on an embedded database, driven over HTTP alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from launch.addresses import free_port
from tests.processes import alive, command_of

COMMANDS = Path(sys.executable).parent


class Lab:
    """One data folder, and the supervisor that serves it now."""

    def __init__(self, data: Path) -> None:
        self.data, self.port = data, free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.supervisor: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BFC_")}
        command = [COMMANDS / "bfc", "serve", "--data", self.data, "--port", str(self.port), *options]
        with self.data.with_suffix(".log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [str(part) for part in command], env=environment, stdout=log, stderr=log
            )
        self.until(self.ready, 60, "the lab to be ready")

    def ready(self) -> bool:
        assert self.supervisor is not None
        assert self.supervisor.poll() is None, self.log()
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def log(self) -> str:
        return self.data.with_suffix(".log").read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.supervisor is not None
        family = psutil.Process(self.supervisor.pid).children(recursive=True)
        self.supervisor.send_signal(how)
        self.supervisor.wait(60)
        self.until(lambda: not any(alive(one) for one in family), 30, "every process to be gone")

    def processes(self, *words: str) -> list[psutil.Process]:
        """Descendants of the supervisor whose command line holds all words, busiest first."""
        assert self.supervisor is not None
        found = []
        for process in psutil.Process(self.supervisor.pid).children(recursive=True):
            command = command_of(process)
            with suppress(psutil.Error):
                if all(word in command for word in words):
                    found.append((sum(process.cpu_times()[:2]), process))
        return [process for _, process in sorted(found, key=lambda pair: -pair[0])]

    def post(self, body: Any) -> dict[str, Any]:
        reply = self.http.post("/v1/jobs", json=body)
        assert reply.status_code == 201, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def ended(self, job_id: str, seconds: float = 240) -> dict[str, Any]:
        def over() -> bool:
            return self.job(job_id)["state"] in ("succeeded", "failed", "cancelled")

        self.until(over, seconds, f"{job_id} to end")
        return self.job(job_id)

    def until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.log()}"
            time.sleep(0.05)
