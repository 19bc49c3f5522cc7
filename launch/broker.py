"""The embedded Redis: the bell of the house. It keeps nothing on disk, because the ledger can ring every bell again."""

import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

from launch.addresses import free_port
from launch.programs import broker_program


@dataclass(frozen=True, slots=True)
class Broker:
    """A Redis on loopback behind a password of this start: one URL that redis-py and kombu both understand."""

    program: Path = field(default_factory=broker_program)
    port: int = field(default_factory=free_port)
    databases: int = 1
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """Where it is, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """Runs the server in the foreground with the settings on its standard input, out of sight of `ps`."""
        return [str(self.program), "-"]

    @property
    def settings(self) -> bytes:
        """The configuration file it reads."""
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            'save ""',
            "appendonly no",
            "daemonize no",
            f"databases {self.databases}",
        ]
        return "\n".join([*lines, ""]).encode()

    def is_ready(self) -> bool:
        """True once it answers to the password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as wire:
                wire.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (more := wire.recv(64)):
                    answer += more
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
