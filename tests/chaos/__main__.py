"""`python -m tests.chaos --faults 200 --seed S [--jobs 60] [--workers 3] [--engine real | fake]`."""

import argparse
import random
import sys
from typing import Any

from bfc_core import specs, studies
from tests.chaos.city import City
from tests.chaos.storm import PEACE, Report, Storm

SETTINGS = {
    "BFC_LEASE_SECONDS": "3",
    "BFC_HEARTBEAT_SECONDS": "0.25",
    "BFC_CANCEL_GRACE_SECONDS": "2",
    "BFC_OUTAGE_SECONDS": "20",
    # The spool is on disk nearly at once, and the disk is full soon.
    "BFC_SPOOL_MEMORY_BYTES": "16384",
}


LIMITS = {"attempts": 1000}
FEW = {"weights": {"every": 200}, "checkpoint": {"every_seconds": 0.3}}
SMALL = {"samples": 200, "test_samples": 200, "input_dim": 8, "width": 2}


def bodies(engine: str) -> list[dict[str, Any]]:
    """The load: trainings alone and packed, and with the real engine every other kind. No number in it depends on time."""
    steps = 300 if engine == "fake" else 400

    def train(seed: int) -> dict[str, Any]:
        spec = {"seed": seed, "budget": {"steps": steps, "batch": 32}, "snapshots": FEW, "probes": []}
        return {"kind": "train", "spec": spec, "limits": LIMITS}

    sweep = {"base": train(50)["spec"], "grid": {"seed": [60, 61, 62, 63]}}
    alone = [train(seed) for seed in range(4)]
    load = [*alone, {"kind": "sweep", "spec": sweep, "limits": LIMITS}]
    if engine == "fake":
        return load
    base = {"data": SMALL, "model": {"width": 4}, "budget": {"steps": 200, "batch": 32},
            "snapshots": {"checkpoint": {"every_seconds": 0.3}}}  # fmt: skip
    study = {"kind": "correction", "base": base, "seeds": 1, "readouts": ["fixed"], "how_deep": False,
             "baselines": {"learners": ["kernel_ridge/rbf"], "seeds": 1}}  # fmt: skip
    baseline = {"data": SMALL, "baseline": {"kind": "kernel_ridge", "kernel": "laplace"}}
    return [
        *load,
        {"kind": "study", "spec": study, "limits": LIMITS},
        {"kind": "baseline", "spec": baseline, "limits": LIMITS},
        # `Storm` names the first training that was made in peace.
        {"kind": "probe", "spec": {"of": {"job": PEACE}, "probes": [{"kind": "linear"}]}, "limits": LIMITS},
    ]


def run(seed: int, faults: int, jobs: int, workers: int, engine: str, *, apart: bool = True) -> Report:
    """One storm in a city of its own; `jobs` counts members of sweeps too."""
    load = bodies(engine)
    copies = max(1, -(-jobs // sum(map(size, load))))
    city = City(workers, engine, {**SETTINGS, "FAKE_STEP_SECONDS": "0.01"}, apart=apart)
    try:
        city.open()
        storm = Storm(city, seed, faults, load, copies, calm_seconds=180)
        city.live_through(storm.run)
        return storm.report
    finally:
        city.close()


def size(body: dict[str, Any]) -> int:
    """How many jobs a body makes."""
    job = specs.parse_job(body)
    return 1 + (len(studies.members(job.spec)) if job.kind in ("study", "sweep") else 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--engine", choices=["real", "fake"], default="real")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    report = run(asked.seed, asked.faults, asked.jobs, asked.workers, asked.engine)
    print(report.table(), flush=True)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
