"""Who may speak to a server that is open without keys, and what its replies carry."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.hosts import Gate
from api.problems import NotAllowed
from api.settings import Settings
from store.config import Config

LOCAL = Config()
EXPOSED = replace(LOCAL, host="0.0.0.0")


def gate(config: Config, **settings: Any) -> Gate:
    return Gate(config, Settings(**settings))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8321", "localhost:8321", "LOCALHOST", "[::1]:8321", "lab.localhost"]
)
def test_loopback_names_are_taken(host: str) -> None:
    gate(LOCAL).check("GET", {b"host": host.encode()})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "192.168.0.1",
        "a b",
        "[::1",
        "0.0.0.0",
    ],
)
def test_names_that_could_be_rebound_are_not(host: str) -> None:
    with pytest.raises(NotAllowed, match="Host"):
        gate(LOCAL).check("GET", {b"host": host.encode()})


def test_names_can_be_added(api: httpx.Client) -> None:
    gate(LOCAL, allowed_hosts=("lab.example.org",)).check("GET", {b"host": b"lab.example.org:80"})
    assert api.get("/v1/jobs", headers={"Host": "evil.example"}).status_code == 403
    assert api.get("/healthz", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://"])
def test_posts_of_foreign_pages_are_refused(api: httpx.Client, origin: str) -> None:
    body = {"kind": "train", "spec": {}}
    assert api.post("/v1/jobs", json=body, headers={"Origin": origin}).status_code == 403
    assert api.get("/v1/jobs").json()["items"] == []


def test_posts_of_the_own_page_pass(api: httpx.Client) -> None:
    origin = str(api.base_url).rstrip("/")
    assert (
        api.post("/v1/jobs", json={"kind": "train", "spec": {}}, headers={"Origin": origin}).status_code
        == 201
    )
    cross = api.post("/v1/jobs", json={"kind": "train", "spec": {}}, headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403


def test_no_reply_allows_another_origin_to_read_it(api: httpx.Client) -> None:
    reply = api.get("/v1/jobs", headers={"Origin": "http://evil.example"})
    assert not any(name.startswith("access-control") for name in reply.headers)


def test_keys_are_needed_wherever_others_can_reach_it() -> None:
    assert gate(LOCAL).trusts("127.0.0.1")
    assert not gate(LOCAL).trusts("192.168.0.7")
    assert not gate(replace(LOCAL, require_key=True)).trusts("127.0.0.1")
    assert not gate(EXPOSED).trusts("127.0.0.1")
    assert gate(replace(EXPOSED, allow_no_auth=True)).trusts("192.168.0.7")
    assert not gate(replace(EXPOSED, allow_no_auth=True, require_key=True)).trusts("192.168.0.7")


def test_a_caller_that_a_proxy_speaks_for_is_not_local(api: httpx.Client) -> None:
    assert api.get("/v1/jobs", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 401


def test_without_keys_only_loopback_is_served(config: Config) -> None:
    environment = {"BFC_DATABASE_URL": config.database_url, "BFC_REDIS_URL": config.redis_url, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "api", "--host", "0.0.0.0", "--port", "0"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "bfc key create" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_clear_line(config: Config) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {"BFC_DATABASE_URL": config.database_url, "BFC_REDIS_URL": config.redis_url, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-m", "api", "--port", port],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert port in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("path", ["/", "/v1/jobs", "/docs", "/nowhere"])
def test_every_reply_carries_the_security_headers(api: httpx.Client, path: str) -> None:
    headers = api.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy
    assert "server" not in headers


def test_the_page_and_the_docs_need_no_other_host(api: httpx.Client) -> None:
    import re

    for path in ("/", "/docs"):
        page = api.get(path)
        assert page.status_code == 200
        for url in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert not url.startswith(("http", "//")), url
            if not url.startswith("#"):
                assert api.get(url).status_code == 200, url
    assert api.get("/favicon.ico").headers["content-type"].startswith("image/")


@pytest.mark.parametrize(
    "path",
    [
        "../pyproject.toml",
        "..%2fpyproject.toml",
        "%2e%2e/store/config.py",
        "__init__.py",
        "/etc/passwd",
        "js",
        "a%00b",
    ],
)
def test_no_path_leaves_the_pages_folder(running: Any, path: str) -> None:
    with httpx.Client() as client:
        request = client.build_request("GET", running.url + "/web/")
        request.url = request.url.copy_with(raw_path=b"/web/" + path.encode())
        assert client.send(request).status_code == 404


def test_headers_cannot_be_injected(api: httpx.Client) -> None:
    reply = api.get("/v1/jobs", headers={"X-Request-ID": "abc-12345"})
    assert reply.headers["x-request-id"] == "abc-12345"
    reply = api.get("/v1/jobs", headers={"X-Request-ID": "a b<>"})
    assert reply.headers["x-request-id"] != "a b<>"
    reply = api.get("/v1/jobs/x%0d%0aSet-Cookie:%20a=b")
    assert "set-cookie" not in reply.headers
