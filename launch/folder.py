"""The data folder: what lies where in it, who owns it, and the lock that keeps it to one server.

    bfc-lab.json   says that the folder is ours
    lock           held by the server that uses it; the kernel lets go of it however that server ends
    server.json    where that server is, while it runs
    password       of the embedded database
    postgres/      the embedded database, of the account it runs as
    run/           its socket, of the same account
    programs/      copies of PostgreSQL's programs, where that account cannot reach the installed ones
    logs/ spool/   what the processes say; what a worker keeps while the database is away
"""

import fcntl
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from launch.errors import FolderError
from launch.process import wait_for

MARK = {"format": 1, "made_by": "bfc-lab"}
PATIENCE_SECONDS = 1.0
# What an empty disk or a desktop puts into a folder by itself.
IGNORED = {"lost+found", ".DS_Store"}


class DataFolder:
    """A data folder, checked and ready for use; `lock` it before writing anything but the lock itself."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock: int | None = None

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def programs(self) -> Path:
        return self.path / "programs"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    def log(self, name: str) -> Path:
        """The file that takes the output of the process `name`."""
        return self.path / "logs" / f"{name}.log"

    def lock(self) -> None:
        """Makes the folder if there is none and takes it; `FolderError` if that cannot be, or another server has it."""
        fresh = self._make()
        try:
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderError(f"the data folder {self.path} is not writable: {error.strerror}") from None
        # A server that was killed a moment ago may not be quite gone.
        if not wait_for(lambda: _take(self._lock), PATIENCE_SECONDS):
            self.unlock()
            raise FolderError(f"another server{self._holder()} is using the data folder {self.path}")
        if fresh:
            (self.path / "bfc-lab.json").write_text(json.dumps(MARK) + "\n")

    def unlock(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def password(self) -> str:
        """The embedded database's password, made at the first call."""
        file = self.path / "password"
        with suppress(FileNotFoundError):
            return file.read_text().strip()
        made = secrets.token_urlsafe(24)
        # Whole or not at all: a cut off password would lock us out of the database.
        half = file.with_suffix(".new")
        half.touch(mode=0o600)
        half.write_text(made + "\n")
        half.replace(file)
        return made

    def announce(self, facts: dict[str, Any]) -> None:
        """Writes down where the server is, for the commands that want to talk to it."""
        half = self.path / "server.json.new"
        half.touch(mode=0o600)
        half.write_text(json.dumps(facts, indent=2) + "\n")
        half.replace(self.path / "server.json")

    def withdraw(self) -> None:
        """Takes the announcement back."""
        (self.path / "server.json").unlink(missing_ok=True)

    def announced(self) -> dict[str, Any]:
        """What the server wrote down; empty when none did."""
        try:
            facts = json.loads((self.path / "server.json").read_text())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def in_use(self) -> bool:
        """Whether a living server holds the folder."""
        try:
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _take(handle)
        finally:
            os.close(handle)

    def _make(self) -> bool:
        """Makes the folder, closed to others; True when it is new. An existing one must be ours or empty."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            known = {entry.name for entry in self.path.iterdir()} - IGNORED
        except OSError as error:
            raise FolderError(f"the data folder {self.path} cannot be used: {error.strerror}") from None
        fresh = not known - {"lock"}
        if not fresh and "bfc-lab.json" not in known:
            raise FolderError(f"{self.path} is not empty and is not a data folder of BFC Lab; choose another with --data")
        if os.access(self.path, os.W_OK) and fresh:
            # As root the database's own account has to pass through; nobody else may look inside.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        return fresh

    def _holder(self) -> str:
        facts = self.announced()
        return f" (process {facts['pid']}, {facts['url']})" if {"pid", "url"} <= facts.keys() else ""


def _take(handle: int | None) -> bool:
    """Takes the lock on an open file; False when another has it."""
    assert handle is not None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
