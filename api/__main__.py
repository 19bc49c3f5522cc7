"""`python -m api`: the API process."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from dataclasses import replace

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from api.hosts import Gate
from api.observe import set_up_logs
from api.settings import Settings
from store import keys
from store.config import Config, ConfigError, no_keys_yet
from store.engine import connect

BACKLOG = 2048
#: what a client that reads nothing may keep open before the kernel gives up on it
UNREAD_MILLISECONDS = 60_000
MOST_CONNECTIONS = 16_000
#: files and connections of the process itself: databases, logs, children, uploads
OWN_DESCRIPTORS = 200


def main() -> int:
    """Serve until told to stop; 2 and one line on stderr where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the HTTP API.")
    parser.add_argument("--host", help="address to listen on (BFC_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (BFC_PORT, 8321)")
    parser.add_argument("--require-key", action="store_true", help="ask for a key on loopback too")
    given = parser.parse_args()
    try:
        config = _config(given)
        settings = Settings.from_env()
        _refuse_open_doors(Gate(config, settings), config)
        listening = _listen(config)
    except (ConfigError, Refusal) as fault:
        print(f"bfc api: {fault}", file=sys.stderr)
        return 2
    set_up_logs(config.log)
    from api import memory
    from api.app import create_app
    from api.connections import Guarded, served

    Guarded.most = _connections()
    server = uvicorn.Server(served(create_app(config, settings), timeout_graceful_shutdown=5))
    memory.settle()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has stopped cleanly; that is no reason to die of it.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    return 0


class Refusal(Exception):
    """Why the process does not start."""


def _connections() -> int:
    """How many clients may be connected: as many as the system lets the process open, less what it needs itself."""
    try:
        import resource
    except ImportError:  # Windows counts no descriptors
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OWN_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    else:
        allowed = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    return max(1, allowed - OWN_DESCRIPTORS)


def _config(given: argparse.Namespace) -> Config:
    config = Config.from_env()
    return replace(
        config,
        host=given.host or config.host,
        port=config.port if given.port is None else given.port,
        require_key=given.require_key or config.require_key,
    )


def _refuse_open_doors(gate: Gate, config: Config) -> None:
    """Another host than loopback is served only behind keys, or where the operator says it is safe."""
    if not gate.exposed or config.allow_no_auth:
        return
    engine = connect(config, pool_size=1, max_overflow=0, name="bfc-api-start")
    try:
        with engine.connect() as connection:
            some = keys.exist(connection)
    except SQLAlchemyError as fault:
        raise Refusal(
            f"the database cannot be asked for keys ({type(fault).__name__}); run: bfc doctor"
        ) from None
    finally:
        engine.dispose()
    if not some:
        raise Refusal(no_keys_yet(config.host))


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Accepted connections inherit it: one whose client reads nothing is cut, not kept for ever.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    try:
        listening.bind((config.host, config.port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as fault:
        listening.close()
        raise Refusal(f"cannot listen on {config.host}:{config.port}: {fault}") from None
    os.set_inheritable(listening.fileno(), False)
    return listening


if __name__ == "__main__":
    sys.exit(main())
