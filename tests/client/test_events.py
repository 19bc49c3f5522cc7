"""Events through broken connections and restarted servers."""

import threading
import time

import pytest

from bfc_client import BadReply, Client, Unreachable
from bfc_client.events import EventStream
from tests.client.paper_lab import PaperLab, Served

TRAIN = {"kind": "train", "spec": {}}


def test_lines_become_events_with_their_ids() -> None:
    stream = EventStream()
    lines = ["id: 7", "event: metric", 'data: {"data": {"key": "train_loss",', 'data: "value": 0.5}}', ""]
    found = [event for line in lines if (event := stream.feed(line))]
    assert [(event.id, event.type, event.data["value"]) for event in found] == [("7", "metric", 0.5)]
    assert stream.headers()["Last-Event-ID"] == "7"


def test_a_comment_is_no_event() -> None:
    stream = EventStream()
    assert [stream.feed(line) for line in (": still here", "")] == [None, None]
    assert stream.last_id is None


def test_an_event_cut_in_half_is_forgotten_and_its_id_is_not_taken() -> None:
    stream = EventStream(last_id="6")
    for line in ("id: 7", 'data: {"da'):
        stream.feed(line)
    assert stream.broken()
    assert stream.feed("") is None
    assert stream.headers()["Last-Event-ID"] == "6"


def test_the_pause_that_the_server_asks_for_is_kept() -> None:
    stream = EventStream()
    stream.feed("retry: 1500")
    assert stream.retry_seconds == 1.5


def test_data_that_is_no_json_is_refused() -> None:
    stream = EventStream()
    stream.feed("data: nonsense")
    with pytest.raises(BadReply):
        stream.feed("")


def test_a_cut_connection_loses_and_repeats_nothing(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)["id"]
    for step in range(20):
        lab.tell(job, "metric", {"step": step})
    lab.move(job, "succeeded")
    lab.cut_stream_after = 7
    with Client(at.url) as client:
        ids = [int(event.id) for event in client.events(job)]
    assert ids == list(range(1, 23))


def test_a_restarted_server_goes_on_where_it_was(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)["id"]
    seen: list[int] = []

    def read() -> None:
        with Client(at.url) as client:
            seen.extend(int(event.id) for event in client.events(job))

    reader = threading.Thread(target=read)
    reader.start()
    _until(lambda: len(lab.seen) > 0)
    at.stop()
    lab.tell(job, "metric", {"step": 1})
    at.start()
    lab.move(job, "succeeded")
    reader.join(timeout=20)
    assert seen == [1, 2, 3]


def test_waiting_outlives_a_restart(lab: PaperLab, at: Served) -> None:
    job = lab.add(TRAIN)["id"]
    ended: list[str] = []
    with Client(at.url) as client:
        waiter = threading.Thread(target=lambda: ended.append(client.wait(job).state))
        waiter.start()
        _until(lambda: len(lab.seen) > 0)
        at.stop()
        lab.move(job, "succeeded")
        at.start()
        waiter.join(timeout=20)
    assert ended == ["succeeded"]


def test_patience_with_a_server_that_stays_away_ends() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable):
        next(client.events("job_x", patience_seconds=0.3))


def _until(holds: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
