"""`python -m launch.health api | worker`: status 0 when that process of this machine is well, for a container's check."""

import os
import socket
import sys

import psycopg

from launch.addresses import answers
from launch.ledger import first_line, plain
from store.config import Config

# A worker says something twice a second; so long a silence is not a slow disk.
SILENT_SECONDS = 15


def api_fault(config: Config) -> str:
    """Why the API here is not well; empty when it is."""
    return "" if answers(config.host, config.port) else f"no answer, or not ready, on port {config.port}"


def worker_fault(config: Config) -> str:
    """Why no worker of this machine is well; empty when one is."""
    heard = "SELECT max(heard_at) > now() - make_interval(secs => %s) FROM workers WHERE host = %s AND state <> 'gone'"
    try:
        with psycopg.connect(plain(config.database_url), connect_timeout=5) as connection:
            row = connection.execute(heard, (SILENT_SECONDS, socket.gethostname())).fetchone()
    except psycopg.OperationalError:
        # Unreachable is not dead: a worker trains on while the database is away, and must not be killed for it.
        return ""
    except psycopg.Error as error:
        return first_line(error)
    return "" if row is not None and row[0] else f"no worker of this machine was heard in {SILENT_SECONDS} s"


def main() -> int:
    """Says what is wrong on standard error; 2 for a wrong call."""
    faults = {"api": api_fault, "worker": worker_fault}
    if len(sys.argv) != 2 or sys.argv[1] not in faults:
        print("usage: python -m launch.health api | worker", file=sys.stderr)
        return 2
    fault = faults[sys.argv[1]](Config.from_env(os.environ))
    if fault:
        print(fault, file=sys.stderr)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
