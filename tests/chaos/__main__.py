"""`python -m tests.chaos --faults 200 --seed S [--jobs 60] [--workers 3] [--engine real | fake]`."""

import argparse
import random
import sys
from typing import Any

from tests.chaos.city import City
from tests.chaos.storm import Report, Storm

SETTINGS = {
    "BFC_LEASE_SECONDS": "3",
    "BFC_HEARTBEAT_SECONDS": "0.25",
    "BFC_CANCEL_GRACE_SECONDS": "2",
    "BFC_OUTAGE_SECONDS": "20",
}


def bodies(engine: str) -> list[dict[str, Any]]:
    """The load: trainings alone, and sweeps whose members are packed. No number in it depends on time."""
    steps = 300 if engine == "fake" else 400
    few = {"checkpoint": {"every_seconds": 0.3}}
    limits = {"attempts": 1000}

    def train(seed: int) -> dict[str, Any]:
        spec = {"seed": seed, "budget": {"steps": steps, "batch": 32}, "snapshots": few, "probes": []}
        return {"kind": "train", "spec": spec, "limits": limits}

    base = train(50)["spec"]
    sweep = {"kind": "sweep", "spec": {"base": base, "grid": {"seed": [60, 61, 62, 63]}}, "limits": limits}
    return [train(seed) for seed in range(4)] + [sweep]


def run(seed: int, faults: int, jobs: int, workers: int, engine: str) -> Report:
    """One storm in a city of its own; `jobs` counts members of sweeps too."""
    load = bodies(engine)
    copies = max(1, -(-jobs // (len(load) + 4)))
    city = City(workers, engine, {**SETTINGS, "FAKE_STEP_SECONDS": "0.01"})
    try:
        city.open()
        storm = Storm(city, seed, faults, load, copies, calm_seconds=180 if engine == "fake" else 600)
        city.live_through(storm.run)
        return storm.report
    finally:
        city.close()


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
