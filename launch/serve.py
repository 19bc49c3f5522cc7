"""`bfc serve`: the whole lab under one supervisor, in one data folder."""

import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from launch import ledger
from launch.addresses import address, answers, check_address, reach_broker
from launch.broker import Broker
from launch.devices import gpu_count, gpu_names, torch_build
from launch.errors import LaunchError
from launch.folder import DataFolder
from launch.postgres import Postgres
from launch.programs import postgres_programs
from launch.supervisor import Service, Stopped, Supervisor
from store.config import Config, is_loopback, no_keys_yet

# A worker that is asked to stop waits for its child, which waits for a checkpoint.
API_GRACE_SECONDS, WORKER_GRACE_SECONDS = 10.0, 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What `bfc serve` was asked for. `devices` empty: every GPU found, and `workers` on the CPU."""

    data: Path
    host: str
    port: int
    workers: int = 1
    devices: tuple[str, ...] = ()
    require_key: bool = False


def serve(options: Options) -> None:
    """Runs the lab until it is told to stop; what cannot work is found, if possible, before anything is started."""
    folder, config = DataFolder(options.data), Config.from_env()
    port = check_address(options.host, options.port)
    given = _reach_given()
    broker = None if given["redis_url"] else Broker()
    embedded = not given["database_url"]
    if embedded:
        postgres_programs()
        _refuse_open_doors(options.host, config, folder)
    folder.lock()
    supervisor = Supervisor(json_log=os.environ.get("BFC_LOG") == "json")
    supervisor.listen()
    postgres = None
    try:
        postgres = Postgres(folder) if embedded else None
        with suppress(Stopped):
            urls = given | _start_floor(supervisor, folder, postgres, broker)
            env = _environment(options, port, folder, urls)
            ledger.migrate(urls["database_url"], may_upgrade=postgres is not None)
            _start_lab(supervisor, options, port, folder, env)
            url = address(options.host, port)
            folder.announce({"pid": os.getpid(), "url": url, "started_at": datetime.now(UTC).isoformat(), **urls})
            print(f"BFC Lab is ready at {url}", flush=True)
            supervisor.watch()
    except LaunchError:
        # A Ctrl-C while the database is being made ends that too, and is no fault of it.
        if not supervisor.stopping:
            raise
    finally:
        supervisor.stop()
        if postgres is not None:
            postgres.clear()
        folder.withdraw()
        folder.unlock()


def _refuse_open_doors(host: str, config: Config, folder: DataFolder) -> None:
    """Says what the API would, before anything is made: another host than loopback has to have keys."""
    if not is_loopback(host) and not config.allow_no_auth and not folder.postgres.exists():
        raise LaunchError(no_keys_yet(host))


def _reach_given() -> dict[str, str]:
    """The database and the broker of the environment, both reached; empty where they are to be embedded."""
    given = {"database_url": os.environ.get("BFC_DATABASE_URL", ""), "redis_url": os.environ.get("BFC_REDIS_URL", "")}
    if given["database_url"]:
        ledger.reach_database(given["database_url"])
    if given["redis_url"]:
        reach_broker(given["redis_url"])
    return given


def _start_floor(
    supervisor: Supervisor, folder: DataFolder, postgres: Postgres | None, broker: Broker | None
) -> dict[str, str]:
    """Starts the embedded database and broker, side by side; returns where they are."""
    urls = {}
    if broker is not None:
        urls["redis_url"] = broker.url
        supervisor.add(_redis(broker, folder))
    if postgres is not None:
        supervisor.add(ledger.postgres_service(postgres))
        urls["database_url"] = postgres.url
    for service in supervisor.services:
        supervisor.wait_ready(service)
    return urls


def _start_lab(
    supervisor: Supervisor, options: Options, port: int, folder: DataFolder, env: Mapping[str, str]
) -> None:
    """Starts API and workers side by side; returns when the API is ready."""
    api = Service(
        name="api",
        command=lambda: room("api", "--host", options.host, "--port", str(port)),
        log=folder.log("api"),
        env=env,
        is_ready=lambda: answers(options.host, port),
        grace_seconds=API_GRACE_SECONDS,
    )
    supervisor.add(api)
    devices = options.devices or tuple(f"cuda:{index}" for index in range(gpu_count()))
    names = [(f"worker-{index}", "cpu") for index in range(1, options.workers + 1)] if not options.devices else []
    names += [(f"worker-{device.replace(':', '-')}", device) for device in devices]
    for name, device in names:
        supervisor.add(_worker(name, device, folder, env))
    supervisor.wait_ready(api)


def _worker(name: str, device: str, folder: DataFolder, env: Mapping[str, str]) -> Service:
    return Service(
        name=name,
        command=lambda: room("worker", "--device", device, "--name", name),
        log=folder.log(name),
        env=env,
        grace_seconds=WORKER_GRACE_SECONDS,
    )


def _redis(broker: Broker, folder: DataFolder) -> Service:
    return Service(
        name="redis",
        command=lambda: broker.command,
        log=folder.log("redis"),
        stdin=broker.settings,
        is_ready=broker.is_ready,
        stop_signal=signal.SIGINT,
    )


def _environment(options: Options, port: int, folder: DataFolder, urls: Mapping[str, str]) -> dict[str, str]:
    """What API and workers are told."""
    env = {
        **os.environ,
        "BFC_DATABASE_URL": urls["database_url"],
        "BFC_REDIS_URL": urls["redis_url"],
        "BFC_DATA": str(folder.path),
        "BFC_SPOOL": os.environ.get("BFC_SPOOL") or str(folder.spool),
        "BFC_HOST": options.host,
        "BFC_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    return {**env, "BFC_REQUIRE_KEY": "1"} if options.require_key else env


def room(name: str, *arguments: str) -> list[str]:
    """The command of one of our processes. -P: a folder `api` where the user happens to stand is not ours."""
    return [sys.executable, "-P", "-m", name, *arguments]


def become(name: str, env: Mapping[str, str], *arguments: str) -> NoReturn:
    """Turns this process into one of ours, so that signals reach it directly."""
    os.execve(sys.executable, room(name, *arguments), dict(env))  # noqa: S606 - our own program, no shell


def surroundings(data: Path) -> dict[str, str]:
    """The environment of a single process: what is set, else the server on `data`, else the defaults; all of it reached."""
    folder = DataFolder(data)
    facts = folder.announced() if folder.in_use() else {}
    settings = Config.from_env()
    database_url = os.environ.get("BFC_DATABASE_URL") or facts.get("database_url") or settings.database_url
    redis_url = os.environ.get("BFC_REDIS_URL") or facts.get("redis_url") or settings.redis_url
    ledger.reach_database(database_url)
    reach_broker(redis_url)
    ledger.check_schema(database_url)
    return {
        **os.environ,
        "BFC_DATABASE_URL": database_url,
        "BFC_REDIS_URL": redis_url,
        "BFC_DATA": str(folder.path),
        "PYTHONUNBUFFERED": "1",
    }


def check_device(name: str) -> str:
    """The device's name; `LaunchError` for one that no worker knows, and for a GPU that is not here."""
    if name == "cpu":
        return name
    if not re.fullmatch(r"cuda:\d+", name):
        raise LaunchError(f"{name!r} is not a device; accepted: cpu, cuda:0, cuda:1, …")
    if torch_build() == "cpu":
        raise LaunchError(f"no device {name} here: the torch that is installed is built for the CPU alone")
    if int(name.removeprefix("cuda:")) >= (found := len(gpu_names())):
        raise LaunchError(f"no device {name} here: nvidia-smi knows {found}")
    return name
