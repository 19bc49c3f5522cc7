"""What the service costs a training of a minute: the same spec in a lab and by the bare engine, at the same time.

Promised: at most 3 % of the wall time. Both use one thread; a pair starts together, so that whatever else the machine
does slows both. CPU seconds of the two processes stand beside, as a busy machine shares its cores unevenly.

    python -m bench.overhead [--seconds 60] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import psutil

from bench.lab import Lab, lab
from worker.spawn import environment

BARE = """
import json, resource, sys, time
import torch
from bfc_core import run, specs
spec = specs.load("train", json.loads(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
for record in run(spec, device="cpu", threads=1):
    pass
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.monotonic() - began, used.ru_utime + used.ru_stime, flush=True)
"""


def spec(steps: int, seed: int = 0) -> dict[str, Any]:
    """The default training, with probes, snapshots and checkpoints as by default, for so many steps."""
    return {"budget": {"steps": steps}, "seed": seed}


def main() -> None:
    """Prints a line a pair and the medians of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    _, cpu = bare(spec(4000)).finish()
    _, start = bare(spec(1)).finish()
    steps = int(4000 * asked.seconds / max(0.1, cpu - start))
    walls, cpus = [], []
    with lab(1) as ours:
        for index in range(asked.rounds):
            theirs = bare(spec(steps, index))
            seconds, used, worker = served(ours, theirs, spec(steps, index))
            wall, alone = theirs.finish()
            walls.append(seconds / wall - 1)
            cpus.append(used / alone - 1)
            print(
                f"{steps} steps: bare {wall:6.2f} s ({alone:6.2f} s CPU)  served {seconds:6.2f} s ({used:6.2f} s CPU, "
                f"worker {worker:5.2f} s)  wall {walls[-1]:+.1%}  CPU of the process {cpus[-1]:+.1%}",
                flush=True,
            )
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    print(f"median: wall {wall:+.1%}, CPU of the process {cpu:+.1%}; needed: wall +3.0%")


class Bare:
    """The engine alone, in a process of its own that has loaded torch and waits."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BARE, json.dumps(body)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment("cpu")},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> tuple[float, float]:
        """Wall and CPU seconds."""
        out, _ = self.process.communicate()
        wall, cpu = out.split()
        return float(wall), float(cpu)


def bare(body: dict[str, Any]) -> Bare:
    return Bare(body)


def served(ours: Lab, theirs: Bare, body: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds from claim to success, the CPU seconds of the job's process, and those of its worker meanwhile."""
    job = ours.submit({"kind": "train", "spec": body})
    theirs.go()
    ours.until(job, lambda one: one["state"] == "running")
    worker, child = ours.worker_of(job), ours.child_of(job)
    before, used = sum(worker.cpu_times()[:2]), 0.0
    while ours.job(job)["state"] == "running":
        try:
            used = sum(child.cpu_times()[:2])
        except psutil.Error:
            break
        time.sleep(0.2)
    ours.until(job, lambda one: one["state"] == "succeeded")
    (attempt,) = ours.audit(job)["attempts"]
    return attempt["detail"]["seconds"], used, sum(worker.cpu_times()[:2]) - before


if __name__ == "__main__":
    main()
