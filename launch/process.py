"""One process that the lab starts: tied to us, in a session of its own, with its output in a file."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TETHER = str(Path(__file__).with_name("tether.py"))
LOG_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Account:
    """The user a process runs as; `search` lets it look through folders that are closed to it."""

    uid: int
    gid: int
    search: bool = False


def start(
    command: Sequence[str],
    *,
    log: Path,
    death_signal: signal.Signals = signal.SIGKILL,
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> subprocess.Popen[bytes]:
    """Starts `command`, which gets `death_signal` when we die, however we die.

    Call it from the main thread: Linux sends that signal when the *thread* that started the process ends. The session of
    its own keeps a Ctrl-C in our terminal from reaching the process before we have stopped what depends on it.
    """
    _turn_over(log)
    with log.open("ab") as out:
        process = subprocess.Popen(
            tethered(command, death_signal, account),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.close()
    return process


def tethered(
    command: Sequence[str], death_signal: signal.Signals = signal.SIGKILL, account: Account | None = None
) -> list[str]:
    """`command` as one that runs as the account and gets `death_signal` when we die."""
    terms: dict[str, object] = {"parent": os.getpid(), "signal": int(death_signal)}
    if account is not None:
        terms |= {"uid": account.uid, "gid": account.gid, "search": account.search}
    return [sys.executable, "-I", "-S", TETHER, json.dumps(terms), *command]


def kill(process: subprocess.Popen[bytes], family: Sequence[psutil.Process] = ()) -> None:
    """Ends a process at once, and those of its `family` that are left.

    psutil compares start times, so a number that was given to a stranger meanwhile is left alone.
    """
    if process.poll() is None:
        process.kill()
        process.wait()
    for left in family:
        with suppress(psutil.NoSuchProcess):
            left.kill()


def ask(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Sends a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        process.send_signal(number)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below `pid`, at this moment."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """`signal 9 (SIGKILL)` or `status 1`."""
    code = process.returncode
    if code is None or code >= 0:
        return f"status {code}"
    return f"signal {-code} ({signal.Signals(-code).name})"


def last_words(log: Path, since: int = 0) -> str:
    """The last line that says something in `log` past `since` bytes, and why it ended if one does; else empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 16_384))
            said = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    # PostgreSQL says goodbye after it has said why.
    reasons = [line.partition("FATAL:")[2].strip() for line in said if "FATAL:" in line]
    return (reasons or said or [""])[-1]


def wait_for(check: Callable[[], bool], seconds: float) -> bool:
    """Asks until the answer is true; False when it never was."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _turn_over(log: Path) -> None:
    """Begins a new log when the old one is long; the one before stays beside it."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
