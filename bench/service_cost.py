"""What the service costs a job: the engine's CPU through it against the bare engine, and how soon the first step is made.

CPU: one `joint` quick run, in turn through `bfc serve` and in a bare process that lists `bfc_core.run(spec)`; both are the
`train_seconds` of the result, CPU of the whole process while it trains, sinks and heartbeats included. The child's CPU over
all of the job stands beside it. Promised: at most 5 % more.
First step: from sending `POST /v1/jobs` until a job of a single step has *ended*, so an upper bound. Promised: 300 ms.

    python -m bench.service_cost [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

QUICK = {"schedule": {"kind": "joint"}, "device": "cpu"}
NOTHING_KEPT = {"weights": None, "features": None}
ONE_STEP = {**QUICK, "budget": {"steps": 1}, "probes": [], "snapshots": NOTHING_KEPT, "data": {"test_samples": 100}}
REST_SECONDS = 3.0
BARE = """
import json, sys, time
import torch
import bfc_core
from bfc_core import specs
torch.set_num_threads(1)
began = time.process_time()
for record in bfc_core.run(specs.TrainSpec.model_validate(json.loads(sys.argv[1]))):
    pass
print(record.summary["train_seconds"], time.process_time() - began)
"""


def main() -> None:
    """Prints a line a round, and the medians."""
    parser = argparse.ArgumentParser(description="What the service costs a job.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with served() as (url, supervisor), httpx.Client(base_url=url, timeout=60) as lab:
        pairs = [(bare(QUICK), through(lab, supervisor, QUICK)) for _ in range(rounds)]
        firsts = [first_step(lab, supervisor) for _ in range(3 * rounds)]
    for (engine, whole), (engine_there, child) in pairs:
        print(f"bare {engine:5.2f} s of {whole:5.2f}   through the service {engine_there:5.2f} s of {child:5.2f}")
    ratio = statistics.median(there[0] for _, there in pairs) / statistics.median(here[0] for here, _ in pairs)
    child = statistics.median(there[1] for _, there in pairs) / statistics.median(here[1] for here, _ in pairs)
    print(f"CPU through the service / bare: engine {ratio:.3f}, whole job {child:.3f}   (promised: engine 1.05 at most)")
    print(f"submit to the end of a single step: median {statistics.median(firsts) * 1e3:.0f} ms, {shown(firsts)}   (300)")


def shown(seconds: list[float]) -> str:
    """The least and the most, in milliseconds."""
    return f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f} ms"


@contextmanager
def served() -> Iterator[tuple[str, psutil.Process]]:
    """A lab with one worker in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bfc-bench-") as name:
        Path(name).chmod(0o755)
        command = [sys.executable, "-m", "launch.entry", "serve", "--data", f"{name}/data", "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1], psutil.Process(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def bare(spec: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds of training and of the whole run, in a process that does nothing else."""
    done = subprocess.run([sys.executable, "-c", BARE, json.dumps(spec)], capture_output=True, text=True, check=True)
    engine, whole = done.stdout.split()
    return float(engine), float(whole)


def through(lab: httpx.Client, supervisor: psutil.Process, spec: dict[str, Any]) -> tuple[float, float]:
    """The same through the service: CPU seconds of training, and of the child from the claim to its end."""
    child = standby(supervisor)
    before, last = sum(child.cpu_times()[:2]), 0.0
    job = submit(lab, spec)
    while True:
        try:
            last = sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            break
        if state(lab, job) == "succeeded" and last:
            break
        time.sleep(0.02)
    wait(lab, job)
    return float(lab.get(f"/v1/jobs/{job}/results").json()["summary"]["train_seconds"]), last - before


def first_step(lab: httpx.Client, supervisor: psutil.Process) -> float:
    """Seconds from sending a job of one step until it has ended, with a standby child that has come to rest."""
    standby(supervisor)
    began = time.time()
    job = submit(lab, ONE_STEP)
    wait(lab, job)
    ended = lab.get(f"/v1/jobs/{job}").json()["finished_at"]
    return time.mktime(time.strptime(ended[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(f"0{ended[19:-1]}") - began


def standby(supervisor: psutil.Process) -> psutil.Process:
    """The child that waits for the next job, once it has stopped working."""
    while True:
        waiting = []
        # A child of before may be ending.
        with suppress(psutil.Error):
            waiting = [one for one in supervisor.children(recursive=True) if "worker.child" in one.cmdline()]
        if len(waiting) == 1:
            spent = sum(waiting[0].cpu_times()[:2])
            time.sleep(REST_SECONDS)
            if waiting[0].is_running() and spent > 1 and sum(waiting[0].cpu_times()[:2]) - spent < 0.05:
                return waiting[0]
        time.sleep(0.2)


def submit(lab: httpx.Client, spec: dict[str, Any]) -> str:
    """Sends a training; its id."""
    return str(lab.post("/v1/jobs", json={"kind": "train", "spec": spec}).raise_for_status().json()["id"])


def state(lab: httpx.Client, job: str) -> str:
    """The job's state."""
    return str(lab.get(f"/v1/jobs/{job}").raise_for_status().json()["state"])


def wait(lab: httpx.Client, job: str) -> None:
    """Waits for the job's success."""
    while (now := state(lab, job)) != "succeeded":
        if now in ("failed", "cancelled"):
            raise SystemExit(f"{job} {now}")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
