"""CPU-seconds of the two studies that a laptop should answer at once, each part beside what it may cost.

The quick correction study (nine seeds, both read-outs, every arm and every (l, k)) and the default duel (all learners at
all samples, nine seeds) run in this process on one thread, packed as a worker would pack them. Studies of fewer seeds
are scaled to nine, which is a little too much: smaller stacks do less a second. Processor time is counted, so that a
busy machine inflates it less than the clock.

    python -m bench.studies [correction] [duel] [--seeds 9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from bench.machine import heading
from bfc_core import local
from bfc_core.records import Record, Result
from bfc_core.specs import CorrectionSpec, DuelSpec
from bfc_core.studies import Member

CORRECTION_SECONDS, DUEL_SECONDS, SEEDS = 40.0, 300.0, 9


class Ledger:
    """CPU-seconds by kind of member, charged when a record of the next is heard."""

    def __init__(self, name_of: Callable[[Member], str]) -> None:
        self.name_of = name_of
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def __call__(self, member: Member, record: Record) -> None:  # noqa: ARG002
        now = time.process_time()
        name = self.name_of(member)
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def correction(seeds: int) -> None:
    """The quick study whole, without the baselines that it can run beside."""
    ledger = Ledger(lambda member: member.spec.model.readout)
    result, seconds = timed(lambda: local.run_study(CorrectionSpec(baselines=None, seeds=seeds), told=ledger))
    said = f"quick correction study, {result.summary['members']} trainings"
    print(told(said, seeds, seconds, CORRECTION_SECONDS, ledger), flush=True)
    for claim in result.summary["claims"]:
        print(f"  {claim['claim']} {claim['readout']}: {claim['verdict']}", flush=True)


def duel(seeds: int) -> None:
    """The default duel: every baseline on both inputs, and the learner that is told the architecture."""
    ledger = Ledger(lambda member: member.labels.get("learner", "deep"))
    result, seconds = timed(lambda: local.run_study(DuelSpec(seeds=seeds), told=ledger))
    said = f"default duel, {result.summary['members']} members"
    print(told(said, seeds, seconds, DUEL_SECONDS, ledger), flush=True)


def told(said: str, seeds: int, seconds: float, needed: float, ledger: Ledger) -> str:
    """One line: what a study took, what it may take, and its parts."""
    whole = f"{seconds * SEEDS / seeds:.0f} for {SEEDS} seeds (needed: {needed:g})"
    return f"{said} of {seeds} seeds: {seconds:.1f} CPU-seconds, {whole}; {shares(ledger)}"


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` gave, and its CPU-seconds."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def shares(ledger: Ledger) -> str:
    """The parts of a study, dearest first."""
    parts = sorted(ledger.seconds.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="correction, duel; both when left out")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(heading(), flush=True)
    wanted = given.studies or ["correction", "duel"]
    if "correction" in wanted:
        correction(given.seeds)
    if "duel" in wanted:
        duel(given.seeds)


if __name__ == "__main__":
    main()
