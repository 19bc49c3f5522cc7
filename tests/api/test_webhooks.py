"""Webhooks: signed, tried again, told in a log, never to a private address, never through a redirect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import httpx
import pytest

from api import postman
from tests.api.works import Works


class Receiver(ThreadingHTTPServer):
    """A server that keeps what it gets and answers as told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait(self, count: int) -> list[dict[str, Any]]:
        until = time.monotonic() + 15
        while len(self.got) < count and time.monotonic() < until:
            time.sleep(0.02)
        return [json.loads(body) for _, body in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", self.server.url + "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Answers 200 unless told otherwise; the postman does not idle."""
    monkeypatch.setattr(postman, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(postman, "TICK_SECONDS", 0.05)
    monkeypatch.setattr("store.webhooks.PAUSES_SECONDS", (0.1, 0.1))
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def subscribe(api: httpx.Client, receiver: Receiver, *events: str) -> dict[str, Any]:
    body = {"url": receiver.url} | ({"events": list(events)} if events else {})
    reply = api.post("/v1/webhooks", json=body)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def submit(api: httpx.Client) -> str:
    return str(api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"])


def deliveries(api: httpx.Client, hook: str, *states: str) -> list[dict[str, Any]]:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        items = api.get(f"/v1/webhooks/{hook}/deliveries").json()["items"]
        if sorted(item["state"] for item in items) == sorted(states):
            return list(items)
        time.sleep(0.05)
    raise AssertionError(items)


def test_events_are_delivered_once_and_signed(api: httpx.Client, works: Works, receiver: Receiver) -> None:
    submit(api)
    hook = subscribe(api, receiver, "job.succeeded")
    job = submit(api)
    works.succeed(api.get("/v1/jobs").json()["items"][-1]["id"])
    works.succeed(job)
    told = receiver.wait(2)
    assert {event["job"] for event in told} >= {job}
    assert {event["data"]["state"] for event in told} == {"succeeded"}
    headers, body = receiver.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(hook["secret"].removeprefix("whsec_"))
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert "secret" not in api.get(f"/v1/webhooks/{hook['id']}").json()
    time.sleep(0.3)
    assert len(receiver.got) == 2


def test_a_refused_delivery_is_tried_again_and_its_log_tells(api: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [500, 503]
    hook = subscribe(api, receiver)
    submit(api)
    (one,) = deliveries(api, hook["id"], "delivered")
    assert (one["attempt"], one["status"], one["error"]) == (3, 200, None)
    assert [line["status"] for line in one["log"]] == [500, 503, 200]
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_redirects_are_not_followed_and_in_the_end_it_has_failed(
    api: httpx.Client, receiver: Receiver
) -> None:
    receiver.answers = [302] * 9
    hook = subscribe(api, receiver)
    submit(api)
    (one,) = deliveries(api, hook["id"], "failed")
    assert "redirect" in one["error"]
    assert len(receiver.got) == 3


def test_a_test_and_a_redelivery_are_deliveries_of_their_own(api: httpx.Client, receiver: Receiver) -> None:
    hook = subscribe(api, receiver)["id"]
    test = api.post(f"/v1/webhooks/{hook}/test")
    assert test.status_code == 202
    assert receiver.wait(1)[0]["type"] == "test"
    again = api.post(f"/v1/webhooks/{hook}/deliveries/{test.json()['id']}/redeliver")
    assert again.status_code == 202
    first, second = receiver.wait(2)
    assert first == second
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 2
    assert api.post(f"/v1/webhooks/{hook}/deliveries/dlv_x/redeliver").status_code == 404
    assert api.delete(f"/v1/webhooks/{hook}").status_code == 204
    assert api.get(f"/v1/webhooks/{hook}/deliveries").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "https://", "https://user:pw@example.org/", "https://127.0.0.1/",
        "https://[::1]/", "https://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "https://localhost/",
        "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://100.64.0.1/", "https://0.0.0.0/",
        "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/", "https://localhost./",
        "https://127.0.0.1./", "https://[::127.0.0.1]/", "https://[::ffff:0:127.0.0.1]/", "https://[2002:7f00:1::]/",
        "https://exa mple.org/", "https://db.internal/", "javascript:alert(1)", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_urls_that_lead_inside_are_refused(url: str) -> None:
    assert postman.refusal_of(url, allow_private=False) is not None


def test_a_public_url_is_taken() -> None:
    assert postman.refusal_of("https://hooks.example.org:8443/a?b=c", allow_private=False) is None
    assert postman.refusal_of("https://93.184.216.34/", allow_private=False) is None


def test_addresses_are_checked_when_it_connects_not_only_when_it_is_made() -> None:
    import anyio

    async def connect() -> None:
        backend = postman.CheckedBackend(allow_private=False)
        with pytest.raises(postman.Forbidden, match="not a public address"):
            await backend.connect_tcp("localhost", 80)

    anyio.run(connect)
    with pytest.raises(postman.Forbidden):
        postman._check([ip_address("93.184.216.34"), ip_address("10.0.0.1")], False)


def test_bad_subscriptions_are_pointed_at(api: httpx.Client) -> None:
    reply = api.post("/v1/webhooks", json={"url": "nonsense", "events": ["job.succeded"]})
    assert {error["pointer"] for error in reply.json()["errors"]} == {"/url", "/events/0"}
    (fault,) = api.post("/v1/webhooks", json={"url": "https://a.example", "events": []}).json()["errors"]
    assert fault == {"pointer": "/events", "detail": "got 0 entries; accepted: at least 1"}
    assert "job.succeeded" in reply.text
