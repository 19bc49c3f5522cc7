"""Folders and processes for the tests of `launch`, which start real servers."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from launch.folder import DataFolder
from launch.process import Account, tethered


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user may pass to (pytest's own is closed), short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="bfc-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def folder(open_path: Path) -> Iterator[DataFolder]:
    """A data folder that we hold."""
    made = DataFolder(open_path / "data")
    made.lock()
    yield made
    made.unlock()


@pytest.fixture
def run_python() -> Iterator["Runner"]:
    """Starts Python programs that must not survive the test."""
    runner = Runner()
    yield runner
    runner.end()


class Runner:
    """Starts programs in the test's name."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, code: str, *arguments: object, account: Account | None = None) -> subprocess.Popen[str]:
        """Runs `code` in a Python of its own, as the account."""
        return self.command([sys.executable, "-c", code, *map(str, arguments)], account=account)

    def command(
        self, command: list[str], *, account: Account | None = None, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Runs any command; it inherits nothing of the lab's settings."""
        if account is not None:
            command = tethered(command, account=account)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BFC_")}
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**clean, **(env or {})},
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kills what is left, and closes the pipes."""
        for process in self.started:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.communicate()
