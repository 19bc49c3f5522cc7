import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors
from sqlalchemy import text

from bfc_core.records import Tensor
from store import claims, jobs, snapshots, tensors
from store.errors import NotFound
from tests.ledger import Ledger

RANDOM = np.random.default_rng(0)


def tensor(array: np.ndarray) -> Tensor:
    return Tensor.of(array)


def keep(ledger: Ledger, one: claims.Claimed, step: int, found: dict[str, Tensor], **options: object) -> str:
    packed = {name: tensors.pack(each) for name, each in found.items()}
    kind = "checkpoint" if "state" in options else "weights"
    fresh = snapshots.Fresh(
        one.project_id,
        one.id,
        one.epoch,
        step,
        step,
        kind,
        {"stage": 0},
        packed,
        **options,  # type: ignore[arg-type]
    )
    (snapshot_id,) = ledger.run(snapshots.write, [fresh])
    return str(snapshot_id)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0,), np.float32),
        np.float64(3.25),
        RANDOM.normal(size=(700, 513)).astype(np.float32),
        np.maximum(RANDOM.normal(size=(1000, 600)), 0),
        np.arange(5, dtype=np.int64),
        RANDOM.integers(0, 256, (3_000_001,)).astype(np.uint8),
        np.array([True, False]),
    ],
    ids=["empty", "scalar", "normal", "relu", "integers", "bytes", "bool"],
)
def test_tensors_come_back_bit_for_bit_however_they_were_packed(ledger: Ledger, array: np.ndarray) -> None:
    ledger.submit()
    (one,) = ledger.claim()
    kept = keep(ledger, one, 1, {"x": tensor(array)})
    found = ledger.run(snapshots.load, kept)
    assert found["x"] == tensor(array)


def test_relu_features_shrink_before_they_are_sent() -> None:
    array = np.maximum(RANDOM.normal(size=(1000, 1000)), 0).astype(np.float32)
    packed = tensors.pack(tensor(array))
    assert packed.stored_bytes < 0.75 * packed.size


def test_bytes_are_shuffled_when_that_pays() -> None:
    smooth = tensors.pack(tensor(np.linspace(0.0, 1.0, 300_000)))
    assert {codec for codec, _ in smooth.chunks} == {tensors.SHUFFLED}
    noise = tensors.pack(tensor(RANDOM.integers(0, 256, 300_000).astype(np.uint8)))
    assert {codec for codec, _ in noise.chunks} == {tensors.RAW}


def test_equal_tensors_are_stored_once_a_project_and_charged_twice(ledger: Ledger) -> None:
    array = tensor(RANDOM.normal(size=(64, 64)))
    ledger.submit()
    (one,) = ledger.claim()
    keep(ledger, one, 1, {"a": array, "b": array})
    keep(ledger, one, 2, {"a": array})
    assert ledger.one("SELECT count(*) AS n FROM tensors").n == 1
    assert ledger.run(snapshots.stored_bytes, one.id) == 3 * 64 * 64 * 8
    other = ledger.new_project("other")
    ledger.submit(other)
    (two,) = ledger.claim()
    keep(ledger, two, 1, {"a": array})
    assert ledger.one("SELECT count(*) AS n FROM tensors").n == 2, "projects share nothing"


def test_any_range_of_the_safetensors_file_can_be_read(ledger: Ledger) -> None:
    arrays = {
        "w": RANDOM.normal(size=(500, 700)).astype(np.float32),
        "b": np.arange(7.0),
        "e": np.zeros((0, 3)),
    }
    ledger.submit()
    (one,) = ledger.claim()
    kept = keep(ledger, one, 1, {name: tensor(array) for name, array in arrays.items()})
    with ledger.engine.connect() as connection:
        plan = snapshots.layout(snapshots.listing(connection, kept), {"job": one.id})
        whole = b"".join(snapshots.stream(connection, plan))
        assert len(whole) == plan.bytes
        for start, stop in [
            (0, 1),
            (5, 100),
            (len(plan.head) - 3, len(plan.head) + 9),
            (1_000_000, 1_100_000),
            (3, None),
        ]:
            assert b"".join(snapshots.stream(connection, plan, start, stop)) == whole[start:stop]
    found = load_safetensors(whole)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_tensor_nobody_refers_to_is_collected_and_others_are_not(ledger: Ledger) -> None:
    ledger.submit()
    (one,) = ledger.claim()
    kept = keep(ledger, one, 1, {"x": tensor(np.arange(9.0))})
    assert ledger.run(tensors.collect, older_seconds=0) == 0
    with ledger.engine.begin() as connection:
        connection.execute(text("DELETE FROM snapshots WHERE id = :id"), {"id": kept})
    assert ledger.run(tensors.collect) == 0, "it was touched a moment ago: a writer may be about to use it"
    assert ledger.run(tensors.collect, older_seconds=0) == 1
    assert ledger.all("SELECT 1 FROM tensor_chunks") == []


def test_the_newest_checkpoint_and_those_between_stages_are_kept(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    for step, within in [(10, 10), (20, 0), (30, 10), (40, 20)]:
        keep(ledger, one, step, {"x": tensor(np.array([float(step)]))}, state={"step": within, "stage": 1})
    ledger.run(snapshots.thin_checkpoints, job, 1)
    assert [row.step for row in ledger.all("SELECT step FROM checkpoints ORDER BY step")] == [20, 40]
    mark, newest = ledger.run(snapshots.newest_checkpoint, job)
    assert (mark, newest.step, newest.tensors["x"].numpy().tolist()) == (40, 40, [40.0])


def test_numbers_of_a_checkpoints_state_come_back_as_they_were(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    state = {
        "step": 1,
        "big": 1e22,
        "zero": -0.0,
        "small": 5e-324,
        "third": 1 / 3,
        "none": [float("nan"), float("-inf")],
    }
    keep(ledger, one, 1, {}, state=state)
    _, found = ledger.run(snapshots.newest_checkpoint, job)
    assert repr(found.state) == repr(state)


def test_a_snapshot_of_another_project_cannot_be_found(ledger: Ledger) -> None:
    ledger.submit()
    (one,) = ledger.claim()
    kept = keep(ledger, one, 1, {})
    with pytest.raises(NotFound):
        ledger.run(snapshots.get, ledger.new_project("other"), kept)
    with pytest.raises(NotFound):
        ledger.run(snapshots.checkpoint, ledger.project, kept)


def test_deleting_a_job_leaves_nothing_but_collectable_tensors(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    keep(ledger, one, 1, {"x": tensor(np.arange(3.0))}, state={"step": 1})
    ledger.end(one, "failed", error={"code": "diverged", "message": ""})
    ledger.run(jobs.delete, ledger.project, job)
    for table in ("snapshots", "checkpoints", "snapshot_tensors", "attempts", "audit", "events"):
        assert ledger.all(f"SELECT 1 FROM {table}") == [], table
    assert ledger.run(tensors.collect, older_seconds=0) == 1


def test_windows_of_a_download_end_where_chunks_do() -> None:
    chunk = tensors.CHUNK_BYTES
    plan = snapshots.Layout(b"head", ((1, 4, 4, 4 + 3 * chunk), (2, 4, 4 + 3 * chunk, 14 + 3 * chunk)), 14 + 3 * chunk)
    assert plan.edge(0, 100) == 4
    assert plan.edge(0, 2 * chunk) == 4 + chunk
    assert plan.edge(4 + chunk, 4 + 3 * chunk) == 4 + 3 * chunk
    # Where no chunk ends in between, the window stays as it is: a download always gets on.
    assert plan.edge(4 + chunk, 4 + chunk + 10) == 4 + chunk + 10
    assert plan.edge(4 + chunk, 14 + 3 * chunk) == 4 + 3 * chunk
    assert plan.edge(4 + 3 * chunk, 14 + 3 * chunk) == 14 + 3 * chunk
