from sqlalchemy import text

from bfc_core import records, specs
from store import claims, conclusions, endings, outbox, reaper, steps, workers
from tests.ledger import Ledger, Member

DONE = records.Result({"relative_test_error": 0.5}, {})
LEASE, HEARTBEAT = 15.0, 0.5


def reap(ledger: Ledger) -> dict[str, str]:
    # The test server may just have been started; the reaper would give its workers time to come back.
    return dict(ledger.run(reaper.reap, LEASE, HEARTBEAT, settle_seconds=0.0))


def silence(ledger: Ledger, job: str, seconds: float) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET lease_until = lease_until - make_interval(secs => :s) WHERE id = :id"),
            {"id": job, "s": seconds},
        )
        connection.execute(
            text("UPDATE workers SET heard_at = heard_at - make_interval(secs => :s)"), {"s": seconds}
        )


def test_a_lapsed_lease_is_queued_again_and_its_holder_shut_out(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    assert reap(ledger) == {}
    silence(ledger, job, LEASE + 1)
    assert reap(ledger) == {job: "queued"}
    assert ledger.run(claims.beat, [claims.Beat(job, one.epoch, 1, 2, "step")], LEASE) == {}
    assert ledger.end(one, "succeeded", result=DONE) == {}


def test_three_missed_beats_are_enough_when_the_connection_is_gone_as_well(ledger: Ledger) -> None:
    job = ledger.submit()
    room = ledger.worker()
    with ledger.engine.connect() as presence:
        workers.present(presence, room.worker_id)
        presence.commit()
        ledger.claim(room)
        silence(ledger, job, 4 * HEARTBEAT)
        assert reap(ledger) == {}, "it is slow, not dead: its connection stands"
        presence.execute(text("SELECT pg_advisory_unlock_all()"))
        presence.commit()
    assert reap(ledger) == {job: "queued"}


def test_a_worker_is_present_again_while_its_lost_connection_still_stands(ledger: Ledger) -> None:
    room = ledger.worker()
    with ledger.engine.connect() as lost, ledger.engine.connect() as fresh:
        workers.present(lost, room.worker_id)
        fresh.execute(text("SET lock_timeout = '1s'"))
        workers.present(fresh, room.worker_id)


def test_pausing_and_cancelling_jobs_of_the_dead_end_as_asked(ledger: Ledger) -> None:
    pausing, cancelling = ledger.submit(), ledger.submit()
    ledger.claim()
    ledger.claim()
    ledger.run(steps.pause, ledger.project, pausing)
    ledger.run(steps.cancel, ledger.project, cancelling)
    for job in (pausing, cancelling):
        silence(ledger, job, LEASE + 1)
    assert reap(ledger) == {pausing: "paused", cancelling: "cancelled"}


def test_a_conclusion_that_was_lost_is_made_by_another(ledger: Ledger) -> None:
    study = ledger.study(Member("a", specs.TrainSpec()))
    (one,) = ledger.claim()
    ledger.end(one, "succeeded", result=DONE)
    first = ledger.run(conclusions.claim, ledger.worker().worker_id, LEASE)
    assert ledger.run(conclusions.claim, ledger.worker().worker_id, LEASE) is None
    silence(ledger, study, LEASE + 1)
    assert reap(ledger) == {study: "running"}
    second = ledger.run(conclusions.claim, ledger.worker().worker_id, LEASE)
    assert second.epoch > first.epoch
    assert ledger.run(endings.end, [endings.Ending(study, first.epoch, "succeeded", result=DONE)]) == {}
    assert ledger.run(endings.end, [endings.Ending(study, second.epoch, "succeeded", result=DONE)]) == {
        study: "succeeded"
    }


def test_a_study_whose_every_conclusion_is_lost_fails_in_the_end_and_can_be_tried_again(ledger: Ledger) -> None:
    study = ledger.study(Member("a", specs.TrainSpec()), limits={"attempts": 3})
    (one,) = ledger.claim()
    ledger.end(one, "succeeded", result=DONE)
    for expected in ("running", "running", "failed"):
        with ledger.engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET not_before = NULL"))
        assert ledger.run(conclusions.claim, ledger.worker().worker_id, LEASE) is not None
        silence(ledger, study, LEASE + 1)
        assert reap(ledger) == {study: expected}
        assert ledger.run(conclusions.due) == (expected == "running" and not waits(ledger, study))
    assert ledger.one("SELECT error ->> 'code' AS code FROM jobs WHERE id = :id", id=study).code == "attempts_exhausted"
    ledger.run(steps.retry, ledger.project, study)
    assert ledger.run(conclusions.claim, ledger.worker().worker_id, LEASE).lost_attempts == 0


def waits(ledger: Ledger, job: str) -> bool:
    return bool(ledger.one("SELECT not_before > now() AS waits FROM jobs WHERE id = :id", id=job).waits)


def test_long_silent_workers_are_buried_and_present_ones_are_not(ledger: Ledger) -> None:
    ledger.worker()
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE workers SET heard_at = now() - interval '1 hour'"))
    room = ledger.worker()
    with ledger.engine.connect() as presence:
        workers.present(presence, room.worker_id)
        assert ledger.run(workers.bury, 60) == 1
    assert [row["id"] for row in ledger.run(workers.live)] == [room.worker_id]


def test_bells_ring_after_the_commit_and_again_when_they_were_lost(ledger: Ledger) -> None:
    rung: list[tuple[str, str]] = []
    ledger.worker()
    job = ledger.submit()
    outbox.relay(ledger.engine, lambda queue, job_id: rung.append((queue, job_id)))
    assert rung == [("cpu", job)]
    assert outbox.relay(ledger.engine, lambda *_: rung.append(("again", ""))) == 0
    assert ledger.run(outbox.unheard) == [("cpu", job)]
    ledger.claim()
    assert ledger.run(outbox.unheard) == []


def test_a_bell_that_could_not_ring_stays_in_the_outbox(ledger: Ledger) -> None:
    import pytest

    ledger.submit()

    def broken(*_: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        outbox.relay(ledger.engine, broken)
    assert len(ledger.all("SELECT 1 FROM outbox")) == 1


def test_a_pack_rings_once(ledger: Ledger) -> None:
    ledger.study(*(Member(f"m{i}", specs.TrainSpec(), pack="a") for i in range(5)))
    assert len(ledger.all("SELECT 1 FROM outbox")) == 1
