"""Series of one job and of several, down-sampled with their extremes."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.works import Works


@pytest.fixture
def job(api: httpx.Client, works: Works) -> str:
    """A running job with a long series, a short one by layer, and one that diverges."""
    id_ = str(api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"])
    one = works.claimed(id_)
    values = np.sin(np.arange(5_000) / 100)
    values[1234], values[3456] = 50.0, -50.0
    works.points(one, "long", values)
    works.points(one, "short", [1.0, 2.0, 3.0], layer=2, mark=2)
    works.points(one, "wild", [1.0, np.nan, np.inf], mark=3)
    return id_


def series(api: httpx.Client, job: str, **params: Any) -> dict[str, dict[str, Any]]:
    reply = api.get(f"/v1/jobs/{job}/metrics", params=params)
    assert reply.status_code == 200, reply.text
    return {one["key"]: one for one in reply.json()["series"]}


def test_all_series_come_by_default_thinned_to_a_thousand(api: httpx.Client, job: str) -> None:
    found = series(api, job)
    assert set(found) == {"long", "short", "wild"}
    assert len(found["long"]["steps"]) <= 1000
    assert found["short"] == {
        "job": job,
        "key": "short",
        "layer": 2,
        "unit": None,
        "steps": [0, 1, 2],
        "values": [1, 2, 3],
    }


def test_thinning_keeps_the_extremes_and_the_ends(api: httpx.Client, job: str) -> None:
    one = series(api, job, keys="long", max_points=50)["long"]
    assert len(one["steps"]) <= 50
    assert {0, 1234, 3456, 4999} <= set(one["steps"])
    assert one["steps"] == sorted(set(one["steps"]))
    assert (max(one["values"]), min(one["values"])) == (50.0, -50.0)


def test_steps_cut_a_series_on_both_ends(api: httpx.Client, job: str) -> None:
    assert series(api, job, keys="long", from_step=10, to_step=12)["long"]["steps"] == [10, 11, 12]


def test_what_is_not_a_number_is_null(api: httpx.Client, job: str) -> None:
    assert series(api, job, keys="wild")["wild"]["values"] == [1.0, None, None]


def test_several_jobs_are_read_at_once(api: httpx.Client, job: str, works: Works) -> None:
    other = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    works.points(works.claimed(other), "short", [9.0])
    found = api.get("/v1/metrics", params={"jobs": f"{job},{other}", "keys": "short"}).json()["series"]
    assert [(one["job"], one["values"]) for one in found] == [(job, [1, 2, 3]), (other, [9])]
    again = api.get("/v1/metrics", params=[("jobs", job), ("jobs", other), ("keys", "short")]).json()[
        "series"
    ]
    assert again == found
    missing = api.get("/v1/metrics", params={"jobs": f"{job},job_01hzy3v7k2q8s4t6w9x0"})
    assert missing.status_code == 404


@pytest.mark.parametrize(
    "params", [{"max_points": 0}, {"max_points": 1_000_001}, {"from_step": "x"}, {"jobs": "a"}]
)
def test_bounds_are_kept(api: httpx.Client, job: str, params: dict[str, Any]) -> None:
    assert api.get(f"/v1/jobs/{job}/metrics", params=params).status_code == 422


def test_no_jobs_are_too_few(api: httpx.Client) -> None:
    assert api.get("/v1/metrics").status_code == 422
    assert api.get("/v1/metrics", params={"jobs": ""}).status_code == 422
