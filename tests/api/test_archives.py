"""Export and import: the same hashes, fresh ids, and nothing is believed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import Engine, text

from bfc_core import specs
from store import conclusions, endings
from tests.api.works import RESULT, Works
from tests.ledger import Member

RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def study(api: httpx.Client, works: Works) -> str:
    """A concluded study of two members with series and a shared tensor."""
    members = (Member(f"m{i}", specs.TrainSpec(seed=i)) for i in range(2))
    sweep = {"kind": "sweep", "spec": {"base": {}, "grid": {"seed": [0, 1]}}}
    id_ = works.study(*members, name="exported", labels={"a": "b"}, **sweep)
    for _ in range(2):
        (one,) = works.claim()
        works.points(one, "loss", [1.0, np.nan, 0.1 + 0.2])
        works.snapshot(one, "weights", w=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.array(1.0))
        works.snapshot(one, "checkpoint", w=np.zeros(3))
        works.end(one, "succeeded", result=RESULT)
    _conclude(works, id_)
    return id_


def _conclude(works: Works, study: str) -> None:
    taken = works.run(conclusions.claim, works.worker().worker_id, 15.0)
    works.run(endings.end, [endings.Ending(study, taken.epoch, "succeeded", result=RESULT)])


def archive(api: httpx.Client, job: str) -> bytes:
    reply = api.get(f"/v1/jobs/{job}/export")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-tar"
    return reply.content


def entries(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as file:
        return {entry.name: file.extractfile(entry).read() for entry in file}  # type: ignore[union-attr]


def resealed(files: dict[str, bytes]) -> bytes:
    """A forgery that also has the right checksums: what it says must not be believed either."""
    sums = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if not name.startswith("tensors/") and name != "checksums.json"
    }
    return packed(files | {"checksums.json": json.dumps(sums).encode()})


def packed(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def test_an_archive_holds_all_of_a_study(api: httpx.Client, study: str) -> None:
    files = entries(archive(api, study))
    manifest = json.loads(files["manifest.json"])
    assert manifest["jobs"][0]["id"] == study == manifest["root"]
    assert len(manifest["jobs"]) == 3
    assert "tables/runs.csv" in files
    assert any(name.startswith("figures/") for name in files)
    assert len([name for name in files if name.startswith("tensors/")]) == 2, "equal tensors are there once"
    assert archive(api, study) == archive(api, study)


def test_an_import_keeps_hashes_makes_fresh_ids_and_says_where_it_came_from(
    api: httpx.Client, study: str, caller: Any
) -> None:
    other = caller("elsewhere", "admin").client
    reply = other.post("/v1/imports", content=archive(api, study), headers=RAW)
    assert reply.status_code == 201, reply.text
    there, here = reply.json(), api.get(f"/v1/jobs/{study}").json()
    assert there["id"] != study
    assert there["origin_id"] == study
    for same in ("kind", "name", "labels", "spec", "spec_hash", "state", "result", "finished_at"):
        assert there[same] == here[same], same
    mine = api.get(f"/v1/jobs/{study}/children").json()["items"]
    theirs = other.get(f"/v1/jobs/{there['id']}/children").json()["items"]
    assert [one["origin_id"] for one in theirs] == [one["id"] for one in mine]
    assert [one["member_key"] for one in theirs] == [one["member_key"] for one in mine]
    for a, b in zip(mine, theirs, strict=True):
        assert (
            api.get(f"/v1/jobs/{a['id']}/results").json() == other.get(f"/v1/jobs/{b['id']}/results").json()
        )
        assert _series(api, a["id"]) == _series(other, b["id"])
        assert _hashes(api, a["id"], "weights") == _hashes(other, b["id"], "weights")
        assert other.get(f"/v1/jobs/{b['id']}/snapshots", params={"kind": "checkpoint"}).json()["items"] == []
    again = entries(archive(other, there["id"]))
    first = entries(archive(api, study))
    assert [name for name in again if name.startswith("tensors/")] == [
        name for name in first if name.startswith("tensors/")
    ]


def _series(client: httpx.Client, job: str) -> Any:
    return [
        (one["key"], one["steps"], one["values"])
        for one in client.get(f"/v1/jobs/{job}/metrics").json()["series"]
    ]


def _hashes(client: httpx.Client, job: str, kind: str) -> Any:
    items = client.get(f"/v1/jobs/{job}/snapshots", params={"kind": kind}).json()["items"]
    return [(one["step"], one["hash"], [tensor["hash"] for tensor in one["tensors"]]) for one in items]


def test_an_import_sent_twice_is_made_once(api: httpx.Client, study: str) -> None:
    content, headers = archive(api, study), RAW | {"Idempotency-Key": "imp"}
    first = api.post("/v1/imports", content=content, headers=headers)
    again = api.post("/v1/imports", content=content, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


def _changed(files: dict[str, bytes], change: Any) -> dict[str, bytes]:
    manifest = json.loads(files["manifest.json"])
    change(manifest)
    return files | {"manifest.json": json.dumps(manifest).encode()}


def _spec(manifest: Any) -> None:
    manifest["jobs"][1]["job"]["spec"]["seed"] = 99


def _state(manifest: Any) -> None:
    manifest["jobs"][1]["job"]["state"] = "running"


def _version(manifest: Any) -> None:
    manifest["version"] = 2


def _gone(manifest: Any) -> None:
    del manifest["jobs"][1]["job"]["kind"]


def test_a_tampered_archive_is_refused_and_leaves_nothing(api: httpx.Client, study: str) -> None:
    files = entries(archive(api, study))
    tensor = next(name for name in files if name.startswith("tensors/"))
    result = next(name for name in files if name.startswith("results/"))
    before = len(api.get("/v1/jobs").json()["items"])
    hostile = {
        "spec": resealed(_changed(files, _spec)),
        "state": resealed(_changed(files, _state)),
        "version": resealed(_changed(files, _version)),
        "field": resealed(_changed(files, _gone)),
        "tensor": packed(files | {tensor: bytes(len(files[tensor]))}),
        "result": resealed(files | {result: files[result].replace(b"0.25", b"0.26")}),
        "no checksums": packed({name: content for name, content in files.items() if name != "checksums.json"}),
        "an entry more": packed(files | {"extra": b"x"}),
        "missing": packed({name: content for name, content in files.items() if name != tensor}),
        "no manifest": packed({"a": b"b"}),
        "no tar": b"not a tar file" * 100,
        "cut": archive(api, study)[:3000],
        "not json": resealed(files | {"manifest.json": b"{"}),
    }
    for name in files:
        # Whatever it is: labels, provenance, a curve, a table for eyes.
        if name != "checksums.json":
            hostile[name] = packed(files | {name: files[name][:-1] + bytes([files[name][-1] ^ 1])})
    for name, content in hostile.items():
        reply = api.post("/v1/imports", content=content, headers=RAW)
        assert reply.status_code == 422, (name, reply.text)
        assert reply.json()["detail"], name
    assert len(api.get("/v1/jobs").json()["items"]) == before


def _job(name: str, value: Any) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        manifest["jobs"][1]["job"][name] = value

    return change


FORGED: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a label of megabytes": ("manifest.json", _job("labels", {"a": "b" * (1 << 20)})),
    "labels as a list": ("manifest.json", _job("labels", [1])),
    "a name with NUL": ("manifest.json", _job("name", "a\x00b")),
    "a name of megabytes": ("manifest.json", _job("name", "n" * (1 << 20))),
    "an error as text": ("manifest.json", _job("error", "text")),
    "a provenance as text": ("manifest.json", _job("provenance", "text")),
    "an attempt below 0": ("manifest.json", _job("attempt", -5)),
    "a priority beyond bounds": ("manifest.json", _job("priority", 2**70)),
    "a time that is none": ("manifest.json", _job("created_at", "yesterday")),
    "a summary of its own": ("manifest.json", _job("summary", {"test_error": 0.0})),
    "a field of its own": ("manifest.json", _job("epoch", 7)),
    "too deep": ("manifest.json", _job("provenance", json.loads('{"a":' * 100 + "1" + "}" * 100))),
    "no number": ("manifest.json", _job("estimate", {"seconds": float("nan")})),
    "a step below 0": ("manifest.json", lambda said: said["jobs"][1]["snapshots"][0].update(step=-1)),
    "a kind of snapshot": ("manifest.json", lambda said: said["jobs"][1]["snapshots"][0].update(kind="evil")),
    "a job waits for a stranger": ("manifest.json", lambda said: said["jobs"][1].update(after=["job_0000000000"])),
    "two members with one key": ("manifest.json", lambda said: said["jobs"][2]["job"].update(member_key="m0")),
    "points without steps": ("series", lambda said: said["series"][0]["values"].append(1.0)),
    "a step beyond 64 bits": ("series", lambda said: said["series"][0]["steps"].__setitem__(0, 2**70)),
    "a value as text": ("series", lambda said: said["series"][0]["values"].__setitem__(0, "evil")),
    "a series twice": ("series", lambda said: said["series"].append(said["series"][0])),
    "a column of its own type": ("results", lambda said: said["tables"]["runs"]["columns"][0].update(type="evil")),
    "an uneven row": ("results", lambda said: said["tables"]["runs"]["rows"][0].append(1)),
    "a summary as a list": ("results", lambda said: said.update(summary=[1])),
}  # fmt: skip


def test_an_archive_written_by_hand_is_refused_at_the_field_that_is_wrong(
    api: httpx.Client, study: str, database: Engine
) -> None:
    files = entries(archive(api, study))
    member = json.loads(files["manifest.json"])["jobs"][1]["id"]
    held = _rows(database)
    for name, (entry, change) in FORGED.items():
        path = entry if entry in files else f"{entry}/{member}.json"
        said = json.loads(files[path])
        change(said)
        forged = resealed(files | {path: json.dumps(said).encode()})
        reply = api.post("/v1/imports", content=forged, headers=RAW)
        assert reply.status_code == 422, (name, reply.text)
        assert path in reply.json()["detail"] or member in reply.json()["detail"], (name, reply.text)
    assert _rows(database) == held


def _rows(database: Engine) -> list[int]:
    counted = ("jobs", "results", "result_tables", "series", "series_chunks", "snapshots", "tensors", "events")
    with database.connect() as connection:
        return [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in counted]


def test_links_and_devices_in_an_archive_are_refused(api: httpx.Client) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as file:
        link = tarfile.TarInfo("manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    assert api.post("/v1/imports", content=raw.getvalue(), headers=RAW).status_code == 422
