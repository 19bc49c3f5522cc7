"""Every route × (no key, an unknown key, another project's key, each scope): exactly the allowed ones pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from api.auth import SCOPES
from api.routing import Route
from api.settings import Settings
from tests.api.conftest import Running, config_of, serve
from tests.api.works import Works

OPEN = {
    "/",
    "/healthz",
    "/readyz",
    "/docs",
    "/docs/assets/{name}",
    "/openapi.json",
    "/favicon.ico",
    "/web/{path:path}",
}
BODIES: dict[str, Any] = {
    "/v1/jobs": {"kind": "train", "spec": {}},
    "/v1/jobs/{job_id}/fork": {"snapshot": "{snapshot_id}"},
    "/v1/compare": {"snapshots": ["{snapshot_id}"]},
    "/v1/projects": {"name": "fresh"},
    "/v1/projects/{project_id}/quotas": {},
    "/v1/keys": {},
    "/v1/webhooks": {"url": "https://example.org/hook"},
}
#: what only the operator may do, whatever the scope in another project
OPERATOR = {("PATCH", "/v1/projects/{project_id}/quotas")}


def routes(running: Running) -> list[tuple[str, Route]]:
    found = [route for route in running.app.routes if isinstance(route, Route)]
    return [(method, route) for route in found for method in sorted(route.methods or ())]


@pytest.fixture(scope="module")
def guarded(
    session_engine: Engine, broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server that asks for a key on loopback too."""
    config = replace(
        config_of(session_engine, broker_url, tmp_path_factory.mktemp("guarded")), require_key=True
    )
    with closing(serve(config, Settings())) as started:  # type: ignore[type-var]
        yield next(started)  # type: ignore[call-overload]


class Places:
    """One thing of each noun in a project, to fill paths with."""

    def __init__(self, engine: Engine, project: str, client: httpx.Client) -> None:
        works = Works(engine, project)
        self.ids = {"project_id": project, "name": "w", "delivery_id": "dlv_01hzy3v7k2q8s4t6w9x0"}
        self.ids["job_id"] = client.post("/v1/jobs", json=BODIES["/v1/jobs"]).json()["id"]
        one = works.claimed(self.ids["job_id"])
        self.ids["snapshot_id"] = works.snapshot(one, "features", z1=np.eye(4, dtype=np.float32))
        self.ids["key_id"] = client.post("/v1/keys", json={}).json()["id"]
        self.ids["webhook_id"] = client.post("/v1/webhooks", json=BODIES["/v1/webhooks"]).json()["id"]
        self.ids["dataset_id"] = "ds_01hzy3v7k2q8s4t6w9x0"

    def fill(self, value: Any) -> Any:
        if isinstance(value, str):
            for name, id_ in self.ids.items():
                value = value.replace(f"{{{name}}}", id_).replace(f"{{{name}:path}}", id_)
            return value
        if isinstance(value, dict):
            return {key: self.fill(inner) for key, inner in value.items()}
        return [self.fill(inner) for inner in value] if isinstance(value, list) else value


def call(client: httpx.Client, method: str, route: Route, places: Places) -> httpx.Response:
    path = places.fill(route.path_format)
    body = BODIES.get(route.path_format) if method in ("POST", "PATCH") else None
    return client.request(method, path, json=None if body is None else places.fill(body))


def test_every_route_names_its_scope_or_is_open(running: Running) -> None:
    for method, route in routes(running):
        if route.path in OPEN | {"/metrics"}:
            assert route.scope is None, route.path
        else:
            assert route.scope in SCOPES, (method, route.path)
    assert all(isinstance(route, Route) for route in running.app.routes if isinstance(route, APIRoute))


def test_exactly_the_allowed_callers_pass(
    guarded: Running, running: Running, database: Engine, caller: Any
) -> None:
    guarded.forget()
    mine = caller("default", "admin")
    with httpx.Client(base_url=guarded.url, headers=mine.client.headers, timeout=60) as admin:
        places = Places(database, mine.project, admin)
    keys = {
        None: {},
        "unknown": {"Authorization": "Bearer bfc_unknown"},
        "read": {"Authorization": f"Bearer {caller('default', 'read').key.secret}"},
        "submit": {"Authorization": f"Bearer {caller('default', 'submit').key.secret}"},
    }
    wrong: list[str] = []
    for name, headers in keys.items():
        with httpx.Client(base_url=guarded.url, headers=headers, timeout=60) as client:
            for method, route in routes(guarded):
                status = call(client, method, route, places).status_code
                wrong += [f"{name} {method} {route.path}: {status}"] * (not _as_allowed(name, route, status))
    assert wrong == []


def _as_allowed(name: str | None, route: Route, status: int) -> bool:
    if route.scope is None and route.path != "/metrics":
        return status not in (401, 403)
    if name is None and route.path == "/metrics":
        return status == 200  # on loopback it is open to whoever watches the machine
    if name is None or name == "unknown":
        return status == 401
    needs = "admin" if route.path == "/metrics" else route.scope
    may = SCOPES.index(name) >= SCOPES.index(needs)  # type: ignore[arg-type]
    return (status not in (401, 403)) if may else status == 403


def test_another_projects_things_are_not_there(
    guarded: Running, running: Running, database: Engine, caller: Any
) -> None:
    guarded.forget()
    mine, theirs = caller("default", "admin"), caller("other", "admin")
    with httpx.Client(base_url=guarded.url, headers=mine.client.headers, timeout=60) as admin:
        places = Places(database, mine.project, admin)
        before = admin.get(f"/v1/jobs/{places.ids['job_id']}").json()
    seen: list[str] = []
    with httpx.Client(base_url=guarded.url, headers=theirs.client.headers, timeout=60) as stranger:
        for method, route in routes(guarded):
            if not any(f"{{{name}" in route.path for name in places.ids) or route.scope is None:
                continue
            status = call(stranger, method, route, places).status_code
            expected = 403 if (method, route.path) in OPERATOR else 404
            seen += [f"{method} {route.path}: {status}"] * (status != expected)
        assert seen == []
        assert (
            stranger.post("/v1/compare", json={"snapshots": [places.ids["snapshot_id"]]}).status_code == 404
        )
        assert stranger.get("/v1/metrics", params={"jobs": places.ids["job_id"]}).status_code == 404
        assert stranger.get("/v1/jobs", params={"parent": places.ids["job_id"]}).status_code == 404
        for path in ("/v1/jobs", "/v1/events", "/v1/webhooks", "/v1/datasets"):
            assert stranger.get(path).json()["items"] == [], path
        assert {key["project"] for key in stranger.get("/v1/keys").json()["items"]} == {theirs.project}
        assert [one["id"] for one in stranger.get("/v1/projects").json()["items"]] == [theirs.project]
        assert sum(stranger.get("/v1/usage").json()["jobs"].values()) == 0
        assert stranger.post("/v1/keys", json={"project": "default"}).status_code == 422
    with httpx.Client(base_url=guarded.url, headers=mine.client.headers, timeout=60) as admin:
        assert admin.get(f"/v1/jobs/{places.ids['job_id']}").json()["state"] == before["state"]


def test_a_key_is_shown_once_and_only_its_hash_is_kept(api: httpx.Client, works: Works) -> None:
    made = api.post(
        "/v1/keys", json={"name": "ci", "scopes": ["read"]}, headers={"Idempotency-Key": "k"}
    ).json()
    secret = made["key"]
    listed = next(key for key in api.get("/v1/keys").json()["items"] if key["id"] == made["id"])
    assert "key" not in listed
    again = api.post("/v1/keys", json={"name": "ci", "scopes": ["read"]}, headers={"Idempotency-Key": "k"})
    assert (again.json()["key"], again.headers["idempotent-replayed"]) == (secret, "true")
    tables = ("keys", "idempotency_keys")
    kept = "".join(
        str(row)
        for table in tables
        for row in works.all(f"SELECT t::text, encode(t::text::bytea, 'escape') FROM {table} t")
    )
    assert secret.removeprefix("bfc_") not in kept


def test_a_revoked_key_is_refused_at_once(api: httpx.Client, caller: Any) -> None:
    one = caller("default", "read")
    assert one.client.get("/v1/jobs").status_code == 200
    assert api.delete(f"/v1/keys/{one.key.id}").status_code == 204
    refused = one.client.get("/v1/jobs")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert api.delete(f"/v1/keys/{one.key.id}").status_code == 404


def test_a_lapsed_key_is_refused(api: httpx.Client, running: Running) -> None:
    secret = api.post("/v1/keys", json={"expires_in_seconds": 1}).json()["key"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.get("/v1/jobs", headers=headers).status_code == 200
    time.sleep(1.1)
    running.lab.keys.forget()
    assert api.get("/v1/jobs", headers=headers).status_code == 401


def test_a_wrong_key_is_refused_even_where_none_is_needed(api: httpx.Client) -> None:
    assert api.get("/v1/jobs", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert api.get("/v1/jobs", headers={"Authorization": "Basic dTpw"}).status_code == 401


def test_over_its_rate_a_key_is_told_when_to_come_back(api: httpx.Client, caller: Any) -> None:
    one = caller("limited", "read")
    assert api.patch(f"/v1/projects/{one.project}/quotas", json={"requests_per_minute": 5}).status_code == 200
    replies = [one.client.get("/v1/jobs") for _ in range(7)]
    assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 2
    assert replies[0].headers["ratelimit-policy"] == '"requests";q=5;w=60'
    assert replies[0].headers["ratelimit"].startswith('"requests";r=4;t=')
    over = replies[-1]
    assert 1 <= int(over.headers["retry-after"]) <= 13
    assert over.headers["ratelimit"].startswith('"requests";r=0;')
    assert over.headers["content-type"] == "application/problem+json"
    assert api.get("/v1/jobs").status_code == 200, "others are not limited by it"


def test_a_new_project_comes_with_its_own_first_key(api: httpx.Client, running: Running) -> None:
    made = api.post("/v1/projects", json={"name": "lab-2"}).json()
    headers = {"Authorization": f"Bearer {made['key']['key']}"}
    job = httpx.post(f"{running.url}/v1/jobs", json={"kind": "train", "spec": {}}, headers=headers).json()
    assert job["project"] == made["id"]
    assert api.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert api.post("/v1/projects", json={"name": "lab-2"}).status_code == 409
    assert api.post("/v1/projects", json={"name": "../x"}).status_code == 422


def test_metrics_need_admin_behind_keys(
    guarded: Running, running: Running, caller: Any, tmp_path: Path
) -> None:
    guarded.forget()
    assert httpx.get(f"{running.url}/metrics").status_code == 200
    admin, reader = caller("default", "admin"), caller("default", "read")
    refused = httpx.get(f"{guarded.url}/metrics", headers=reader.client.headers)
    assert refused.status_code == 403
    assert "bfc_jobs" in httpx.get(f"{guarded.url}/metrics", headers=admin.client.headers).text
