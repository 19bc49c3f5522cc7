"""One resource for all work."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.api.works import Works

QUICK: dict[str, Any] = {
    "kind": "train",
    "name": "quick",
    "labels": {"series": "a"},
    "spec": {"budget": {"steps": 10}},
}
STUDY = {"kind": "study", "spec": {"kind": "correction", "seeds": 2, "readouts": ["fixed"]}}


def submit(api: httpx.Client, **changes: Any) -> dict[str, Any]:
    reply = api.post("/v1/jobs", json={**QUICK, **changes})
    assert reply.status_code == 201, reply.text
    job: dict[str, Any] = reply.json()
    assert reply.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


def test_a_submitted_job_is_queued_with_its_defaults_filled_in(api: httpx.Client) -> None:
    job = submit(api)
    assert job["id"].startswith("job_")
    assert (job["state"], job["attempt"], job["parent"], job["priority"]) == ("queued", 0, None, 0)
    assert job["progress"] == {"done": 0, "total": 10, "unit": "step", "eta_seconds": None}
    assert job["spec"]["data"]["kind"] == "hierarchical"
    assert job["spec_hash"].startswith("sha256:")
    assert job["created_at"].endswith("Z")
    assert api.get(f"/v1/jobs/{job['id']}").json() == job


def test_the_same_content_has_the_same_spec_hash(api: httpx.Client) -> None:
    assert submit(api)["spec_hash"] == submit(api, spec={"budget": {"steps": 10}, "seed": 0})["spec_hash"]
    assert submit(api)["spec_hash"] != submit(api, spec={"budget": {"steps": 11}})["spec_hash"]


def test_a_dry_run_says_what_would_be_and_queues_nothing(api: httpx.Client) -> None:
    reply = api.post("/v1/jobs", params={"dry_run": "true"}, json=QUICK)
    told = reply.json()
    assert reply.status_code == 200
    assert told["spec"]["budget"] == {"steps": 10, "batch": 128}
    assert set(told["estimate"]) >= {
        "parameters",
        "flops",
        "snapshot_bytes",
        "seconds",
        "device_memory_bytes",
    }
    study = api.post("/v1/jobs", params={"dry_run": "true"}, json=STUDY).json()
    assert study["members"] > 10
    assert study["power"]
    assert api.get("/v1/jobs").json()["items"] == []


def test_a_study_is_one_job_whose_members_are_jobs(api: httpx.Client) -> None:
    study = api.post("/v1/jobs", json=STUDY).json()
    assert study["state"] == "waiting"
    assert study["progress"]["unit"] == "job"
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get(
            f"/v1/jobs/{study['id']}/children", params={"limit": 7} | ({"cursor": cursor} if cursor else {})
        ).json()
        assert len(page["items"]) <= 7
        seen += [member["id"] for member in page["items"]]
        assert {member["parent"] for member in page["items"]} == {study["id"]}
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == study["progress"]["total"]
    assert [job["id"] for job in api.get("/v1/jobs", params={"parent": "none"}).json()["items"]] == [
        study["id"]
    ]
    found = api.get("/v1/jobs", params={"parent": study["id"], "limit": 500}).json()["items"]
    assert sorted(seen) == sorted(member["id"] for member in found)


def test_pages_neither_repeat_nor_skip_while_jobs_are_added(api: httpx.Client) -> None:
    ids = [submit(api, name=f"n{i}")["id"] for i in range(7)]
    first = api.get("/v1/jobs", params={"limit": 3}).json()
    submit(api, name="late")
    second = api.get("/v1/jobs", params={"limit": 3, "cursor": first["next"]}).json()
    third = api.get("/v1/jobs", params={"limit": 3, "cursor": second["next"]}).json()
    found = [job["id"] for page in (first, second, third) for job in page["items"]]
    assert found == list(reversed(ids))
    assert third["next"] is None


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"state": "queued"}, {"a", "b"}),
        ({"state": ["queued", "waiting"]}, {"a", "b", "c"}),
        ({"kind": "baseline"}, {"b"}),
        ({"label": "color:red"}, {"a"}),
        ({"label": ["color:red", "size:2"]}, {"a"}),
        ({"label": "color:blue:green"}, {"b"}),
        ({"name": "c"}, {"c"}),
        ({"created_after": "2999-01-01T00:00:00Z"}, set()),
        ({"created_before": "2999-01-01T00:00:00Z", "kind": "train"}, {"a", "c"}),
    ],
)
def test_filters_narrow_the_list(api: httpx.Client, params: dict[str, Any], names: set[str]) -> None:
    first = submit(api, name="a", labels={"color": "red", "size": "2"})
    submit(api, name="b", kind="baseline", spec={}, labels={"color": "blue:green"})
    submit(api, name="c", after=[first["id"]], labels={})
    assert {job["name"] for job in api.get("/v1/jobs", params=params).json()["items"]} == names


def test_a_repeated_post_is_answered_from_the_first(api: httpx.Client) -> None:
    first = api.post("/v1/jobs", json=QUICK, headers={"Idempotency-Key": "one"})
    again = api.post("/v1/jobs", json=QUICK, headers={"Idempotency-Key": "one"})
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content, again.headers["location"]) == (
        201,
        first.content,
        first.headers["location"],
    )
    other = api.post("/v1/jobs", json={**QUICK, "name": "other"}, headers={"Idempotency-Key": "one"})
    assert other.status_code == 409
    elsewhere = api.post(
        f"/v1/jobs/{first.json()['id']}/fork", json={"snapshot": "x"}, headers={"Idempotency-Key": "one"}
    )
    assert elsewhere.status_code == 409
    assert len(api.get("/v1/jobs").json()["items"]) == 1


def test_a_refused_post_does_not_use_up_its_key(api: httpx.Client) -> None:
    bad = {**QUICK, "after": ["job_01hzy3v7k2q8s4t6w9x0"]}
    assert api.post("/v1/jobs", json=bad, headers={"Idempotency-Key": "k"}).status_code == 422
    assert api.post("/v1/jobs", json=QUICK, headers={"Idempotency-Key": "k"}).status_code == 201


def test_equal_posts_at_once_make_one_job(api: httpx.Client, running: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def post(_: int) -> httpx.Response:
        return httpx.post(
            f"{running.url}/v1/jobs", json=QUICK, headers={"Idempotency-Key": "race"}, timeout=60
        )

    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(post, range(6)))
    assert {reply.json()["id"] for reply in replies} == {api.get("/v1/jobs").json()["items"][0]["id"]}
    assert sum("idempotent-replayed" in reply.headers for reply in replies) == 5


def test_reuse_answers_with_the_first_success_of_the_same_spec(api: httpx.Client, works: Works) -> None:
    first = submit(api)
    assert submit(api, name="x")["id"] != first["id"]
    works.succeed(first["id"])
    reused = api.post("/v1/jobs", params={"reuse": "true"}, json=QUICK)
    assert (reused.status_code, reused.json()["id"], reused.json()["state"]) == (
        200,
        first["id"],
        "succeeded",
    )
    different = api.post("/v1/jobs", params={"reuse": "true"}, json={**QUICK, "spec": {"seed": 5}})
    assert different.status_code == 201


def test_cancel_pause_resume_retry_and_delete_apply_where_they_make_sense(
    api: httpx.Client, works: Works
) -> None:
    job = submit(api)["id"]
    path = f"/v1/jobs/{job}"
    assert api.delete(path).status_code == 409
    assert api.post(f"{path}/resume").status_code == 409
    assert api.post(f"{path}/pause").json()["state"] == "paused"
    assert api.post(f"{path}/resume").json()["state"] == "queued"
    assert api.post(f"{path}/cancel").json()["state"] == "cancelled"
    refused = api.post(f"{path}/cancel")
    assert (refused.status_code, refused.json()["state"]) == (409, "cancelled")
    assert api.post(f"{path}/retry").json()["state"] == "queued"
    works.succeed(job)
    assert api.post(f"{path}/retry").status_code == 409
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_cancelling_a_running_job_waits_for_its_process(api: httpx.Client, works: Works) -> None:
    job = submit(api)["id"]
    works.claimed(job)
    assert api.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelling"
    why = api.get(f"/v1/jobs/{job}/why").json()
    assert why["state"] == "cancelling"
    assert why["says"]
    assert why["next"]


def test_audit_names_the_attempt_that_counts(api: httpx.Client, works: Works) -> None:
    job = submit(api)["id"]
    works.succeed(job)
    audit = api.get(f"/v1/jobs/{job}/audit").json()
    (attempt,) = audit["attempts"]
    assert attempt["counts"] is True
    assert attempt["outcome"] == "succeeded"
    assert [step["target"] for step in audit["steps"]] == ["queued", "running", "succeeded"]
    api.post(f"/v1/jobs/{submit(api)['id']}/cancel")


def test_a_fork_starts_from_a_checkpoint_with_a_patched_spec(api: httpx.Client, works: Works) -> None:
    import numpy as np

    source = submit(api, spec={"budget": {"steps": 10}, "seed": 3})
    one = works.claimed(source["id"])
    weights = works.snapshot(one, "weights", w=np.zeros(2, np.float32))
    checkpoint = works.snapshot(one, "checkpoint", step=2, w=np.zeros(2, np.float32))
    path = f"/v1/jobs/{source['id']}/fork"
    patch = {"schedule": {"kind": "layerwise"}, "budget": {"steps": 20}}
    reply = api.post(path, json={"snapshot": checkpoint, "spec": patch})
    fork = reply.json()
    assert reply.status_code == 201, reply.text
    assert fork["origin_snapshot"] == checkpoint
    assert (fork["spec"]["schedule"]["kind"], fork["spec"]["budget"]["steps"], fork["spec"]["seed"]) == (
        "layerwise",
        20,
        3,
    )
    assert fork["provenance"]["forked_from"] == source["id"]
    no_checkpoint = api.post(path, json={"snapshot": weights})
    assert (no_checkpoint.status_code, no_checkpoint.json()["errors"][0]["pointer"]) == (422, "/snapshot")
    assert api.post(path, json={"snapshot": "snap_01hzy3v7k2q8s4t6w9x0"}).status_code == 404
    misspelt = api.post(path, json={"snapshot": checkpoint, "spec": {"sead": 1}})
    assert misspelt.json()["errors"][0]["pointer"] == "/spec/sead"


def test_over_the_quota_a_submission_waits_outside(api: httpx.Client) -> None:
    project = submit(api)["project"]
    usage = api.patch(f"/v1/projects/{project}/quotas", json={"queued_jobs": 2}).json()
    assert usage["quotas"] == {"queued_jobs": 2}
    submit(api)
    over = api.post("/v1/jobs", json=QUICK)
    assert over.status_code == 429
    assert int(over.headers["retry-after"]) >= 1
    assert api.patch(f"/v1/projects/{project}/quotas", json={"queued_jobs": None}).json()["quotas"] == {}
    submit(api)


def test_the_bell_rings_after_the_commit(api: httpx.Client, works: Works, broker: str) -> None:
    import redis

    submit(api)
    with redis.Redis.from_url(broker) as client:
        for _ in range(200):
            if client.llen("bfc.cpu") and not works.all("SELECT 1 FROM outbox"):
                break
            time.sleep(0.05)
        assert client.llen("bfc.cpu") == 1
    assert works.all("SELECT 1 FROM outbox") == []
