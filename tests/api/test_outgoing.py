"""What is on its way out is bounded: large replies and downloads of slow readers, and what is too much to hold together."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from types import AsyncGeneratorType
from typing import Any

import httpx
import numpy as np
import pytest

from api import outgoing
from api.outgoing import LEAST_WINDOW_BYTES, WINDOW_BYTES, Outgoing
from api.problems import Problem
from api.routes import series as routes
from store import thinning
from tests.api.conftest import Running
from tests.api.works import Works


@contextmanager
def unread(running: Running, path: str) -> Iterator[socket.socket]:
    """A client that asks and does not read."""
    host, port = running.url.removeprefix("http://").split(":")
    with closing(socket.socket()) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(20)
        one.connect((host, int(port)))
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield one


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def page(api: httpx.Client, works: Works) -> str:
    """A path whose reply is larger than what sockets hold by themselves."""
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    one = works.claimed(job)
    for key in "abcdefghij":
        works.points(one, key, np.random.default_rng(0).normal(size=40_000), mark=ord(key))
    return f"/v1/jobs/{job}/metrics?max_points=1000000"


def test_large_replies_of_one_caller_leave_room_for_others() -> None:
    budget = Outgoing()
    half = outgoing.REPLIES_BYTES // 2
    with budget.reply("one", half - 1):
        with pytest.raises(Problem) as refused, budget.reply("one", 2):
            pass
        assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "5"})
        with budget.reply("two", half), pytest.raises(Problem), budget.reply("three", 2):
            pass
        with budget.reply("three", 2):
            pass
    assert budget.held.total() == 0
    with budget.reply("one", 2 * outgoing.REPLIES_BYTES):
        pass  # alone, anything may be sent


def test_windows_widen_as_they_are_taken_while_all_together_leave_room() -> None:
    budget = Outgoing()
    with budget.download() as first:
        widths = [first.widen() for _ in range(9)]
        assert widths[:3] == [LEAST_WINDOW_BYTES, 2 * LEAST_WINDOW_BYTES, 4 * LEAST_WINDOW_BYTES]
        assert widths[-1] == WINDOW_BYTES
    assert budget.window_bytes == 0
    with ExitStack() as stack:
        many = [stack.enter_context(budget.download()) for _ in range(outgoing.DOWNLOADS)]
        for _ in range(9):
            for one in many:
                one.widen()
        least = 2 * outgoing.DOWNLOADS * LEAST_WINDOW_BYTES
        assert budget.window_bytes <= outgoing.WINDOWS_BYTES + least
        with pytest.raises(Problem):
            budget.admit_download()
    assert (budget.window_bytes, budget.downloads) == (0, 0)


def test_a_reply_that_is_not_read_is_cut_off_and_frees_its_room(
    running: Running, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(outgoing, "SLOWEST_BYTES_PER_SECOND", 1 << 40)
    with unread(running, page):
        until(lambda: running.lab.outgoing.held.total() > 0)
        until(lambda: running.lab.outgoing.held.total() == 0)


def test_while_much_is_unread_more_is_refused_and_small_replies_are_not(
    running: Running, api: httpx.Client, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "REPLIES_BYTES", 1 << 20)
    with unread(running, page):
        until(lambda: running.lab.outgoing.held.total() > 0)
        refused = api.get(page)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.headers["content-type"] == "application/problem+json"
        assert api.get("/v1/jobs").status_code == 200
    until(lambda: running.lab.outgoing.held.total() == 0)
    assert api.get(page).status_code == 200


def test_downloads_beyond_their_number_are_refused_before_they_begin(
    running: Running, api: httpx.Client, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    id_ = works.snapshot(works.claimed(job), w=np.zeros(10, np.float32))
    monkeypatch.setattr(running.lab.outgoing, "downloads", outgoing.DOWNLOADS)
    refused = api.get(f"/v1/snapshots/{id_}/download")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    monkeypatch.setattr(running.lab.outgoing, "downloads", 0)
    assert api.get(f"/v1/snapshots/{id_}/download").status_code == 200
    assert running.lab.outgoing.downloads == 0


def test_a_download_that_is_broken_off_holds_nothing_even_before_garbage_is_collected(
    running: Running, api: httpx.Client, works: Works
) -> None:
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    noise = np.frombuffer(np.random.default_rng(0).bytes(24 << 20), np.uint8)
    id_ = works.snapshot(works.claimed(job), w=noise)
    gc.collect()
    gc.disable()
    try:
        with unread(running, f"/v1/snapshots/{id_}/download") as one:
            one.recv(4096)
            assert len(sources()) == 1
        until(lambda: running.lab.outgoing.downloads == 0)
        until(lambda: not sources())
    finally:
        gc.enable()


def sources() -> list[object]:
    """What feeds downloads in this process, living or left behind."""
    # Not isinstance: it asks objects of other libraries for their class, which some answer with a warning.
    kept = (one for one in gc.get_objects() if type(one) is AsyncGeneratorType)
    return [one for one in kept if one.__qualname__ == "_windows"]


def test_series_told_in_groups_are_the_same_as_at_once(
    api: httpx.Client, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> Any:
        reply = api.get(page.partition("?")[0], params={"max_points": 1000, "keys": "a,b,c,d"})
        return reply.json(), "content-length" in reply.headers

    once, whole = read()
    monkeypatch.setattr(thinning, "TOGETHER_POINTS", 4000)
    grouped, at_once = read()
    assert (whole, at_once) == (True, False)
    assert grouped == once
    monkeypatch.setattr(routes, "LIGHT_POINTS", 1)
    assert api.get(page.partition("?")[0], params={"keys": "nothing"}).json() == {"series": []}
