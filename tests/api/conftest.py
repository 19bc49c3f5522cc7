"""The API as the app itself, behind a real socket: streams, ranges and slow clients are part of what is tested."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from api.app import create_app
from api.connections import served
from api.lab import Lab
from api.settings import Settings
from store import keys
from store.config import Config
from store.engine import libpq_url
from tests.api.works import Works


@dataclass
class Running:
    """An app served in a thread of this process."""

    app: FastAPI
    url: str

    @property
    def lab(self) -> Lab:
        lab: Lab = self.app.state.lab
        return lab

    def forget(self) -> None:
        """After the tables were emptied: nothing remembered is true any more."""
        self.lab.keys.forget()
        self.lab._local = None
        self.lab.rates._buckets.clear()


def serve(config: Config, settings: Settings) -> Iterator[Running]:
    """The app on a free port until the iterator is closed."""
    app = create_app(config, settings)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(served(app, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Running(app, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Webhooks may go to this machine in tests."""
    return Settings(allow_private_webhooks=True, max_dataset_bytes=8 << 20)


@pytest.fixture(scope="session")
def server(
    session_engine: Engine, broker_url: str, tmp_path_factory: pytest.TempPathFactory, settings: Settings
) -> Iterator[Running]:
    """One server for all tests of the session."""
    yield from serve(config_of(session_engine, broker_url, tmp_path_factory.mktemp("api")), settings)


def config_of(engine: Engine, broker_url: str, data: Path) -> Config:
    """Settings that point a server at this database; it takes no worker on paper for dead."""
    url = libpq_url(engine.url.render_as_string(hide_password=False))
    patient = Config(heartbeat_seconds=3600.0)
    return replace(patient, database_url=url, redis_url=broker_url, data=data, spool=data / "spool")


@pytest.fixture
def running(server: Running, database: Engine) -> Iterator[Running]:
    """The server on an empty database."""
    server.forget()
    yield server
    server.forget()


@pytest.fixture
def api(running: Running) -> Iterator[httpx.Client]:
    """A client without a key, which loopback does not need."""
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


@pytest.fixture
def works(database: Engine, api: httpx.Client) -> Works:
    """What a worker would do, on paper, in the project that `api` calls for."""
    with database.begin() as connection:
        return Works(database, keys.project(connection))


@dataclass
class Caller:
    """A key and its client."""

    project: str
    key: keys.NewKey
    client: httpx.Client


@pytest.fixture
def caller(running: Running, database: Engine) -> Iterator[Any]:
    """Makes callers: `caller("other", "read")` holds a key with that scope of that project."""
    made: list[httpx.Client] = []

    def make(project: str, *scopes: str) -> Caller:
        with database.begin() as connection:
            id_ = keys.project(connection, project)
            key = keys.create(connection, id_, "test", scopes)
        headers = {"Authorization": f"Bearer {key.secret}"}
        client = httpx.Client(base_url=running.url, headers=headers, timeout=60)
        made.append(client)
        return Caller(id_, key, client)

    yield make
    for client in made:
        client.close()
