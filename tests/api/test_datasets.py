"""Uploads: streamed, checked whole, stored once a project, never trusted."""

from __future__ import annotations

import io
import socket
import time
import zipfile
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import pytest

from api import uploads
from tests.api.conftest import Running
from tests.api.works import Works

RAW = {"Content-Type": "application/octet-stream"}


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def good(seed: int = 0) -> bytes:
    draws = np.random.default_rng(seed)
    return npz(x=draws.normal(size=(40, 3)).astype(np.float32), y=(np.arange(40) % 2).astype(np.int64))


def upload(client: httpx.Client, content: Any, **params: Any) -> httpx.Response:
    return client.post("/v1/datasets", content=content, params=params, headers=RAW)


def test_an_upload_is_checked_stored_and_shown(api: httpx.Client, running: Any) -> None:
    reply = upload(api, good(), name="points", format="npz")
    assert reply.status_code == 201, reply.text
    made = reply.json()
    assert reply.headers["location"] == f"/v1/datasets/{made['id']}"
    assert (made["name"], made["format"]) == ("points", "npz")
    assert made["meta"]["samples"] == 40
    assert {tensor["name"] for tensor in made["tensors"]} == {"inputs", "labels"}
    assert api.get(f"/v1/datasets/{made['id']}").json() == made
    assert api.get("/v1/datasets").json()["items"] == [made]
    assert list((running.lab.config.data / "uploads").iterdir()) == []


def test_uploads_that_do_not_come_leave_room_for_others(
    api: httpx.Client, running: Running, caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "OF_ONE", 3)
    monkeypatch.setattr(uploads, "AT_ONCE", 4)
    host, port = running.url.removeprefix("http://").split(":")
    head = f"POST /v1/datasets HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection((host, int(port)))).sendall(head + b"slow")
        deadline = time.monotonic() + 20
        while running.lab.uploads.total() < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        refused = upload(api, good())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert upload(caller("other", "submit").client, good()).status_code == 201
    while running.lab.uploads:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert upload(api, good()).status_code == 201


def test_a_name_of_thousands_of_letters_is_told_in_characters(api: httpx.Client) -> None:
    (fault,) = upload(api, good(), name="a" * 5000).json()["errors"]
    assert fault["detail"] == "got 5,000 characters; accepted: at most 200"


def test_an_upload_leaves_the_disk_some_room(api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SPARE_DISK_BYTES", 1 << 62)
    refused = upload(api, good())
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:bfc-lab:problem:uploads")
    assert list((running.lab.config.data / "uploads").iterdir()) == []


def test_equal_content_is_one_data_set_a_project_and_no_other_project_can_tell(
    api: httpx.Client, caller: Any
) -> None:
    first = upload(api, good(), name="a").json()
    again = upload(api, good(), name="b")
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    other = caller("other", "submit").client
    theirs = upload(other, good())
    assert theirs.status_code == 201
    assert theirs.json()["id"] != first["id"]
    assert other.get("/v1/usage").json()["dataset_bytes"] == first["bytes"]
    assert other.get(f"/v1/datasets/{first['id']}").status_code == 404


def test_a_repeated_upload_is_answered_from_the_first(api: httpx.Client) -> None:
    headers = RAW | {"Idempotency-Key": "up"}
    first = api.post("/v1/datasets", content=good(), headers=headers)
    again = api.post("/v1/datasets", content=good(), headers=headers)
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (
        201,
        first.content,
        "true",
    )
    assert api.post("/v1/datasets", content=good(1), headers=headers).status_code == 409


def _escaping() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../evil/a.png", b"x")
    return file.getvalue()


def _bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(200 << 20))
    return file.getvalue()


HOSTILE = {
    "objects": npz(x=np.array([{"a": 1}], dtype=object), y=np.zeros(1, np.int64)),
    "truncated": good()[:-40],
    "escaping path": _escaping(),
    "bomb": _bomb(),
    "noise": b"\x00\x01" * 500,
    "wrong record size": b"\x01" * (3073 * 2 + 5),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_wrong_is_said_and_nothing_is_stored(api: httpx.Client, works: Works, content: bytes) -> None:
    reply = upload(api, content)
    assert reply.status_code == 422, reply.text
    assert reply.json()["detail"]
    assert api.get("/v1/datasets").json()["items"] == []
    assert works.all("SELECT 1 FROM tensors") == []


def test_an_upload_is_bounded_streamed_and_the_body_itself(api: httpx.Client) -> None:
    def pieces() -> Any:
        for _ in range(200):
            yield bytes(1 << 16)

    assert upload(api, pieces()).status_code == 413
    assert api.post("/v1/datasets", files={"file": good()}).status_code == 415
    assert upload(api, b"").status_code == 422
    assert upload(api, good(), format="pickle").status_code == 422


def test_a_quota_holds_and_is_told(api: httpx.Client) -> None:
    project = upload(api, good()).json() and api.get("/v1/usage").json()["project"]
    api.patch(f"/v1/projects/{project}/quotas", json={"dataset_bytes": 1000})
    over = upload(api, good(1))
    assert over.status_code == 429
    assert over.headers["retry-after"]
    assert upload(api, good()).status_code == 200, "what is there already takes no more room"


def test_a_data_set_in_use_stays(api: httpx.Client) -> None:
    made = upload(api, good()).json()["id"]
    data = {"kind": "arrays", "dataset": made}
    job = api.post("/v1/jobs", json={"kind": "baseline", "spec": {"data": data}})
    if job.status_code == 422:  # the baselines may not take arrays; a train job does
        job = api.post(
            "/v1/jobs", json={"kind": "train", "spec": {"data": data, "model": {"kind": "mlp"}, "probes": []}}
        )
    assert job.status_code == 201, job.text
    assert api.delete(f"/v1/datasets/{made}").status_code == 409
    api.post(f"/v1/jobs/{job.json()['id']}/cancel")
    assert api.delete(f"/v1/datasets/{made}").status_code == 204
    assert api.get(f"/v1/datasets/{made}").status_code == 404


@pytest.mark.parametrize(
    ("spec", "pointer", "says"),
    [
        ({"data": {"kind": "cifar10"}}, "/spec/data/dataset", "cifar10 has 10 of 32×32×3"),
        ({"data": {"kind": "images"}}, "/spec/data/dataset", "no labelled pictures"),
        ({"data": {"kind": "arrays", "samples": 9999}}, "/spec/data/samples", "9999 samples asked for"),
        ({"data": {"kind": "arrays", "test_samples": 9999}}, "/spec/data/test_samples", "9999 test samples"),
        ({"data": {"kind": "arrays"}, "model": {"kind": "vgg"}}, "/spec/model/kind", "accepted: mlp"),
    ],
)
def test_a_spec_that_does_not_fit_its_data_set_is_refused_before_it_is_queued(
    api: httpx.Client, spec: dict[str, Any], pointer: str, says: str
) -> None:
    made = upload(api, good()).json()["id"]
    spec["data"]["dataset"] = made
    reply = api.post("/v1/jobs", json={"kind": "train", "spec": spec})
    assert reply.status_code == 422, reply.text
    assert reply.json()["errors"][0]["pointer"] == pointer
    assert says in reply.json()["errors"][0]["detail"]
    study = {"kind": "study", "spec": {"kind": "correction", "base": spec}}
    assert api.post("/v1/jobs", json=study).json()["errors"][0]["pointer"] == pointer.replace("/spec", "/spec/base")
