"""What one connection may cost: endless heads, silence, pipelines and lies are refused; HEAD and OPTIONS are answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api import connections
from tests.api.conftest import Running

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


def said(running: Running, opening: bytes, more: bytes = b"", times: int = 0) -> bytes:
    """What comes back for these bytes; the server may hang up before it has them all."""
    host, port = running.url.removeprefix("http://").split(":")
    reply = b""
    with socket.create_connection((host, int(port)), timeout=20) as one:
        try:
            one.sendall(opening)
            for _ in range(times):
                one.sendall(more)
        except OSError:
            pass
        try:
            while piece := one.recv(65536):
                reply += piece
        except OSError:
            pass
    return reply


FLOODS: dict[str, tuple[bytes, bytes, int, int]] = {
    "one header": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + b"X-Long: ", b"a" * 65536, 64, 431),
    "many headers": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST, b"X-A: b\r\n" * 4000, 64, 431),
    "many headers in one packet": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 200 + b"\r\n", b"", 0, 431),
    "the path": (b"GET /", b"a" * 65536, 64, 431),
    "blank lines": (b"", b"\r\n" * 30_000, 8, 431),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X-A: b\r\n" * 4000, 64, 431),
    "a chunk's extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n2;", b"a" * 65536, 64, 431),
    "requests ahead": (b"", (b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") * 3000, 1, 400),
}  # fmt: skip


@pytest.mark.parametrize(("opening", "more", "times", "status"), FLOODS.values(), ids=FLOODS)
def test_what_has_no_end_is_refused(
    running: Running, opening: bytes, more: bytes, times: int, status: int
) -> None:
    reply = said(running, opening, more, times)
    # Where the client was still sending, the system may drop what was said before it was read.
    if reply:
        assert b" %d " % status in reply.partition(b"\r\n")[0] or status == 400
        assert b"application/problem+json" in reply
    assert httpx.get(f"{running.url}/healthz").status_code == 200


MALFORMED = {
    "no such method": b"BREW /v1/jobs HTTP/1.1\r\n" + HOST + b"\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a chunk of no size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two hosts": b"GET /v1/jobs HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_http_is_a_problem_as_any_other(running: Running, sent: bytes) -> None:
    head, _, body = said(running, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    assert b'"status": 400' in body


def test_a_head_that_does_not_come_is_waited_for_so_long(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    assert said(running, b"GET /v1/jo").startswith(b"HTTP/1.1 408 ")
    assert said(running, b"") == b""


def test_a_body_that_goes_on_dripping_behind_its_refusal_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as one:
        one.sendall(b"PUT /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
        _until(lambda: _broken(one))


def test_more_connections_than_are_served_are_told_so(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections.Guarded, "most", 0)
    reply = said(running, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5" in reply


def test_head_is_get_without_its_body(api: httpx.Client) -> None:
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    for path in ("/", "/healthz", "/openapi.json", "/v1/jobs", f"/v1/jobs/{job}", "/v1/jobs/none"):
        whole, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        for name in ("content-type", "content-length", "etag"):
            assert head.headers.get(name) == whole.headers.get(name), (path, name)


def test_head_of_a_stream_ends(api: httpx.Client, running: Running) -> None:
    reply = api.head("/v1/events", headers={"Accept": "text/event-stream"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    _until(lambda: running.lab.hub.streams == 0)


def test_options_names_the_methods_and_allows_no_other_origin(api: httpx.Client) -> None:
    asked: dict[str, Any] = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    reply = api.options("/v1/jobs", headers=asked)
    assert (reply.status_code, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not any(name.startswith("access-control") for name in reply.headers)
    assert api.options("/v1/nowhere").status_code == 404


def _broken(one: socket.socket) -> bool:
    try:
        one.sendall(b"x")
    except OSError:
        return True
    return False


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    assert true()
