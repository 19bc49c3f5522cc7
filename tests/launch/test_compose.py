"""docker-compose.yml and Dockerfile without an engine: the schema, the promises, and each command as a local process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from launch import process
from launch.addresses import free_port
from launch.folder import DataFolder
from launch.postgres import Postgres
from launch.programs import broker_program, postgres_programs

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SECONDS = {"s": 1, "m": 60}


def seconds(duration: str) -> int:
    """A duration of a compose file."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def test_the_file_is_valid_by_the_schema_of_the_specification() -> None:
    schema = json.loads((Path(__file__).parent / "vendor" / "compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_only_the_api_is_published_and_only_on_loopback() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published.pop("api") == ["127.0.0.1:${BFC_PORT:-8321}:8321"]
    assert not any(published.values())


def test_no_service_runs_as_root_and_ours_may_write_nothing_but_their_volume() -> None:
    for name, service in SERVICES.items():
        assert re.match(r"^(postgres|redis|10001:10001)$", service["user"]), name
        if "build" in service:
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


def test_every_service_that_stays_has_a_health_check_and_what_waits_for_it_waits_for_health() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name != "migrate")
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_healthy" if "healthcheck" in SERVICES[needed] else "service_completed_successfully"
            assert how == {"condition": wanted}


def test_a_worker_is_given_longer_to_stop_than_the_supervisor_gives_it() -> None:
    from launch.serve import WORKER_GRACE_SECONDS

    assert seconds(SERVICES["worker"]["stop_grace_period"]) > 2 * WORKER_GRACE_SECONDS


def test_every_build_target_exists_and_the_api_image_gets_no_torch() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= set(stages)
    assert re.search(r"AS build-api\nRUN pip install -c constraints.txt '\.\[server\]'", DOCKERFILE)
    extras = _extras()
    assert not any(requirement.startswith("torch") for requirement in _closure("server", extras))
    assert any(requirement.startswith("torch") for requirement in _closure("worker", extras))


def test_what_the_images_are_built_from_is_let_through() -> None:
    import tomllib

    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {*rooms, "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} == let_through


def test_the_commands_run_in_their_order_become_healthy_and_stop_in_time(local: "Local") -> None:
    order = TopologicalSorter({name: set(service.get("depends_on", {})) for name, service in SERVICES.items()})
    names = [name for name in order.static_order() if "profiles" not in SERVICES[name]]
    assert names[-1] in ("api", "worker")
    for name in names:
        for needed, how in SERVICES[name].get("depends_on", {}).items():
            assert local.has(needed, how["condition"]), (name, needed, local.words(needed))
        local.start(name)
    for name in names:
        if "healthcheck" in SERVICES[name]:
            assert local.becomes_healthy(name), (name, local.words(name))
    assert httpx.get(f"http://127.0.0.1:{local.ports['8321']}/readyz").json()["status"] == "ready"
    for name in reversed(names):
        local.stop(name)


class Local:
    """Runs services of the compose file as processes of this machine, each address turned into one here."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = DataFolder(place / "postgres")
        self.folder.lock()
        # What the image's entrypoint does before it runs the command.
        self.postgres = Postgres(self.folder)
        (self.folder.path / "password").write_text("bfc")
        self.postgres.prepare()
        self.ports = {port: str(free_port()) for port in ("5432", "6379", "8321")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        # Beside a system's redis-server, or brought into the venv by the wheel.
        redis_cli = shutil.which("redis-cli") or str(Path(sys.executable).with_name("redis-cli"))
        self.programs = {
            "postgres": [str(self.postgres.programs / "postgres"), "-D", str(self.postgres.cluster), "-k", ""],
            "redis-server": [str(broker_program()), "--port", self.ports["6379"]],
            "pg_isready": [str(postgres_programs() / "pg_isready"), "-h", "127.0.0.1", "-p", self.ports["5432"]],
            "redis-cli": [redis_cli, "-p", self.ports["6379"]],
            "bfc": [sys.executable, "-m", "bfc_client"],
            "python": [sys.executable],
        }
        self.programs["postgres"] += ["-c", "listen_addresses=127.0.0.1", "-p", self.ports["5432"]]

    def start(self, name: str) -> None:
        """Runs the service's own command in its own environment."""
        if name == "migrate":
            self._make_database()  # which the image's entrypoint does too
        account = self.postgres.account if name == "postgres" else None
        self.running[name] = process.start(
            self.command(SERVICES[name]["command"]),
            log=self.place / "logs" / f"{name}.log",
            account=account,
            env=self.environment(name),
        )

    def command(self, words: list[str]) -> list[str]:
        """The command with its program as found here."""
        return [*self.programs[words[0]], *words[1:]]

    def environment(self, name: str) -> dict[str, str]:
        """The service's environment, interpolated as compose would, with hosts and folders of this machine."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BFC_", "PG", "POSTGRES_"))}
        told = SERVICES[name].get("environment", {})
        for pattern, here in (
            (r"\$\{\w+:-(\w*)\}", r"\1"),
            ("@postgres:5432", f"@127.0.0.1:{self.ports['5432']}"),
            ("redis:6379", f"127.0.0.1:{self.ports['6379']}"),
        ):
            told = {key: re.sub(pattern, here, value) for key, value in told.items()}
        ours = {"BFC_DATA": str(self.place / name), "BFC_PORT": self.ports["8321"], "BFC_HOST": "127.0.0.1"}
        return {**inherited, **told, **{key: value for key, value in ours.items() if key in told}}

    def becomes_healthy(self, name: str) -> bool:
        """Runs the service's own health check until it passes."""
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = self.command(check)
        until = time.monotonic() + 60
        while time.monotonic() < until and self.running[name].poll() is None:
            done = subprocess.run(command, env=self.environment(name), capture_output=True, timeout=30, check=False)
            if done.returncode == 0:
                return True
            time.sleep(0.3)
        return False

    def has(self, name: str, condition: str) -> bool:
        """Whether what a service waits for has come about."""
        if condition == "service_completed_successfully":
            return self.running[name].wait(60) == 0
        return self.becomes_healthy(name)

    def stop(self, name: str) -> None:
        """Sends the service's stop signal; it must end within its grace."""
        service = SERVICES[name]
        process.ask(self.running[name], signal.Signals[service.get("stop_signal", "SIGTERM")])
        self.running[name].wait(seconds(service.get("stop_grace_period", "10s")))

    def words(self, name: str) -> str:
        """What a service said."""
        return (self.place / "logs" / f"{name}.log").read_text()[-2000:]

    def end(self) -> None:
        """Kills what is left."""
        for name, one in self.running.items():
            process.kill(one, process.descendants(one.pid) if name != "postgres" else ())
        self.folder.unlock()

    def _make_database(self) -> None:
        import psycopg

        url = f"postgresql://bfc:bfc@127.0.0.1:{self.ports['5432']}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bfc")


@pytest.fixture
def local(open_path: Path) -> Iterator[Local]:
    """The services' own machine."""
    made = Local(open_path)
    yield made
    made.end()


def _extras() -> dict[str, list[str]]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return extras


def _closure(extra: str, extras: dict[str, list[str]]) -> list[str]:
    """All requirements that an extra brings, through the extras of ours that it names."""
    found = []
    for requirement in extras[extra]:
        if ours := re.fullmatch(r"bfc-lab\[([\w,]+)\]", requirement):
            for name in ours.group(1).split(","):
                found += _closure(name, extras)
        else:
            found.append(requirement)
    return found
