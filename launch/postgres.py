"""The embedded PostgreSQL: the programs of a wheel, run by us, one cluster in the data folder.

The wheel's own Python wrapper is not used: as root it adds a user and opens parent folders, its lock shuts out other
users, and it takes stale process numbers for live servers.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from launch.errors import FolderError, ServerError
from launch.folder import DataFolder
from launch.process import Account, tethered, wait_for
from launch.programs import postgres_account, postgres_major, postgres_programs, reachable

USER = DATABASE = "bfc"
# sun_path holds 108 bytes on Linux and 104 elsewhere, the socket's own name included.
SOCKET_FOLDER_BYTES = 100 - len("/.s.PGSQL.5432")
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    # Short queries of one lab: neither pays, and parallel ones need more of /dev/shm than containers have.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Postgres:
    """The cluster in `folder`, which we hold. `prepare` it, run `command` as `account`, wait for `is_ready`."""

    def __init__(self, folder: DataFolder, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.settings = {**SETTINGS, **(settings or {})}
        self.cluster = folder.postgres
        self.account = postgres_account(folder)
        self.installed = postgres_programs()

    @cached_property
    def programs(self) -> Path:
        """The folder of `postgres` and `initdb`, where the account can reach them."""
        return reachable(self.installed, self.folder, self.account)

    @cached_property
    def sockets(self) -> Path:
        """The folder of the socket: in the data folder where that path is short enough, else a temporary one."""
        inside = self.folder.run / "pg"
        if len(os.fsencode(inside)) <= SOCKET_FOLDER_BYTES:
            return inside
        note = self.folder.path / "socket-folder"
        with suppress(FileNotFoundError):
            left = Path(note.read_text().strip())
            if left.name.startswith("bfc-") and left.parent == Path(tempfile.gettempdir()):
                shutil.rmtree(left, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix="bfc-"))
        note.write_text(f"{made}\n")
        return made

    @property
    def url(self) -> str:
        """Where the database is, for libpq and psycopg, password included."""
        place = quote(str(self.sockets), safe="")
        port = self.settings.get("port", "5432")
        return f"postgresql://{USER}:{self.folder.password()}@/{DATABASE}?host={place}&port={port}"

    @property
    def command(self) -> list[str]:
        """Runs the server in the foreground."""
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        return [str(self.programs / "postgres"), "-D", str(self.cluster), "-k", str(self.sockets), *settings]

    def prepare(self) -> None:
        """Makes the cluster if there is none, and clears away what a killed server left."""
        self.check_major()
        _own(self.folder.run, self.account)
        _own(self.sockets, self.account)
        if not self.cluster.exists():
            self._initialise()
        _own(self.cluster, self.account)
        self._end_leftovers()

    def check_major(self) -> None:
        """`FolderError` when the cluster is of another PostgreSQL than the one installed."""
        try:
            found = (self.cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return
        ours = postgres_major(self.installed)
        if found != str(ours):
            raise FolderError(
                f"the database in {self.folder.path} is of PostgreSQL {found} and this installation has {ours}: with the "
                f"installation that made it run 'bfc backup FILE', then with this one 'bfc restore FILE --data NEW-FOLDER'"
            )

    def is_ready(self) -> bool:
        """True once it answers and the database is there, which the first call makes; `FolderError` for a wrong password."""
        server = self.url.replace(f"@/{DATABASE}?", "@/postgres?")
        try:
            with psycopg.connect(server, connect_timeout=2, autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
                if not found:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise FolderError(f"the password in {self.folder.path / 'password'} is not that of its database") from None
            return False
        return True

    def clear(self) -> None:
        """Removes the folder of the socket where it had to lie outside the data folder."""
        if self.sockets.parent != self.folder.run:
            shutil.rmtree(self.sockets, ignore_errors=True)
            (self.folder.path / "socket-folder").unlink(missing_ok=True)

    def _initialise(self) -> None:
        """initdb beside the final place and one rename: a crash leaves no half of a cluster."""
        half = self.cluster.with_suffix(".new")
        shutil.rmtree(half, ignore_errors=True)
        _own(half, self.account)
        password = self.folder.run / "password"
        password.touch(mode=0o600)
        password.write_text(self.folder.password())
        _own(password, self.account)
        command = [
            *(str(self.programs / "initdb"), "-D", str(half), "--username", USER, "--pwfile", str(password)),
            *("--auth", "scram-sha-256", "--data-checksums", "--encoding", "UTF8"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        ]
        tied = tethered(command, account=self.account)
        done = subprocess.run(tied, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
        password.unlink()
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
            wrong = [line for line in said if "error" in line.lower()] or said
            raise ServerError(f"the database cannot be made in {self.folder.path}: {wrong[0]}")
        half.rename(self.cluster)

    def _end_leftovers(self) -> None:
        """Waits for what a killed server left, which is stopping, and removes its stale lock files.

        We hold the lock of the data folder, so those processes have nobody left. PostgreSQL itself would take any process
        that was given the old number, and any zombie, for a live server; and to remove them while one of its processes
        lives would be the end of the data.
        """
        stale = [self.cluster / "postmaster.pid", *self.sockets.glob(".s.PGSQL.*")]
        if not any(file.exists() for file in stale):
            return
        if not wait_for(lambda: not self._serving(), 5):
            self._kill_leftovers()
        for file in stale:
            file.unlink(missing_ok=True)

    def _kill_leftovers(self) -> None:
        for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 2)):
            for process in self._serving():
                with suppress(psutil.Error):
                    process.send_signal(number)
            if wait_for(lambda: not self._serving(), seconds):
                return
        pids = ", ".join(str(process.pid) for process in self._serving())
        raise ServerError(f"an old PostgreSQL (processes {pids}) on {self.cluster} does not end")

    def _serving(self) -> list[psutil.Process]:
        """The processes of a server on our cluster: all of them work in it, and change their names but not that."""
        place, serving = str(self.cluster.resolve()), []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.cwd() == place:
                    serving.append(process)
        return serving


def _own(path: Path, account: Account | None) -> None:
    """Makes `path` a closed folder (or leaves it the file it is) of the account."""
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
    path.chmod(0o700 if path.is_dir() else 0o600)
    if account is not None and path.stat().st_uid != account.uid:
        os.chown(path, account.uid, account.gid)
