import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bfc_core import records, specs
from store import audit, claims, conclusions, endings, jobs, keys, steps, why
from store.engine import BAD_TRANSITION, sqlstate
from store.errors import Conflict, NotFound, QueueFull, UnknownDependency
from tests.ledger import Ledger, Member

SPEC = specs.TrainSpec()
DONE = records.Result({"relative_test_error": 0.5}, {})


def ask(ledger: Ledger, step: object, job_id: str) -> None:
    ledger.run(step, ledger.project, job_id)


def conclude(ledger: Ledger, study: str) -> None:
    row = ledger.run(conclusions.claim, ledger.worker().worker_id, 15)
    assert row.id == study
    ledger.run(endings.end, [endings.Ending(study, row.epoch, "succeeded", result=DONE)])


def test_a_step_outside_the_table_is_refused_by_the_database(ledger: Ledger) -> None:
    job = ledger.submit()
    with pytest.raises(DBAPIError) as refused, ledger.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'succeeded' WHERE id = :id"), {"id": job})
    assert sqlstate(refused.value) == BAD_TRANSITION


def test_a_queued_job_is_cancelled_at_once_and_retried(ledger: Ledger) -> None:
    job = ledger.submit()
    ask(ledger, steps.cancel, job)
    assert ledger.state(job) == "cancelled"
    with pytest.raises(Conflict, match="has ended already"):
        ask(ledger, steps.cancel, job)
    ask(ledger, steps.retry, job)
    assert ledger.state(job) == "queued"


def test_steps_that_do_not_apply_say_why(ledger: Ledger) -> None:
    job = ledger.submit()
    for step in (steps.resume, steps.retry):
        with pytest.raises(Conflict, match="only a"):
            ask(ledger, step, job)
    (one,) = ledger.claim()
    ledger.end(one, "succeeded", result=DONE)
    for step in (steps.cancel, steps.pause, steps.resume, steps.retry):
        with pytest.raises(Conflict):
            ask(ledger, step, job)
    with pytest.raises(NotFound):
        ask(ledger, steps.cancel, "job_nowhere")


def test_another_projects_job_cannot_be_found(ledger: Ledger) -> None:
    job = ledger.submit(ledger.new_project("other"))
    for look in (jobs.get, why.why, audit.of_job, steps.cancel, jobs.delete):
        with pytest.raises(NotFound):
            ledger.run(look, ledger.project, job)


def test_cancel_wins_over_a_result_that_comes_after_it(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    ask(ledger, steps.cancel, job)
    assert ledger.state(job) == "cancelling"
    assert ledger.end(one, "succeeded", result=DONE) == {job: "cancelled"}
    assert ledger.all("SELECT 1 FROM results") == []


def test_a_paused_job_goes_on_and_a_lost_pausing_one_is_paused(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    ask(ledger, steps.pause, job)
    assert ledger.state(job) == "pausing"
    with pytest.raises(Conflict, match="still keeping its checkpoint"):
        ask(ledger, steps.resume, job)
    assert ledger.end(one, "lost") == {job: "paused"}
    ask(ledger, steps.resume, job)
    assert ledger.state(job) == "queued"


def test_what_waits_for_a_failed_job_is_cancelled_with_all_that_waits_for_it(ledger: Ledger) -> None:
    first = ledger.submit()
    second = ledger.submit(after=[first])
    third = ledger.submit(after=[second])
    (one,) = ledger.claim()
    ledger.end(one, "failed", error={"code": "diverged", "message": "it did"})
    assert [ledger.state(job) for job in (first, second, third)] == ["failed", "cancelled", "cancelled"]
    error = ledger.one("SELECT error FROM jobs WHERE id = :id", id=third).error
    assert (error["code"], error["job"]) == ("dependency_failed", second)
    late = ledger.submit(after=[first])
    assert ledger.state(late) == "cancelled", "told at once when it comes too late"
    with pytest.raises(Conflict, match=f"job {second}, which it waits for, is cancelled; retry that first"):
        ask(ledger, steps.retry, third)
    for job in (first, second, third):
        ask(ledger, steps.retry, job)
    assert [ledger.state(job) for job in (first, second, third)] == ["queued", "waiting", "waiting"]


def test_two_ends_at_once_release_what_waits_for_both(ledger: Ledger) -> None:
    import threading

    for _ in range(5):
        needed = [ledger.submit() for _ in range(2)]
        last = ledger.submit(after=needed)
        held = [ledger.claim()[0] for _ in range(2)]
        threads = [
            threading.Thread(target=ledger.end, args=(one, "succeeded"), kwargs={"result": DONE})
            for one in held
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.state(last) == "queued"
        ledger.claim()


def test_after_must_name_jobs_of_the_project(ledger: Ledger) -> None:
    other = ledger.submit(ledger.new_project("other"))
    mine = ledger.submit()
    with pytest.raises(UnknownDependency) as fault:
        ledger.submit(after=[mine, other])
    assert fault.value.positions == (1,)


def test_a_full_queue_refuses_more(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO quotas (project_id, name, amount) VALUES (:p, 'queued_jobs', 2)"),
            {"p": ledger.project},
        )
    ledger.submit()
    ledger.submit()
    with pytest.raises(QueueFull, match="limit of 2"):
        ledger.submit()


def test_a_job_may_use_the_least_of_what_its_body_its_project_and_the_server_say(ledger: Ledger) -> None:
    for name, amount in (("job_wall_seconds", 50), ("job_attempts", 3)):
        ledger.run(keys.set_quota, ledger.project, name, amount)
    placing = jobs.Placing(bounds={"wall_seconds": 60.0, "memory_bytes": 1 << 30, "queued_jobs": 3})

    def limits(**asked: float) -> dict[str, float]:
        job = specs.parse_job({"kind": "train", "spec": {}, "limits": asked})
        job_id = ledger.run(jobs.submit, ledger.project, job, (), placing)
        return dict(ledger.one("SELECT limits FROM jobs WHERE id = :id", id=job_id).limits)

    assert limits() == {"wall_seconds": 50, "memory_bytes": 1 << 30, "attempts": 3}
    assert limits(wall_seconds=10.0, attempts=9) == {"wall_seconds": 10, "memory_bytes": 1 << 30, "attempts": 3}
    assert limits(snapshot_bytes=7)["snapshot_bytes"] == 7
    with pytest.raises(QueueFull, match="limit of 3"):
        limits()
    ledger.run(keys.set_quota, ledger.project, "queued_jobs", 4)
    limits()


def test_a_study_waits_runs_and_concludes(ledger: Ledger) -> None:
    study = ledger.study(Member("a", SPEC), Member("b", SPEC, after=("a",)))
    ids = ledger.member_ids(study)
    assert [ledger.state(job) for job in (study, ids["a"], ids["b"])] == ["waiting", "queued", "waiting"]
    (a,) = ledger.claim()
    assert ledger.state(study) == "running"
    ledger.end(a, "succeeded", result=DONE)
    assert ledger.one("SELECT progress_done, progress_total FROM jobs WHERE id = :id", id=study) == (1, 2)
    (b,) = ledger.claim()
    ledger.end(b, "succeeded", result=DONE)
    assert ledger.state(study) == "running"
    conclude(ledger, study)
    assert ledger.state(study) == "succeeded"
    assert ledger.run(conclusions.claim, a.id, 15) is None


def test_a_failed_member_ends_its_dependents_and_not_the_study(ledger: Ledger) -> None:
    study = ledger.study(Member("a", SPEC), Member("b", SPEC, after=("a",)), Member("c", SPEC))
    ids = ledger.member_ids(study)
    claimed = {one.id: one for one in ledger.claim() + ledger.claim()}
    ledger.end(claimed[ids["a"]], "failed", error={"code": "diverged", "message": ""})
    assert ledger.state(ids["b"]) == "cancelled"
    assert ledger.state(study) == "running"
    ledger.end(claimed[ids["c"]], "succeeded", result=DONE)
    conclude(ledger, study)


def test_a_study_may_say_that_one_failure_is_enough(ledger: Ledger) -> None:
    members = [Member("a", SPEC), Member("b", SPEC), Member("c", SPEC)]
    study = ledger.study(*members, spec={"kind": "correction", "stop_on_failure": True})
    ids = ledger.member_ids(study)
    claimed = {one.id: one for one in ledger.claim() + ledger.claim()}
    ledger.end(claimed[ids["a"]], "failed", error={"code": "diverged", "message": ""})
    assert ledger.state(ids["c"]) == "cancelled"
    assert ledger.state(ids["b"]) == "cancelling"
    ledger.end(claimed[ids["b"]], "cancelled")
    conclude(ledger, study)


def test_cancelling_a_study_ends_its_members_and_retry_runs_only_what_is_missing(ledger: Ledger) -> None:
    study = ledger.study(*(Member(key, SPEC) for key in "abcd"))
    ids = ledger.member_ids(study)
    claimed = {one.id: one for _ in range(3) for one in ledger.claim()}
    ledger.end(claimed[ids["a"]], "succeeded", result=DONE)
    ledger.end(claimed[ids["b"]], "failed", error={"code": "diverged", "message": ""})
    ask(ledger, steps.cancel, study)
    assert ledger.state(study) == "cancelling"
    assert ledger.state(ids["c"]) == "cancelling"
    ledger.end(claimed[ids["c"]], "cancelled")
    assert ledger.state(study) == "cancelled"
    ask(ledger, steps.retry, study)
    assert [ledger.state(ids[key]) for key in "abcd"] == ["succeeded", "failed", "queued", "queued"]
    assert ledger.state(study) == "running"
    for _ in range(2):
        (one,) = ledger.claim()
        ledger.end(one, "succeeded", result=DONE)
    conclude(ledger, study)


def test_a_study_cancelled_while_it_is_concluded_stays_cancelled(ledger: Ledger) -> None:
    study = ledger.study(Member("a", SPEC))
    (one,) = ledger.claim()
    ledger.end(one, "succeeded", result=DONE)
    row = ledger.run(conclusions.claim, ledger.worker().worker_id, 15)
    ask(ledger, steps.cancel, study)
    assert ledger.state(study) == "cancelled"
    assert ledger.run(endings.end, [endings.Ending(study, row.epoch, "succeeded", result=DONE)]) == {}
    ask(ledger, steps.retry, study)
    conclude(ledger, study)


def test_a_study_is_paused_when_its_last_member_is_and_goes_on(ledger: Ledger) -> None:
    study = ledger.study(Member("a", SPEC), Member("b", SPEC), Member("c", SPEC, after=("a", "b")))
    ids = ledger.member_ids(study)
    (a,) = ledger.claim()
    ask(ledger, steps.pause, study)
    assert [ledger.state(job) for job in (study, *ids.values())] == ["pausing", "pausing", "paused", "paused"]
    ledger.end(a, "paused")
    assert ledger.state(study) == "paused"
    ask(ledger, steps.resume, study)
    assert [ledger.state(ids[key]) for key in "abc"] == ["queued", "queued", "waiting"]
    assert ledger.state(study) == "running"


def test_a_member_of_a_concluded_study_cannot_move_alone(ledger: Ledger) -> None:
    study = ledger.study(Member("a", SPEC))
    ids = ledger.member_ids(study)
    (one,) = ledger.claim()
    ledger.end(one, "failed", error={"code": "crashed", "message": ""})
    with pytest.raises(Conflict, match="retry that instead"):
        ask(ledger, steps.retry, ids["a"])


def test_only_a_finished_job_that_nobody_needs_is_deleted_with_all_it_owns(ledger: Ledger) -> None:
    job = ledger.submit()
    with pytest.raises(Conflict, match="cancel it first"):
        ledger.run(jobs.delete, ledger.project, job)
    study = ledger.study(Member("a", SPEC))
    with pytest.raises(Conflict, match="delete that"):
        ledger.run(jobs.delete, ledger.project, ledger.member_ids(study)["a"])
    ask(ledger, steps.cancel, job)
    ledger.run(jobs.delete, ledger.project, job)
    assert ledger.all("SELECT 1 FROM events WHERE job_id = :id", id=job) == []


def test_why_speaks_in_every_state(ledger: Ledger) -> None:
    def said(job: str) -> dict[str, object]:
        return dict(ledger.run(why.why, ledger.project, job))

    first = ledger.submit()
    second = ledger.submit()
    waiting = ledger.submit(after=[first])
    assert "no worker" in str(said(first)["says"])
    assert said(second)["place"] == 2
    assert said(waiting)["waits_for"] == [{"job": first, "state": "queued"}]
    (one,) = ledger.claim()
    assert said(first)["lease"]["epoch"] == 1  # type: ignore[index]
    ask(ledger, steps.pause, first)
    assert "checkpoint" in str(said(first)["says"])
    ledger.end(one, "paused")
    assert "resume" in str(said(first)["next"])
    ask(ledger, steps.resume, first)
    (one,) = ledger.claim()
    ask(ledger, steps.cancel, first)
    assert "killed" in str(said(first)["next"])
    ledger.end(one, "cancelled")
    assert said(first)["says"] == "it was cancelled"
    assert said(waiting)["error"]["job"] == first  # type: ignore[index]
    (two,) = ledger.claim()
    ledger.end(two, "failed", error={"code": "crashed", "message": "a bug"})
    assert "a bug" in str(said(second)["says"])
    third = ledger.submit()
    (three,) = ledger.claim()
    ledger.end(three, "succeeded", result=DONE)
    assert "succeeded" in str(said(third)["says"])


def test_the_audit_tells_each_attempt_and_which_counts(ledger: Ledger) -> None:
    job = ledger.submit()
    for outcome in ("lost", "drained"):
        (one,) = ledger.claim()
        ledger.end(one, outcome)
    (one,) = ledger.claim()
    ledger.end(one, "succeeded", result=DONE)
    told = ledger.run(audit.of_job, ledger.project, job)
    assert [(row["number"], row["outcome"], row["counts"]) for row in told["attempts"]] == [
        (1, "lost", False),
        (2, "drained", False),
        (3, "succeeded", True),
    ]
    assert told["counts"] == one.epoch
    assert [row["target"] for row in told["steps"]] == [
        *("queued", "running", "queued", "running", "queued", "running", "succeeded")
    ]


def test_lost_attempts_are_counted_and_drained_ones_are_not(ledger: Ledger) -> None:
    job = ledger.submit(limits={"attempts": 2})
    for outcome in ("lost", "drained", "outage", "drained"):
        (one,) = ledger.claim()
        ledger.end(one, outcome)
    (one,) = ledger.claim()
    assert ledger.end(one, "lost") == {job: "failed"}
    assert ledger.one("SELECT error FROM jobs").error["code"] == "attempts_exhausted"


def test_a_parent_is_told_of_a_member_that_started(ledger: Ledger) -> None:
    study = ledger.study(Member("a", SPEC))
    ledger.run(claims.claim, ledger.worker(), 15)
    assert ledger.state(study) == "waiting", "the claim does not wait for the study's lock"
    from store import reaper

    ledger.run(reaper.mend)
    assert ledger.state(study) == "running", "a crash between the two is mended"
