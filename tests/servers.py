"""PostgreSQL and Redis for the tests: those of BFC_TEST_DATABASE_URL and BFC_TEST_REDIS_URL, else the embedded ones.

They are started once, by the process that collects first; the workers of xdist find their addresses in the environment.
"""

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis

from launch.addresses import free_port
from launch.broker import Broker
from launch.folder import DataFolder
from launch.ledger import postgres_service
from launch.postgres import USER, Postgres
from launch.supervisor import Service, Supervisor

# What is lost in a crash of the tests is not missed.
FAST = {"listen_addresses": "127.0.0.1", "fsync": "off", "full_page_writes": "off", "max_connections": "200"}
# Redis databases from 4 on are the tests'; each process of a test run takes one that nobody has, and so does each site.
FIRST_REDIS = 4


def ensure() -> None:
    """Starts what the environment does not name, until the end of this process."""
    supervisor = Supervisor()
    if "BFC_TEST_DATABASE_URL" not in os.environ:
        os.environ["BFC_TEST_DATABASE_URL"] = _start_postgres(supervisor)
    if "BFC_TEST_REDIS_URL" not in os.environ:
        os.environ["BFC_TEST_REDIS_URL"] = _start_redis(supervisor)
    for service in supervisor.services:
        supervisor.wait_ready(service)
    atexit.register(supervisor.stop)


def _start_postgres(supervisor: Supervisor) -> str:
    folder = DataFolder(_temporary())
    folder.lock()
    port = str(free_port())
    postgres = Postgres(folder, {**FAST, "port": port})
    supervisor.add(postgres_service(postgres))
    return f"postgresql://{USER}:{folder.password()}@127.0.0.1:{port}/postgres"


@contextmanager
def redis_database() -> Iterator[str]:
    """The URL of a Redis database that nobody else uses as long as this is open."""
    server = urlunsplit(urlsplit(os.environ["BFC_TEST_REDIS_URL"])._replace(path="", query=""))
    with redis.Redis.from_url(server, single_connection_client=True) as holder:
        number = _hold(holder)
        if number is not None:
            holder.select(number)
            holder.flushdb()
            yield f"{server}/{number}"
            return
    with another_redis() as url:
        yield url


@contextmanager
def another_redis() -> Iterator[str]:
    """A Redis of this process alone, where the common one has no database left."""
    supervisor = Supervisor()
    try:
        url = _start_redis(supervisor)
        for service in supervisor.services:
            supervisor.wait_ready(service)
        yield f"{url}/0"
    finally:
        supervisor.stop()


def _start_redis(supervisor: Supervisor) -> str:
    # One database for each process of a test run on the largest of machines.
    broker = Broker(databases=512)
    supervisor.add(
        Service(
            name="redis",
            command=lambda: broker.command,
            log=_temporary() / "redis.log",
            stdin=broker.settings,
            is_ready=broker.is_ready,
        )
    )
    return broker.url.rpartition("/")[0]


def _temporary() -> Path:
    made = Path(tempfile.mkdtemp(prefix="bfc-test-"))
    made.chmod(0o755)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made / "data"


def _hold(holder: redis.Redis) -> int | None:
    """Takes a database by the name of a connection, which ends with this process however that ends; None: all are taken.

    Two processes that shared one would flush each other's bells, and their workers answer them.
    """
    free = range(FIRST_REDIS, int(holder.config_get("databases")["databases"]))
    for number in random.sample(free, len(free)):
        name = f"bfc-tests-{number}"
        holder.client_setname(name)
        if sum(one["name"] == name for one in holder.client_list()) == 1:
            return number
        # Of two that named themselves at once, neither has it.
        holder.client_setname("")
    return None
