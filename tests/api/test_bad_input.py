"""Every fault is pointed at, told with what is accepted, and nothing is queued."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bfc_core import specs

JOBS = "/v1/jobs"


def refused(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The problem of a refusal."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:bfc-lab:problem:")
    assert body["title"]
    assert body["detail"]
    return body


def train(**spec: Any) -> dict[str, Any]:
    return {"kind": "train", "spec": spec}


FAULTS: list[tuple[str, Any, str, str]] = [
    ("unknown field", train(model={"widht": 4}), "/spec/model/widht", "width"),
    ("misspelt kind", {"kind": "trian", "spec": {}}, "/kind", "train"),
    ("misspelt model", train(model={"kind": "quadratic_densnet"}), "/spec/model/kind", "quadratic_densenet"),
    ("negative width", train(model={"width": -1}), "/spec/model/width", "at least 1"),
    ("long gap", train(data={"levels": 3, "gap": [1, 1, 1]}), "/spec/data/gap", ""),
    ("a billion samples", train(data={"samples": 10**9}), "/spec/data/samples", ""),
    ("wrong type", train(budget={"steps": "many"}), "/spec/budget/steps", "integer"),
    ("float for an integer", train(budget={"steps": 1.5}), "/spec/budget/steps", "integer"),
    ("bool for an integer", train(seed=True), "/spec/seed", ""),
    (
        "too many free",
        train(data={"levels": 3}, schedule={"kind": "window", "train_up_to": 3, "free": 9}),
        "/spec/schedule",
        "",
    ),
    ("no kind", {"spec": {}}, "/kind", "train"),
    ("not an object", [1, 2], "", "object"),
    ("priority", {"kind": "train", "spec": {}, "priority": 101}, "/priority", "100"),
    ("labels", {"kind": "train", "spec": {}, "labels": {"a": 1}}, "/labels/a", "string"),
    ("unknown envelope field", {"kind": "train", "spec": {}, "prority": 1}, "/prority", "priority"),
    (
        "unknown dependency",
        {"kind": "train", "spec": {}, "after": ["job_01hzy3v7k2q8s4t6w9x0"]},
        "/after/0",
        "project",
    ),
    (
        "path for a name",
        train(data={"kind": "images", "dataset": "../../etc/passwd"}),
        "/spec/data/dataset",
        "",
    ),
    (
        "unknown data set",
        train(data={"kind": "images", "dataset": "ds_01hzy3v7k2q8s4t6w9x0"}),
        "/spec/data/dataset",
        "",
    ),
    ("control characters", {"kind": "train", "spec": {}, "name": "a\u0000b"}, "/name", ""),
    ("text turned round", {"kind": "train", "spec": {}, "name": "png.\u202eexe"}, "/name", "printable"),
    ("escapes", {"kind": "train", "spec": {}, "labels": {"a/b": "\x1b[31m"}}, "/labels/a~1b", "printable"),
    (
        "many labels",
        {"kind": "train", "spec": {}, "labels": {str(i): "" for i in range(1000)}},
        "/labels",
        "1,000 entries; accepted: at most 64",
    ),
    (
        "a point too big",
        {"kind": "sweep", "spec": {"base": {}, "grid": {"model.width": [8, 30_000], "seed": [0, 1]}}},
        "/spec/grid/model.width/1",
        "memory",
    ),
    (
        "points of unknown data",
        {
            "kind": "sweep",
            "spec": {
                "base": {"data": {"kind": "arrays", "dataset": "ds_01hzy3v7k2q8s4t6w9x0"}, "model": {"kind": "mlp"}},
                "grid": {"data.dataset": ["ds_01hzy3v7k2q8s4t6w9x1", "ds_01hzy3v7k2q8s4t6w9x2"]},
            },
        },
        "/spec/grid/data.dataset/0",
        "no dataset",
    ),
    (
        "a size of a duel too big",
        {"kind": "study", "spec": {"kind": "duel", "base": {}, "seeds": 1, "samples": [500, 10**7]}},
        "/spec/samples/1",
        "memory",
    ),
]


@pytest.mark.parametrize(("body", "pointer", "accepted"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_in_a_spec_is_pointed_at_and_nothing_is_queued(
    api: httpx.Client, body: Any, pointer: str, accepted: str
) -> None:
    for params in ({}, {"dry_run": "true"}):
        problem = refused(api.post(JOBS, json=body, params=params), 422)
        found = [error for error in problem["errors"] if error["pointer"].startswith(pointer)]
        assert found, problem["errors"]
        assert accepted in found[0]["detail"]
    assert api.get(JOBS).json()["items"] == []


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"kind": "information_gap", "base": {"seed": 2**63 - 1}}, "/spec/base/seed"),
        ({"kind": "correction", "base": {"seed": 2**63 - 1}, "vary": ["init"]}, "/spec/base"),
    ],
    ids=["seeds beyond the last", "one role's seeds beyond the last"],
)
def test_a_study_of_which_a_member_would_not_be_valid_is_refused(
    api: httpx.Client, spec: dict[str, Any], pointer: str
) -> None:
    problem = refused(api.post(JOBS, json={"kind": "study", "spec": spec}), 422)
    assert problem["errors"][0]["pointer"].startswith(pointer)


def test_a_sweep_of_which_a_combination_is_not_valid_is_refused(api: httpx.Client) -> None:
    grid = {"data.levels": [3, 2], "schedule.train_up_to": [2, 3]}
    spec = {"base": {"schedule": {"kind": "window", "train_up_to": 2, "free": 1}}, "grid": grid}
    problem = refused(api.post(JOBS, json={"kind": "sweep", "spec": spec}), 422)
    assert "train_up_to" in problem["detail"]


def test_a_study_of_more_members_than_are_taken_is_refused_without_making_them(api: httpx.Client) -> None:
    spec = {"kind": "correction", "base": {"model": {"kind": "mlp", "depth": 63}}, "seeds": 199}
    problem = refused(api.post("/v1/jobs", json={"kind": "study", "spec": spec}), 422)
    assert problem["errors"][0]["pointer"] == "/spec/seeds"
    assert "accepted: up to 10,000" in problem["detail"]


def test_all_faults_of_a_body_are_told_at_once(api: httpx.Client) -> None:
    body = '{"kind": "train", "spec": {"model": {"width": -1}, "optimizer": {"rate": NaN}, "sead": 1}}'
    problem = refused(api.post(JOBS, content=body, headers={"Content-Type": "application/json"}), 422)
    assert {error["pointer"] for error in problem["errors"]} == {
        "/spec/model/width",
        "/spec/optimizer/rate",
        "/spec/sead",
    }


BROKEN = {
    "cut off": b'{"kind": "train",',
    "not utf-8": b'{"kind": "\xff"}',
    "twice": b'{"kind": "train", "kind": "study", "spec": {}}',
    "deep": b"[" * 100_000,
    "deep and whole": b'{"a":' * 200 + b"1" + b"}" * 200,
    "many digits": b'{"kind": "train", "spec": {"seed": ' + b"9" * 10_000 + b"}}",
    "empty": b"",
    "blank": b" ",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_not_json_is_400(api: httpx.Client, body: bytes) -> None:
    refused(api.post(JOBS, content=body, headers={"Content-Type": "application/json"}), 400)


def test_a_body_is_bounded(api: httpx.Client) -> None:
    labels = {f"k{i}": "v" * 200 for i in range(50_000)}
    reply = api.post(JOBS, json={"kind": "train", "spec": {}, "labels": labels})
    assert "1048576" in refused(reply, 413)["detail"]

    def pieces() -> Any:
        for _ in range(40):
            yield b" " * (1 << 16)

    reply = api.post(JOBS, content=pieces(), headers={"Content-Type": "application/json"})
    refused(reply, 413)


def test_other_media_types_are_415(api: httpx.Client) -> None:
    refused(api.post(JOBS, content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    refused(api.post(JOBS, data={"kind": "train"}), 415)
    coded = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = api.post(JOBS, content=gzip.compress(b" " * 100_000), headers=coded)
    assert "gzip" in refused(reply, 415)["detail"]
    assert reply.headers["accept-encoding"] == "identity"
    refused(api.post("/v1/datasets", content=b"x", headers={"Content-Encoding": "br"}), 415)


@pytest.mark.parametrize(
    ("query", "name", "says"),
    [
        ("limitt=3", "/limitt", "did you mean 'limit'?"),
        ("limit=0", "/limit", "1"),
        ("limit=501", "/limit", "500"),
        ("limit=x", "/limit", "integer"),
        ("cursor=%00", "/cursor", "NUL"),
        ("cursor=job", "/cursor", "`next` of the page before"),
        ("state=runing", "/state/0", "running"),
        ("label=nocolon", "/label", "key:value"),
        ("created_after=yesterday", "/created_after", "date"),
    ],
)
def test_query_parameters_are_strict(api: httpx.Client, query: str, name: str, says: str) -> None:
    problem = refused(api.get(f"{JOBS}?{query}"), 422)
    (error,) = problem["errors"]
    assert (error["pointer"], error["in"]) == (name, "query")
    assert says in error["detail"]


def test_text_that_postgres_cannot_hold_is_refused_not_a_fault(api: httpx.Client) -> None:
    refused(api.get(JOBS, params={"name": "a\x00b"}), 422)
    refused(api.get("/v1/jobs/job_%00"), 404)
    refused(
        api.post(
            "/v1/keys", content=json.dumps({"name": "\ud800"}), headers={"Content-Type": "application/json"}
        ),
        422,
    )


def test_very_many_faults_are_counted_not_listed(api: httpx.Client) -> None:
    body = {f"f{i}": 0 for i in range(500)}
    for path in (JOBS, "/v1/keys"):
        errors = refused(api.post(path, json={**body, "kind": "train"} if path == JOBS else body), 422)["errors"]
        assert len(errors) == 201
        assert errors[-1] == {"pointer": "", "detail": "300 more faults like these are not listed"}


def test_names_in_any_script_come_back_as_they_were(api: httpx.Client) -> None:
    name = "Ångström עברית 👩‍🔬 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 e\u0301 é <script>alert(1)</script>"
    made = api.post(JOBS, json={"kind": "train", "name": name, "spec": {}}).json()
    assert made["name"] == name
    assert api.get(JOBS, params={"name": name}).json()["items"][0]["id"] == made["id"]


def test_a_job_that_fits_no_worker_is_refused_with_its_estimate(api: httpx.Client, running: Any) -> None:
    body = train(data={"samples": 50_000_000, "test_samples": 8000, "input_dim": 2000})
    problem = refused(api.post(JOBS, json=body), 422)
    (error,) = problem["errors"]
    assert error["pointer"].startswith("/spec/data/")
    assert problem["estimate"]["memory_bytes"] > 50_000_000 * 2000
    assert api.get(JOBS).json()["items"] == []


def test_what_is_not_there_is_a_problem_too(api: httpx.Client) -> None:
    refused(api.get("/v1/nowhere"), 404)
    assert "POST" in api.put(JOBS).headers["allow"] or "GET" in api.put(JOBS).headers["allow"]
    refused(api.put(JOBS), 405)
    refused(api.get("/v1/jobs/job_01hzy3v7k2q8s4t6w9x0"), 404)
    refused(api.get("/v1/jobs/" + "x" * 5000), 422)


ODD: tuple[Any, ...] = (None, {}, [], "x", -1, True, 10**30, float("nan"), {"kind": {}}, [None])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a body."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inner:
        yield from places(each, (*path, step))


@pytest.mark.parametrize("kind", specs.JOBS)
def test_no_odd_value_anywhere_in_a_body_is_more_than_a_fault(kind: str) -> None:
    whole = {"spec": specs.dump(specs.TrainSpec())} if kind == "train" else {}
    body = json.loads(json.dumps(specs.JOBS[kind].example() | whole))
    for path in [place for place in places(body) if place]:
        for odd in ODD:
            changed = copy.deepcopy(body)
            holder = changed
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = odd
            with contextlib.suppress(specs.SpecError):
                specs.parse_job(changed)
