"""The OpenAPI document, held to the server and the server to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.routing import Route
from tests.api.conftest import Running
from tests.api.works import Works

#: an operation; set the variable to 200 for the long run, which adds the phases `coverage` and `stateful`
EXAMPLES = int(os.environ.get("BFC_SCHEMATHESIS_EXAMPLES", "3"))
PHASES = "examples,fuzzing" if EXAMPLES < 10 else "examples,coverage,fuzzing,stateful"
CONFIG = """
[checks]
unsupported_method.enabled = false
positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 406, 409, 413, 416, 422, 429, 503]
"""


@pytest.fixture(scope="module")
def document(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_of_the_api_is_in_the_document(server: Running, document: dict[str, Any]) -> None:
    shown = {(method.upper(), path) for method, path, _ in operations(document)}
    for route in server.app.routes:
        if isinstance(route, Route) and (
            route.path.startswith("/v1") or route.path in ("/healthz", "/readyz", "/metrics")
        ):
            for method in route.methods or ():
                assert (method, route.path_format) in shown


def test_every_operation_says_what_it_does_and_how_it_can_end(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["security"] == [{}, {"bearer": []}]
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for method, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["tags"], path
        assert operation.get("description"), path
        replies = operation["responses"]
        assert any(status.startswith("2") for status in replies), path
        if path.startswith("/v1"):
            assert {"401", "403", "422", "429", "503"} <= set(replies), path
            assert operation["x-scope"] in ("read", "submit", "admin"), path
        if "{" in path and path.startswith("/v1"):
            assert "404" in replies, path
        for status, reply in replies.items():
            assert reply["description"], (method, path, status)
            if status.startswith(("4", "5")) and path != "/readyz":
                assert "application/problem+json" in reply["content"], (path, status)


def test_what_is_not_json_is_not_told_as_json(document: dict[str, Any]) -> None:
    def media(path: str) -> list[str]:
        return list(document["paths"][path]["get"]["responses"]["200"]["content"])

    assert media("/metrics") == ["text/plain"]
    assert media("/v1/jobs/{job_id}/export") == ["application/octet-stream", "application/x-tar"]
    assert "application/json" not in media("/v1/snapshots/{snapshot_id}/download")
    assert media("/v1/jobs/{job_id}/figures/{name}")[0] == "application/octet-stream"


def test_every_field_of_our_own_replies_has_a_type(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        for field, of in schema.get("properties", {}).items():
            free = of == {} or set(of) <= {"title", "description", "default"}
            assert not free or (name, field) in {("Word", "example")}, (name, field)


def test_every_example_of_the_catalog_is_accepted(api: httpx.Client) -> None:
    words = api.get("/v1/catalog").json()["items"]
    parts = {word["part"] for word in words}
    assert parts >= {"data", "model", "schedule", "optimizer", "probe", "baseline", "study", "job", "figure"}
    for word in words:
        assert word["title"], word["kind"]
        assert word["doc"], word["kind"]
        assert word["source"], word["kind"]
        assert "§" not in word["source"], "a paper, or a page of the documentation"
        Draft202012Validator(word["schema"]).validate(word["example"])
        if word["part"] == "job" and word["kind"] != "probe":
            reply = api.post("/v1/jobs", params={"dry_run": "true"}, json=word["example"])
            assert reply.status_code == 200, (word["kind"], reply.text)


def test_a_job_is_as_the_document_says(api: httpx.Client, works: Works, document: dict[str, Any]) -> None:
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}, "labels": {"a": "b"}}).json()
    schema = {"$ref": "#/components/schemas/Job", "components": document["components"]}
    Draft202012Validator(schema).validate(job)
    works.succeed(job["id"])
    Draft202012Validator(schema).validate(api.get(f"/v1/jobs/{job['id']}").json())


@pytest.mark.parametrize("keyed", [False, True])
def test_schemathesis_finds_no_server_error_undocumented_status_or_mismatch(
    running: Running, caller: Any, works: Works, tmp_path: Path, keyed: bool
) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(CONFIG)
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(settings),
        "run", f"{running.url}/openapi.json", "--checks", "all", "--exclude-checks", "unsupported_method",
        "--generation-deterministic", "--max-examples", str(EXAMPLES), "--phases", PHASES,
        "--suppress-health-check", "all", "--no-color", "--request-timeout", "120",
    ]  # fmt: skip
    if keyed:
        command += ["--header", f"Authorization: Bearer {caller('default', 'admin').key.secret}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-9000:]
