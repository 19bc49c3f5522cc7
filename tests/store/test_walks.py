"""No sequence of client calls and faults leaves the transition table, and terminal states stay terminal."""

import random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bfc_core import records, specs
from store import claims, conclusions, endings, reaper, steps
from store.engine import BAD_TRANSITION, sqlstate
from store.errors import Conflict
from store.states import LEASED, TERMINAL, TRANSITIONS
from tests.ledger import Ledger, Member

DONE = records.Result({"relative_test_error": 0.5}, {})
OUTCOMES = [
    "succeeded",
    "failed",
    "cancelled",
    "paused",
    "drained",
    "outage",
    "lost",
    "killed",
    "memory",
    "wall_time",
]
CALLS = [steps.cancel, steps.pause, steps.resume, steps.retry]


@pytest.mark.parametrize("seed", range(6))
def test_random_walks_stay_in_the_table(ledger: Ledger, seed: int) -> None:
    dice = random.Random(seed)
    spec = specs.TrainSpec()
    study = ledger.study(
        *(Member(f"p{i}", spec, pack="p") for i in range(3)),
        Member("a", spec),
        Member("b", spec, after=("a", "p0")),
    )
    first = ledger.submit()
    everyone = [study, first, ledger.submit(after=[first, study]), *ledger.member_ids(study).values()]
    room = ledger.worker()
    held: list[claims.Claimed] = []
    stale: list[claims.Claimed] = []
    for _ in range(60):
        match dice.randrange(6):
            case 0 | 1:
                held += ledger.claim(room, lease=dice.choice([-1.0, 60.0]))
            case 2:
                if held:
                    one = held.pop(dice.randrange(len(held)))
                    stale.append(one)
                    end(ledger, one, dice.choice(OUTCOMES))
            case 3:
                with_conflicts(ledger, dice.choice(CALLS), dice.choice(everyone))
            case 4:
                ledger.run(reaper.reap, 60.0, 1.0, settle_seconds=0.0)
                ledger.run(reaper.mend)
            case 5:
                row = ledger.run(conclusions.claim, room.worker_id, dice.choice([-1.0, 60.0]))
                if row is not None and dice.random() < 0.7:
                    ledger.run(endings.end, [endings.Ending(row.id, row.epoch, "succeeded", result=DONE)])
                for one in stale[-3:]:
                    # Whoever has lost the lease changes nothing, whatever it says.
                    assert ledger.run(claims.beat, [claims.Beat(one.id, one.epoch, 1, 2, "step")], 60) == {}
    check(ledger)


def end(ledger: Ledger, one: claims.Claimed, outcome: str) -> None:
    error = {"code": "diverged", "message": ""} if outcome in ("failed", "wall_time") else None
    ledger.end(one, outcome, result=DONE if outcome == "succeeded" else None, error=error)


def with_conflicts(ledger: Ledger, call: object, job: str) -> None:
    before = ledger.state(job)
    try:
        ledger.run(call, ledger.project, job)
        conflict = None
    except Conflict as fault:
        conflict = fault
    if conflict is not None:
        assert (conflict.state, ledger.state(job)) == (before, before)


def check(ledger: Ledger) -> None:
    last: dict[str, str] = {}
    for row in ledger.all("SELECT job_id, source, target, actor FROM audit ORDER BY id"):
        if row.source is not None:
            assert row.source == last[row.job_id]
            assert row.target in TRANSITIONS[row.source]
        last[row.job_id] = row.target
    for row in ledger.all("SELECT id, state, lease_until, event_seq, kind FROM jobs"):
        assert last[row.id] == row.state
        if row.kind == "train":
            assert (row.lease_until is not None) == (row.state in LEASED)
        seqs = [
            event.seq
            for event in ledger.all("SELECT seq FROM events WHERE job_id = :id ORDER BY seq", id=row.id)
        ]
        assert seqs == list(range(1, row.event_seq + 1))
    assert ledger.all("SELECT job_id FROM attempts WHERE counts GROUP BY job_id HAVING count(*) > 1") == []


def test_only_retry_leaves_failed_and_cancelled_and_nothing_leaves_succeeded() -> None:
    assert TRANSITIONS["succeeded"] == ()
    for state in ("failed", "cancelled"):
        assert set(TRANSITIONS[state]) == {"queued", "waiting"}
    assert {state for state, targets in TRANSITIONS.items() if not targets} <= set(TERMINAL)


def test_every_pair_outside_the_table_is_refused(ledger: Ledger) -> None:
    job = ledger.submit()
    for source, targets in TRANSITIONS.items():
        for target in TRANSITIONS:
            if target == source or target in targets:
                continue
            with ledger.engine.connect() as connection:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
                connection.execute(
                    text("UPDATE jobs SET state = :s, lease_until = NULL WHERE id = :id"),
                    {"s": source, "id": job},
                )
                connection.execute(text("SET LOCAL session_replication_role = origin"))
                with pytest.raises(DBAPIError) as refused:
                    connection.execute(
                        text("UPDATE jobs SET state = :t WHERE id = :id"), {"t": target, "id": job}
                    )
                assert sqlstate(refused.value) == BAD_TRANSITION, (source, target)
