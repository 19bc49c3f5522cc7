"""Events exactly once and in order: pages, streams of a job, of a study with its members, of a project."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api import hub, sse, streams
from api.settings import Settings
from bfc_core import specs
from tests.api.conftest import Running, config_of, serve
from tests.api.works import Works
from tests.ledger import Member

BODY = {"kind": "train", "spec": {}}
STREAM = {"Accept": "text/event-stream"}


class Stream:
    """A client of a stream, read in a thread."""

    def __init__(self, url: str, path: str, last: str | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = threading.Event()
        self.status = 0
        self._socket: socket.socket | None = None
        headers = STREAM | ({"Last-Event-ID": last} if last else {})
        self._client = httpx.Client(base_url=url, headers=headers, timeout=30)
        self._thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self._thread.start()

    def _read(self, path: str) -> None:
        try:
            with self._client.stream("GET", path) as reply:
                self.status = reply.status_code
                self._socket = reply.extensions["network_stream"].get_extra_info("socket")
                for line in reply.iter_lines():
                    if line.startswith("data: "):
                        self.events.append(json.loads(line[6:]))
        except (httpx.HTTPError, httpx.StreamError, RuntimeError, OSError):
            pass
        self.ended.set()

    def wait(self, count: int, seconds: float = 20) -> list[dict[str, Any]]:
        until = time.monotonic() + seconds
        while len(self.events) < count and time.monotonic() < until:
            time.sleep(0.02)
        return list(self.events)

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]

    def close(self) -> None:
        """Hang up, as a browser does whose tab is closed."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self.ended.wait(5)
        self._client.close()


@contextmanager
def stream(url: str, path: str, last: str | None = None) -> Iterator[Stream]:
    one = Stream(url, path, last)
    try:
        yield one
    finally:
        one.close()


def submit(api: httpx.Client) -> str:
    return str(api.post("/v1/jobs", json=BODY).json()["id"])


def test_pages_are_in_order_and_go_on_behind_an_id(api: httpx.Client, works: Works) -> None:
    job = submit(api)
    for done in range(5):
        works.tell(job, "progress", {"done": done})
    first = api.get(f"/v1/jobs/{job}/events", params={"limit": 4}).json()
    assert [event["id"] for event in first["items"]] == ["1", "2", "3", "4"]
    assert [event["type"] for event in first["items"]] == ["state"] + ["progress"] * 3
    rest = api.get(f"/v1/jobs/{job}/events", params={"cursor": first["next"]}).json()
    assert [event["data"].get("done") for event in rest["items"]] == [3, 4]
    assert rest["next"] is None
    assert api.get(f"/v1/jobs/{job}/events", params={"after": "6"}).json()["items"] == []


def test_only_who_asks_for_a_stream_gets_one(api: httpx.Client) -> None:
    job = submit(api)
    for accept in ("*/*", "application/json", "text/*", ""):
        reply = api.get(f"/v1/jobs/{job}/events", headers={"Accept": accept})
        if accept == "text/*":
            assert reply.status_code == 406
        else:
            assert reply.headers["content-type"] == "application/json"


def test_a_stream_tells_what_was_and_what_comes_and_ends_with_the_job(
    running: Running, api: httpx.Client, works: Works
) -> None:
    job = submit(api)
    with stream(running.url, f"/v1/jobs/{job}/events") as one:
        assert [event["data"]["state"] for event in one.wait(1)] == ["queued"]
        works.tell(job, "log", {"message": "line\nbreak  and ü"})
        works.succeed(job)
        assert one.ended.wait(20)
    assert one.ids == [str(n + 1) for n in range(len(one.ids))]
    assert one.events[1]["data"] == {"message": "line\nbreak  and ü"}
    assert one.events[-1]["data"]["state"] == "succeeded"
    assert one.events == api.get(f"/v1/jobs/{job}/events", params={"limit": 500}).json()["items"]


def test_last_event_id_resumes_without_loss_or_repeat_across_a_restart_of_the_server(
    session_engine: Engine, running: Running, broker_url: str, api: httpx.Client, works: Works, tmp_path: Any
) -> None:
    job = submit(api)
    with stream(running.url, f"/v1/jobs/{job}/events") as one:
        works.tell(job, "progress", {"done": 1})
        one.wait(2)
    works.tell(job, "progress", {"done": 2})
    with closing(serve(config_of(session_engine, broker_url, tmp_path), Settings())) as other:  # type: ignore[type-var]
        url = next(other).url  # type: ignore[call-overload]
        with stream(url, f"/v1/jobs/{job}/events", one.ids[-1]) as two:
            works.tell(job, "progress", {"done": 3})
            two.wait(2)
    assert one.ids + two.ids == ["1", "2", "3", "4"]
    assert [event["data"]["done"] for event in two.events] == [2, 3]


def test_a_finished_jobs_stream_ends_even_when_nothing_is_left_to_tell(
    running: Running, api: httpx.Client, works: Works
) -> None:
    job = submit(api)
    works.succeed(job)
    last = api.get(f"/v1/jobs/{job}/events").json()["items"][-1]["id"]
    with stream(running.url, f"/v1/jobs/{job}/events", last) as one:
        assert one.ended.wait(10)
    assert (one.status, one.events) == (200, [])


def test_a_studys_stream_has_its_members_and_a_projects_has_all(
    running: Running, api: httpx.Client, works: Works
) -> None:
    study = works.study(*(Member(f"m{i}", specs.TrainSpec()) for i in range(3)))
    other = submit(api)
    members = works.member_ids(study)
    with stream(running.url, f"/v1/jobs/{study}/events") as one, stream(running.url, "/v1/events") as all_:
        for id_ in members.values():
            works.tell(id_, "progress", {"done": 1})
        works.tell(other, "progress", {"done": 1})
        one.wait(7)
        all_.wait(9)
        time.sleep(0.3)
    assert {event["job"] for event in one.events} == {study, *members.values()}
    assert {event["job"] for event in all_.events} == {study, other, *members.values()}
    for told in (one, all_):
        assert len(set(told.ids)) == len(told.ids)
        places = [sse.place_of(id_, 2) for id_ in told.ids]
        assert places == sorted(places)  # type: ignore[type-var]
    with stream(running.url, "/v1/events", all_.ids[3]) as rest:
        assert [event["id"] for event in rest.wait(len(all_.ids) - 4)] == all_.ids[4:]
    own = api.get(f"/v1/jobs/{study}/events", params={"members": "false"}).json()["items"]
    assert {event["job"] for event in own} == {study}
    paged = api.get(f"/v1/jobs/{study}/events", params={"limit": 500}).json()["items"]
    assert [event["id"] for event in paged] == one.ids


def test_no_event_is_lost_or_doubled_while_writers_overlap(
    running: Running, api: httpx.Client, works: Works
) -> None:
    """Transactions commit in another order than they began; readers come and go meanwhile."""
    jobs = [submit(api) for _ in range(3)]
    streams: list[Stream] = []

    def write(job: str, count: int) -> None:
        for done in range(count):
            works.tell(job, "progress", {"done": done})

    writers = [threading.Thread(target=write, args=(job, 40)) for job in jobs]
    for writer in writers:
        writer.start()
    for _ in range(4):
        streams.append(Stream(running.url, "/v1/events"))
        time.sleep(0.05)
    for writer in writers:
        writer.join()
    for one in streams:
        one.wait(123)
        one.close()
    truth = [event["id"] for event in api.get("/v1/events", params={"limit": 500}).json()["items"]]
    assert len(truth) == 123
    for one in streams:
        assert one.ids == truth


def test_a_slow_client_is_cut_off_and_the_others_are_not(
    running: Running, api: httpx.Client, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "QUEUE_BYTES", 700_000)
    job = submit(api)
    host, port = running.url.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port))) as slow,
        stream(running.url, f"/v1/jobs/{job}/events") as quick,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(
            f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        quick.wait(1)
        while running.lab.hub.streams < 2:
            time.sleep(0.02)
        sent = 0
        until = time.monotonic() + 60
        while running.lab.hub.streams > 1 and time.monotonic() < until:
            works.tell(job, "log", {"message": "x" * 300_000})
            sent += 1
            quick.wait(sent + 1)
        assert running.lab.hub.streams == 1
        assert len(quick.wait(sent + 1)) == sent + 1


def test_a_client_that_does_not_read_a_long_history_is_cut_off_and_a_reader_gets_all_of_it(
    running: Running, api: httpx.Client, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALL_SECONDS", 0.5)
    job = submit(api)
    for i in range(24):
        works.tell(job, "log", {"message": f"{i:02}" * 150_000})
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        path = f"/v1/jobs/{job}/events"
        stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        with stream(running.url, path) as reader:
            assert [event["id"] for event in reader.wait(25)] == [str(i) for i in range(1, 26)]
            until = time.monotonic() + 20
            while running.lab.hub.streams > 1 and time.monotonic() < until:
                time.sleep(0.02)
            assert running.lab.hub.streams == 1


def test_more_streams_than_allowed_are_refused_clearly(
    running: Running, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(api)
    monkeypatch.setattr(running.lab.hub, "max_streams", 1)
    with stream(running.url, f"/v1/jobs/{job}/events") as one:
        one.wait(1)
        refused = api.get(f"/v1/jobs/{job}/events", headers=STREAM)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.headers["content-type"] == "application/problem+json"
    until = time.monotonic() + 10
    while running.lab.hub.streams and time.monotonic() < until:
        time.sleep(0.02)
    assert (running.lab.hub.streams, running.lab.hub.topics) == (0, {})


def test_an_idle_stream_beats(running: Running, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BEAT_SECONDS", 0.1)
    job = submit(api)
    with httpx.stream("GET", f"{running.url}/v1/jobs/{job}/events", headers=STREAM, timeout=10) as reply:
        lines = iter(reply.iter_lines())
        assert next(line for line in lines if line.startswith(":")) == ": beat"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("id_", ["x", "-1", "1-2-3", "9" * 30])
def test_an_id_of_another_kind_is_refused(api: httpx.Client, id_: str) -> None:
    job = submit(api)
    assert api.get(f"/v1/jobs/{job}/events", params={"after": id_}).status_code == 422
    assert api.get(f"/v1/jobs/{job}/events", params={"after": "1-2"}).status_code == 422
    assert api.get("/v1/events", params={"after": "7"}).status_code == 422
