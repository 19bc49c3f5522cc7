"""The API ends the leases of the dead when no worker is there to do it."""

from __future__ import annotations

import time

import pytest

from store import reaper
from store.config import Config
from tests.api.test_process import Process
from tests.ledger import Ledger


def test_a_job_whose_last_worker_died_is_queued_again_by_the_api(ledger: Ledger, config: Config) -> None:
    job = ledger.submit()
    (one,) = ledger.claim(lease=0.0)
    # The server may just have been started: then nobody is judged for a lease.
    process = Process(config, BFC_LEASE_SECONDS="2", BFC_HEARTBEAT_SECONDS="0.2")
    try:
        until = time.monotonic() + 60
        while ledger.state(job) == "running" and time.monotonic() < until:
            time.sleep(0.05)
        assert ledger.state(job) == "queued"
        assert ledger.end(one, "drained") == {}, "the dead worker's epoch is over"
    finally:
        process.child.terminate()
        process.child.wait(60)


def test_who_was_away_itself_judges_nobody_for_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("store.reaper.time.monotonic", lambda: now)
    judge = reaper.Judge(lease_seconds=15.0, heartbeat_seconds=0.4)
    judge.heard()
    assert judge.may
    now += 10.0
    assert not judge.may, "not heard for long"
    judge.heard()
    assert not judge.may, "the others may have been away as well"
    for _ in range(15):
        now += 1.0
        judge.heard()
    assert judge.may
