"""Retention by age, size and label; what it takes away and what it leaves."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np

from api.housekeeping import keep_house
from tests.api.works import RESULT, Works


def finished(api: httpx.Client, works: Works, days: int = 0, size: int = 0, **body: Any) -> str:
    """A job that succeeded so many days ago and owns so many bytes of snapshots."""
    id_ = str(api.post("/v1/jobs", json={"kind": "train", "spec": {}, **body}).json()["id"])
    one = works.claimed(id_)
    if size:
        works.snapshot(one, "weights", w=np.frombuffer(np.random.default_rng(days).bytes(size), np.uint8))
    works.end(one, "succeeded", result=RESULT)
    works.run(_age, id_, days)
    return id_


def _age(connection: Any, id_: str, days: int) -> None:
    from sqlalchemy import text

    connection.execute(
        text("UPDATE jobs SET finished_at = now() - make_interval(days => :days) WHERE id = :id"),
        {"id": id_, "days": days},
    )


def left(api: httpx.Client) -> set[str]:
    return {job["id"] for job in api.get("/v1/jobs", params={"limit": 500}).json()["items"]}


def quota(api: httpx.Client, works: Works, **limits: int) -> None:
    assert api.patch(f"/v1/projects/{works.project}/quotas", json=limits).status_code == 200


def test_by_default_nothing_goes(api: httpx.Client, works: Works) -> None:
    old = finished(api, works, days=4000)
    works.run(keep_house, None)
    assert left(api) == {old}


def test_old_jobs_go_by_age_unless_a_label_says_otherwise(api: httpx.Client, works: Works) -> None:
    finished(api, works, days=40)
    young = finished(api, works, days=20)
    kept = finished(api, works, days=400, labels={"keep": "true"})
    longer = finished(api, works, days=60, labels={"retention_days": "90"})
    finished(api, works, days=9, labels={"retention_days": "7"})
    queued = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    quota(api, works, retention_days=30)
    works.run(keep_house, None)
    assert left(api) == {young, kept, longer, queued}


def test_the_servers_own_age_holds_where_a_project_has_none(api: httpx.Client, works: Works) -> None:
    finished(api, works, days=40)
    young = finished(api, works, days=20)
    works.run(keep_house, 30.0)
    assert left(api) == {young}


def test_the_oldest_go_when_snapshots_take_too_much(api: httpx.Client, works: Works) -> None:
    finished(api, works, days=3, size=600)
    newer = finished(api, works, days=2, size=600)
    newest = finished(api, works, days=1, size=600)
    small = finished(api, works)
    quota(api, works, retention_bytes=1500)
    works.run(keep_house, None)
    assert left(api) == {newer, newest, small}


def test_content_goes_with_its_last_owner_only(api: httpx.Client, works: Works) -> None:
    first, second = finished(api, works, size=600), finished(api, works, size=600)
    works.run(_touch_long_ago)
    assert api.delete(f"/v1/jobs/{first}").status_code == 204
    works.run(keep_house, None)
    assert len(works.all("SELECT 1 FROM tensors")) == 1
    assert api.delete(f"/v1/jobs/{second}").status_code == 204
    works.run(keep_house, None)
    assert works.all("SELECT 1 FROM tensors") == works.all("SELECT 1 FROM tensor_chunks") == []
    assert works.all("SELECT 1 FROM events") == works.all("SELECT 1 FROM results") == []


def _touch_long_ago(connection: Any) -> None:
    from sqlalchemy import text

    connection.execute(text("UPDATE tensors SET touched_at = now() - interval '1 day'"))


def test_lapsed_idempotency_keys_are_forgotten(api: httpx.Client, works: Works) -> None:
    body = {"kind": "train", "spec": {}}
    first = api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).json()["id"]
    works.run(_lapse)
    assert api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).json()["id"] != first
    works.run(_lapse)
    works.run(keep_house, None)
    assert works.all("SELECT 1 FROM idempotency_keys") == []


def _lapse(connection: Any) -> None:
    from sqlalchemy import text

    connection.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
