"""`POST /v1/compare` of two stored snapshots of 20 layers, on a running lab: what a client waits, without the cache.

    python -m bench.compare_speed SNAPSHOT SNAPSHOT [--url http://127.0.0.1:8321] [--rounds 15]

Each round asks for the first 20 layers in another order, so that no answer comes from the cache of answers; the first
call, which may start the torch-free child that computes, is told by itself.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import httpx

NEEDED_SECONDS = 0.1
LAYERS = 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("snapshots", nargs="*")
    parser.add_argument("--url", default="http://127.0.0.1:8321")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--measure", default="cka")
    given = parser.parse_args()
    if len(given.snapshots) != 2:
        print("name two feature snapshots of a running lab; nothing is measured")
        return
    with httpx.Client(base_url=given.url, timeout=120) as lab:
        first, layers = _asked(lab, given.snapshots, given.measure, None)
        layers = layers[:LAYERS]
        taken = []
        for turn in range(given.rounds):
            order = layers[turn % len(layers) :] + layers[: turn % len(layers)]
            taken.append(_asked(lab, given.snapshots, given.measure, order)[0])
    taken.sort()
    print(
        f"{given.measure} of {len(layers)} × {len(layers)} layers: first call {1e3 * first:.0f} ms, then median "
        f"{1e3 * statistics.median(taken):.0f} ms, least {1e3 * taken[0]:.0f} ms, most {1e3 * taken[-1]:.0f} ms "
        f"(needed {1e3 * NEEDED_SECONDS:.0f} ms)"
    )
    raise SystemExit(0 if statistics.median(taken) <= NEEDED_SECONDS else 1)


def _asked(lab: httpx.Client, snapshots: list[str], kind: str, layers: list[str] | None) -> tuple[float, list[str]]:
    """Seconds of one comparison, and the layers that it is of."""
    body: dict[str, Any] = {"snapshots": snapshots, "probe": {"kind": kind}, "layers": layers}
    began = time.perf_counter()
    reply = lab.post("/v1/compare", json=body)
    seconds = time.perf_counter() - began
    reply.raise_for_status()
    return seconds, list(reply.json()["items"][0]["rows"])


if __name__ == "__main__":
    main()
