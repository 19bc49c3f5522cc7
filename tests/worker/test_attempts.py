import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bfc_core import specs
from store import series, snapshots, steps, why
from tests.ledger import Member
from tests.processes import alive, child_at_work
from tests.worker.conftest import Shop, spec

STUBBORN, KILLED_ONCE, MEMORY, RAISES, DIVERGES, HOG, SILENT, KILLED_ALWAYS, GARBAGE, DEAF = range(100, 1100, 100)


def pack(*seeds: int, steps: int = 200) -> list[Member]:
    loaded = [specs.load("train", spec(seed, steps)) for seed in seeds]
    return [Member(f"m{i}", one, pack="a") for i, one in enumerate(loaded)]


def test_a_job_goes_from_queued_to_succeeded_with_all_its_records(shop: Shop) -> None:
    shop.worker()
    job = shop.submit(7, 100)
    row = shop.wait(job)
    assert row.state == "succeeded", row.error
    assert (row.progress_done, row.progress_total, row.attempt) == (100, 100, 1)
    assert row.provenance["environment"] == {"program": "fake"}
    with shop.ledger.engine.connect() as connection:
        found = {(one.key, one.layer): one for _, one in series.read(connection, [job])}
        assert found["loss", None].steps.tolist() == list(range(5, 101, 5))
        assert [head["step"] for head in snapshots.of_job(connection, job)] == [50, 100]
    kinds = [
        row.kind for row in shop.ledger.all("SELECT kind FROM events WHERE job_id = :id ORDER BY seq", id=job)
    ]
    assert kinds[0] == kinds[-1] == "state"
    assert {"progress", "metric"} <= set(kinds)


def test_a_killed_child_is_a_lost_attempt_and_the_next_ends_with_the_same_numbers(shop: Shop) -> None:
    shop.worker(env={"FAKE_STEP_SECONDS": "0.005"})
    peace = shop.undisturbed(1, 400)
    job = shop.submit(1, 400, every=0.2)
    shop.progress(job, 80)
    child_at_work("fake_child").kill()
    row = shop.wait(job)
    assert (row.state, row.attempt, row.lost_attempts) == ("succeeded", 2, 1)
    assert row.summary == peace
    with shop.ledger.engine.connect() as connection:
        found = {one.key: one for _, one in series.read(connection, [job])}
    assert found["loss"].steps.tolist() == list(range(5, 401, 5)), "nothing lost, nothing twice"
    told = shop.ledger.all(
        "SELECT data FROM events WHERE job_id = :id AND kind = 'metric' ORDER BY seq", id=job
    )
    steps_told = [
        step for row in told for one in row.data["series"] if one["key"] == "loss" for step in one["steps"]
    ]
    assert steps_told == list(range(5, 401, 5)), "points made again raise no second event"


def test_a_child_that_dies_every_time_is_given_up_after_its_attempts(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(KILLED_ALWAYS, limits={"attempts": 2}))
    assert (row.state, row.attempt) == ("failed", 2)
    assert row.error["code"] == "attempts_exhausted"


def test_memory_is_told_apart_and_final_after_two(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(MEMORY))
    assert (row.state, row.attempt, row.memory_kills, row.lost_attempts) == ("failed", 2, 2, 0)
    assert row.error["code"] == "out_of_memory"


def test_a_child_beyond_its_memory_limit_is_killed(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(HOG, limits={"memory_bytes": 200 << 20}))
    assert (row.state, row.error["code"]) == ("failed", "out_of_memory")


def test_an_exception_is_final_and_named(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(RAISES))
    assert (row.state, row.attempt) == ("failed", 1)
    assert row.error == {"code": "crashed", "message": "RuntimeError: a bug"}
    detail = shop.ledger.one("SELECT detail FROM attempts").detail
    assert "fake_child.py" in detail["trace"]


def test_a_diverged_run_is_final(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(DIVERGES))
    assert (row.state, row.attempt, row.error["code"], row.error["step"]) == ("failed", 1, "diverged", 20)


def test_a_child_that_breaks_off_in_a_frame_is_a_lost_attempt(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(GARBAGE, limits={"attempts": 1}))
    assert (row.state, row.error["code"]) == ("failed", "attempts_exhausted")


def test_cancel_is_done_when_the_process_is_gone(shop: Shop) -> None:
    shop.worker()
    job = shop.submit(1, 100_000)
    shop.progress(job, 10)
    child = child_at_work("fake_child")
    shop.step(steps.cancel, job)
    assert shop.row(job).state in ("cancelling", "cancelled")
    shop.wait(job, "cancelled")
    assert not alive(child)


def test_a_child_that_ignores_cancel_is_killed_after_its_grace(shop: Shop) -> None:
    shop.worker(env={"FAKE_STEP_SECONDS": "0.005"}, cancel_grace_seconds=0.5)
    for seed in (STUBBORN, SILENT):
        job = shop.submit(seed, 100_000)
        shop.wait(job, "running")
        shop.until(lambda job=job: shop.row(job).progress_done or child_at_work("fake_child"), "never began")
        time.sleep(0.3)
        child = child_at_work("fake_child")
        shop.step(steps.cancel, job)
        shop.wait(job, "cancelled")
        assert not alive(child)


@pytest.mark.parametrize("step", [steps.cancel, steps.pause])
def test_a_child_that_still_loads_is_given_no_grace(shop: Shop, step: Callable[..., None]) -> None:
    shop.worker(cancel_grace_seconds=3600.0)
    job = shop.submit(DEAF, 100)
    shop.wait(job, "running")
    shop.step(step, job)
    row = shop.wait(job, "cancelled", "paused")
    assert row.lost_attempts == 0


def test_pause_keeps_a_checkpoint_and_resume_ends_with_the_same_numbers(shop: Shop) -> None:
    shop.worker(env={"FAKE_STEP_SECONDS": "0.005"})
    peace = shop.undisturbed(2, 400)
    job = shop.submit(2, 400)
    shop.progress(job, 40)
    shop.step(steps.pause, job)
    row = shop.wait(job, "paused")
    assert row.lost_attempts == 0
    assert shop.ledger.one("SELECT step FROM checkpoints").step >= 40
    time.sleep(0.2)
    assert shop.row(job).state == "paused"
    shop.step(steps.resume, job)
    row = shop.wait(job)
    assert (row.state, row.attempt, row.summary) == ("succeeded", 2, peace)


def test_a_drained_worker_gives_its_job_back_with_a_checkpoint(shop: Shop) -> None:
    first = shop.worker(env={"FAKE_STEP_SECONDS": "0.005"})
    peace = shop.undisturbed(3, 400)
    job = shop.submit(3, 400)
    shop.progress(job, 40)
    first.drain()
    row = shop.wait(job, "queued")
    assert row.lost_attempts == 0
    shop.worker()
    row = shop.wait(job)
    assert (row.state, row.attempt, row.summary) == ("succeeded", 2, peace)
    outcomes = [
        row.outcome
        for row in shop.ledger.all("SELECT outcome FROM attempts WHERE job_id = :id ORDER BY epoch", id=job)
    ]
    assert outcomes == ["drained", "succeeded"]


def test_a_job_that_runs_too_long_fails_and_says_so(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(1, 100_000, limits={"wall_seconds": 0.5}))
    assert (row.state, row.error["code"]) == ("failed", "wall_time")


def test_snapshots_beyond_their_limit_end_the_job(shop: Shop) -> None:
    shop.worker()
    row = shop.wait(shop.submit(1, 100_000, limits={"snapshot_bytes": 100}))
    assert (row.state, row.error["code"]) == ("failed", "snapshot_bytes")


def test_members_of_a_pack_have_their_own_fates_in_one_child(shop: Shop) -> None:
    shop.worker(env={"FAKE_STEP_SECONDS": "0.004"})
    study = shop.ledger.study(*pack(1, DIVERGES, 3, 4, steps=300))
    ids = shop.ledger.member_ids(study)
    shop.progress(ids["m2"], 30)
    shop.step(steps.cancel, ids["m2"])
    shop.step(steps.pause, ids["m3"])
    shop.wait(ids["m2"], "cancelled")
    shop.wait(ids["m3"], "paused")
    assert shop.wait(ids["m0"]).state == "succeeded"
    assert shop.row(ids["m1"]).error["code"] == "diverged"
    assert shop.row(ids["m0"]).attempt == 1
    shop.step(steps.resume, ids["m3"])
    row = shop.wait(ids["m3"])
    assert (row.state, row.attempt) == ("succeeded", 2)
    assert row.summary == shop.undisturbed(4, 300)


def test_a_fenced_member_loses_its_slot_and_not_the_pack(shop: Shop) -> None:
    from sqlalchemy import text

    shop.worker(env={"FAKE_STEP_SECONDS": "0.005"})
    study = shop.ledger.study(*pack(1, 2, steps=300))
    ids = shop.ledger.member_ids(study)
    shop.progress(ids["m0"], 30)
    with shop.ledger.engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET state = 'queued', epoch = epoch + 1, worker_id = NULL WHERE id = :id"),
            {"id": ids["m0"]},
        )
    assert shop.wait(ids["m1"]).attempt == 1
    row = shop.wait(ids["m0"])
    assert (row.state, row.attempt) == ("succeeded", 2)
    assert row.summary == shop.undisturbed(1, 300)


def test_below_its_free_disk_a_worker_takes_no_job_and_says_why(shop: Shop) -> None:
    node = shop.worker(free_disk_fraction=1.1)
    job = shop.submit(1, 50)
    shop.until(lambda: "disk" in shop.ledger.run(why.why, shop.ledger.project, job)["says"], "never said")
    assert shop.row(job).state == "queued"
    node.config = replace(node.config, free_disk_fraction=0.0)
    assert shop.wait(job).state == "succeeded"


def test_a_worker_that_breaks_gives_its_jobs_back_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.attempt import Attempt

    beat, broken = Attempt._beat, []

    def break_once(attempt: Attempt) -> None:
        if not broken:
            broken.append(attempt)
            raise RuntimeError("a bug of ours")
        beat(attempt)

    monkeypatch.setattr(Attempt, "_beat", break_once)
    shop.worker(lease_seconds=60.0)
    row = shop.wait(shop.submit(1, 50))
    assert (row.state, row.attempt, row.lost_attempts) == ("succeeded", 2, 1)
    assert (
        "a bug of ours" in shop.ledger.all("SELECT detail FROM attempts ORDER BY epoch")[0].detail["reason"]
    )
