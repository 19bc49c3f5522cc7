"""Summaries, tables and figures of finished jobs."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from tests.api.works import Works


@pytest.fixture
def done(api: httpx.Client, works: Works) -> str:
    """A succeeded job with a table and a series."""
    id_ = str(api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"])
    one = works.claimed(id_)
    works.points(one, "train_loss", [1.0, 0.1, 0.01])
    from tests.api.works import RESULT

    works.end(one, "succeeded", result=RESULT)
    return id_


def test_results_are_a_summary_and_tables(api: httpx.Client, done: str) -> None:
    found = api.get(f"/v1/jobs/{done}/results").json()
    assert found["summary"] == {"relative_test_error": 0.25}
    assert found["tables"]["runs"]["columns"][1] == {"name": "value", "type": "number", "unit": "seconds"}
    assert found["tables"]["runs"]["rows"][0] == ["a", 1.5]
    assert api.get(f"/v1/jobs/{done}").json()["result"] == found["summary"]


def test_one_table_comes_as_csv_that_no_spreadsheet_runs(api: httpx.Client, done: str) -> None:
    reply = api.get(f"/v1/jobs/{done}/results", params={"table": "runs"}, headers={"Accept": "text/csv"})
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(reply.text)))
    assert rows == [["name", "value"], ["a", "1.5"], ["'=b,c", ""], ["d", "2.0"]]
    missing = api.get(f"/v1/jobs/{done}/results", params={"table": "rnus"})
    assert missing.status_code == 404
    assert "runs" in missing.json()["detail"]
    assert api.get(f"/v1/jobs/{done}/results", headers={"Accept": "text/csv"}).status_code == 406


def test_results_have_a_strong_etag(api: httpx.Client, done: str) -> None:
    first = api.get(f"/v1/jobs/{done}/results")
    tag = first.headers["etag"]
    assert tag.startswith('"')
    again = api.get(f"/v1/jobs/{done}/results", headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    table = api.get(f"/v1/jobs/{done}/results", params={"table": "runs"})
    assert table.headers["etag"] != tag


def test_a_job_without_results_says_so(api: httpx.Client) -> None:
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    for path in ("results", "figures/curves", "export"):
        reply = api.get(f"/v1/jobs/{job}/{path}")
        assert reply.status_code == 409, path
        assert "queued" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("name", "accept", "media", "head"),
    [
        ("curves", "*/*", "application/json", b"{"),
        ("curves", "application/vnd.vegalite.v5+json", "application/vnd.vegalite.v5+json", b"{"),
        ("curves.svg", "*/*", "image/svg+xml", b"<svg"),
        ("curves", "image/png", "image/png", b"\x89PNG"),
        ("curves.pdf", "image/png", "application/pdf", b"%PDF"),
    ],
)
def test_a_figure_comes_in_the_form_asked_for(
    api: httpx.Client, done: str, name: str, accept: str, media: str, head: bytes
) -> None:
    reply = api.get(f"/v1/jobs/{done}/figures/{name}", headers={"Accept": accept})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == media
    assert reply.content.startswith(head)
    tag = reply.headers["etag"]
    headers = {"Accept": accept, "If-None-Match": tag}
    assert api.get(f"/v1/jobs/{done}/figures/{name}", headers=headers).status_code == 304


def test_a_figure_is_listed_drawn_once_and_themed(api: httpx.Client, done: str, running: Any) -> None:
    listed = api.get(f"/v1/jobs/{done}/figures").json()["items"]
    assert all(set(one) == {"name", "title", "doc"} for one in listed)
    (entry,) = [one for one in listed if one["name"] == "curves"]
    light = api.get(f"/v1/jobs/{done}/figures/{entry['name']}").json()
    dark = api.get(f"/v1/jobs/{done}/figures/{entry['name']}", params={"theme": "dark"}).json()
    assert light["$schema"].startswith("https://vega.github.io/schema/vega-lite")
    assert light != dark
    uses = [child.uses for child in running.lab.rendering._free]
    assert api.get(f"/v1/jobs/{done}/figures/{entry['name']}").json() == light
    assert [child.uses for child in running.lab.rendering._free] == uses


def test_a_misspelt_figure_is_not_there_and_another_type_not_acceptable(api: httpx.Client, done: str) -> None:
    misspelt = api.get(f"/v1/jobs/{done}/figures/curvse")
    assert misspelt.status_code == 404
    assert "curves" in misspelt.json()["detail"]
    assert api.get(f"/v1/jobs/{done}/figures/curves", headers={"Accept": "image/gif"}).status_code == 406


def test_a_renderer_that_dies_is_replaced(api: httpx.Client, done: str, running: Any) -> None:
    import os
    import signal

    assert api.get(f"/v1/jobs/{done}/figures/curves.json", params={"theme": "dark"}).status_code == 200
    for child in running.lab.rendering._free:
        os.kill(child.process.pid, signal.SIGKILL)
    replies = [
        api.get(f"/v1/jobs/{done}/figures/curves.svg", params={"theme": "dark"}).status_code for _ in range(2)
    ]
    assert replies[-1] == 200
    assert replies[0] in (200, 503)


def test_a_pipe_that_the_loop_has_closed_already_is_a_renderer_that_died(
    api: httpx.Client, done: str, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop notices the broken pipe before the process's end is told, and then refuses to write by RuntimeError."""
    assert api.get(f"/v1/jobs/{done}/figures/curves.json", params={"theme": "light"}).status_code == 200
    child = running.lab.rendering._free[-1]  # the next to be asked

    def closed(data: bytes) -> None:
        raise RuntimeError(f"unable to write {len(data)} bytes; the handler is closed")

    monkeypatch.setattr(child.process.stdin, "write", closed)
    path = f"/v1/jobs/{done}/figures/curves.svg"
    assert api.get(path, params={"theme": "light"}).status_code == 503
    assert api.get(path, params={"theme": "light"}).status_code == 200
