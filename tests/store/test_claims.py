import contextlib
import threading
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bfc_core import records, specs
from store import claims, jobs, series, steps
from store.engine import STALE_EPOCH, sqlstate
from tests.ledger import Ledger, Member

SPEC = specs.TrainSpec()
DONE = records.Result({"relative_test_error": 0.5}, {})


def test_a_claimed_job_is_not_claimed_twice(ledger: Ledger) -> None:
    job = ledger.submit()
    (first,) = ledger.claim()
    assert (first.id, first.epoch, first.attempt) == (job, 1, 1)
    assert ledger.claim() == []
    assert ledger.state(job) == "running"


def test_concurrent_workers_never_share_a_job(ledger: Ledger) -> None:
    for _ in range(40):
        ledger.submit()
    taken: list[str] = []

    def drain() -> None:
        room = ledger.worker()
        misses = 0
        while misses < 3:
            claimed = ledger.claim(room)
            misses = 0 if claimed else misses + 1
            taken.extend(one.id for one in claimed)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_priority_comes_before_turns_and_turns_before_age(ledger: Ledger) -> None:
    other = ledger.new_project("other")
    early = [ledger.submit() for _ in range(3)]
    late = ledger.submit(other)
    urgent = ledger.submit(priority=5)
    room = ledger.worker()
    order = [ledger.claim(room)[0].id for _ in range(5)]
    assert order[0] == urgent
    assert order[1] == late, "the other project has nothing running"
    assert order[2:] == early


def test_neighbours_who_claim_at_once_turn_to_different_projects(ledger: Ledger) -> None:
    projects = [ledger.project, ledger.new_project("b"), ledger.new_project("c")]
    for project in projects:
        for _ in range(5):
            ledger.submit(project)
    rooms = [ledger.worker() for _ in projects]
    with contextlib.ExitStack() as open_:
        slow = [open_.enter_context(ledger.engine.connect()) for _ in rooms]
        taken = [claims.claim(one, room, 15)[0].project_id for one, room in zip(slow, rooms, strict=True)]
    assert sorted(taken) == sorted(projects)


def test_a_pack_is_claimed_whole_and_by_one_worker(ledger: Ledger) -> None:
    study = ledger.study(*(Member(f"m{i}", SPEC, pack="a") for i in range(5)))
    claimed = ledger.claim()
    assert [one.slot for one in claimed] == [0, 1, 2, 3, 4]
    assert len({one.pack_id for one in claimed}) == 1
    assert ledger.claim() == []
    assert ledger.state(study) == "running"


def test_two_workers_do_not_split_a_pack(ledger: Ledger) -> None:
    ledger.study(*(Member(f"m{i}", SPEC, pack="a") for i in range(5)))
    room, other = ledger.worker(), ledger.worker()
    with ledger.engine.connect() as slow:
        first = claims.claim(slow, room, 15)
        assert ledger.claim(other) == []
        slow.commit()
    assert len(first) == 5


def test_a_job_goes_only_where_it_fits(ledger: Ledger) -> None:
    job = ledger.submit()
    small = claims.Room(ledger.worker().worker_id, "cpu", "cpu", 1 << 20)
    assert ledger.claim(small) == []
    assert ledger.claim()[0].id == job


def test_a_job_for_cuda_waits_for_cuda_and_stays_there(ledger: Ledger) -> None:
    job = ledger.submit(spec={"device": "auto"})
    gpu = ledger.worker(device_class="cuda", device="cuda:0", device_memory_bytes=1 << 34)
    room = claims.Room(gpu.worker_id, "cuda", "cuda:0", 1 << 34, 1 << 34)
    (one,) = ledger.claim(room)
    assert one.device_class == "cuda"
    ledger.end(one, "drained")
    assert ledger.claim() == [], "the first claim settled the class for every attempt"
    assert ledger.claim(room)[0].id == job


def test_a_job_for_one_device_is_not_claimed_by_its_neighbour(ledger: Ledger) -> None:
    ledger.submit(spec={"device": "cuda:1"})
    gpu = ledger.worker(device_class="cuda", device="cuda:0")
    assert ledger.claim(claims.Room(gpu.worker_id, "cuda", "cuda:0", 1 << 34, 1 << 34)) == []
    assert len(ledger.claim(claims.Room(gpu.worker_id, "cuda", "cuda:1", 1 << 34, 1 << 34))) == 1


def test_over_quota_a_job_waits_with_its_place(ledger: Ledger) -> None:
    first, second = ledger.submit(), ledger.submit()
    with ledger.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO quotas (project_id, name, amount) VALUES (:p, 'running_jobs', 1)"),
            {"p": ledger.project},
        )
    (one,) = ledger.claim()
    assert one.id == first
    assert ledger.claim() == []
    assert ledger.state(second) == "queued"
    ledger.end(one, "succeeded", result=DONE)
    assert ledger.claim()[0].id == second


def test_a_beat_renews_tells_progress_and_polls(ledger: Ledger) -> None:
    ledger.submit()
    (one,) = ledger.claim(lease=1)
    before = ledger.one("SELECT lease_until FROM jobs").lease_until
    answer = ledger.run(claims.beat, [claims.Beat(one.id, one.epoch, 10, 100, "step")], 15)
    assert answer[one.id].state == "running"
    row = ledger.one("SELECT lease_until, progress_done, progress_total FROM jobs")
    assert row.lease_until > before
    assert (row.progress_done, row.progress_total) == (10, 100)
    ledger.run(steps.cancel, ledger.project, one.id)
    answer = ledger.run(claims.beat, [claims.Beat(one.id, one.epoch, 10, 100, "step")], 15)
    assert answer[one.id].state == "cancelling"
    assert answer[one.id].asked >= 0
    kinds = [row.kind for row in ledger.all("SELECT kind FROM events ORDER BY seq")]
    assert kinds.count("progress") == 1, "progress that has not moved is not told again"


def test_a_stale_holder_gets_no_answer_and_may_write_nothing(ledger: Ledger) -> None:
    ledger.submit()
    (old,) = ledger.claim()
    ledger.end(old, "drained")
    (new,) = ledger.claim()
    assert new.epoch == old.epoch + 1
    assert ledger.run(claims.beat, [claims.Beat(old.id, old.epoch, 1, 2, "step")], 15) == {}
    assert ledger.run(claims.hold, {old.id: old.epoch}, {old.id: 5}) == {}
    assert ledger.end(old, "succeeded", result=DONE) == {}
    with pytest.raises(DBAPIError) as refused:
        ledger.run(series.write, [series.Batch(old.id, old.epoch, 1, [points("loss", [1], [1.0])])])
    assert sqlstate(refused.value) == STALE_EPOCH


def test_a_claim_cuts_back_to_the_checkpoint_and_says_so(ledger: Ledger) -> None:
    from store import snapshots

    job = ledger.submit()
    (one,) = ledger.claim()
    for mark in (1, 2, 3):
        batch = series.Batch(job, one.epoch, mark, [points("loss", [mark * 10], [float(mark)])])
        ledger.run(claims.hold, {job: one.epoch}, {job: mark})
        ledger.run(series.write, [batch])
        if mark == 2:
            fresh = snapshots.Fresh(
                ledger.project, job, one.epoch, mark, 20, "checkpoint", {}, {}, {"at": 20}, done=20
            )
            ledger.run(snapshots.write, [fresh])
    ledger.run(claims.beat, [claims.Beat(job, one.epoch, 35, 100, "step")], 15)
    ledger.end(one, "lost")
    (again,) = ledger.claim()
    assert again.attempt == 2
    ((_, kept),) = ledger.run(series.read, [job])
    assert kept.steps.tolist() == [10, 20]
    assert ledger.one("SELECT progress_done FROM jobs").progress_done == 20
    (told,) = ledger.all("SELECT data FROM events WHERE kind = 'rewound'")
    assert told.data["to_step"] == 20


def test_a_claim_looks_at_no_finished_job(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs DISABLE TRIGGER USER"))
        connection.execute(
            text("""INSERT INTO jobs (id, project_id, kind, spec, spec_hash, state)
                    SELECT 'job_' || lpad(n::text, 26, '0'), :p, 'train', '{}', '', 'succeeded'
                      FROM generate_series(1, 5000) n"""),
            {"p": ledger.project},
        )
        connection.execute(text("ALTER TABLE jobs ENABLE TRIGGER USER"))
    for _ in range(30):
        ledger.submit()
    room = ledger.worker()
    values = {"worker": room.worker_id, "class": "cpu", "device": "cpu", "memory": room.memory_bytes,
              "device_memory": 0, "threads": 1, "lease": 15.0}  # fmt: skip
    with ledger.engine.connect() as connection:
        connection.execute(text("ANALYZE jobs"))
        query = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {claims.CLAIM.text}")
        (plan,) = connection.execute(query, values).scalar_one()
    assert rows_seen(plan["Plan"]) < 500


def rows_seen(node: dict[str, Any]) -> float:
    """Rows of `jobs` that a plan has looked at, the discarded ones too."""
    below = sum(rows_seen(one) for one in node.get("Plans", ()))
    if node.get("Relation Name") != "jobs" or node["Node Type"] == "ModifyTable":
        return below
    return float(below + node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))


def test_dependencies_are_asked_before_a_job_is_queued(ledger: Ledger) -> None:
    first = ledger.submit()
    second = ledger.submit(after=[first])
    assert ledger.state(second) == "waiting"
    (one,) = ledger.claim()
    ledger.end(one, "succeeded", result=DONE)
    assert ledger.state(second) == "queued"
    third = ledger.submit(after=[first])
    assert ledger.state(third) == "queued"
    assert ledger.run(jobs.needs, third) == [first]


def points(key: str, at: list[int], values: list[float], layer: int | None = None) -> series.Points:
    import numpy as np

    return series.Points(key, layer, None, np.array(at), np.array(values))
