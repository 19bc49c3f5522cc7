"""Processes that are tied to the one that started them."""

import signal
from pathlib import Path

import psutil
import pytest

from launch import process
from tests.launch.conftest import Runner

PARENT = """
import sys, time
from pathlib import Path
from launch import process
child = process.start([sys.executable, "-c", sys.argv[2]], log=Path(sys.argv[1]) / "child.log")
print(child.pid, flush=True)
time.sleep(60)
"""
SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has read yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("code", [SLEEP, STUBBORN])
def test_a_process_dies_with_the_one_that_started_it_however_that_dies(
    run_python: Runner, tmp_path: Path, code: str
) -> None:
    parent = run_python(PARENT, tmp_path, code)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert process.wait_for(lambda: "up" in (tmp_path / "child.log").read_text(), 5)
    parent.kill()
    assert process.wait_for(lambda: not alive(child), 2)


def test_a_program_that_is_not_there_is_named_in_the_log(tmp_path: Path) -> None:
    started = process.start(["/no/such/program"], log=tmp_path / "it.log")
    assert started.wait(5) == 1
    assert process.last_words(tmp_path / "it.log") == "/no/such/program: No such file or directory"


def test_standard_input_is_read_and_closed(tmp_path: Path) -> None:
    started = process.start(["cat"], log=tmp_path / "cat.log", stdin=b"secret\n")
    assert started.wait(5) == 0
    assert (tmp_path / "cat.log").read_bytes() == b"secret\n"


def test_killing_a_process_ends_what_it_started_too(tmp_path: Path, run_python: Runner) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}], start_new_session=True)"
    started = process.start(["python3", "-c", code], log=tmp_path / "it.log")
    assert process.wait_for(lambda: (tmp_path / "it.log").read_text() != "", 5)
    family = process.descendants(started.pid)
    process.kill(started, family)
    assert family
    assert process.wait_for(lambda: not any(alive(one.pid) for one in family), 2)


def test_the_end_of_a_process_is_told_in_words(tmp_path: Path) -> None:
    started = process.start(["sleep", "60"], log=tmp_path / "it.log")
    process.kill(started)
    assert process.how_it_ended(started) == "signal 9 (SIGKILL)"
    started = process.start(["sh", "-c", "exit 3"], log=tmp_path / "it.log")
    started.wait(5)
    assert process.how_it_ended(started) == "status 3"


def test_last_words_are_of_this_life_only(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_text("an old error\n")
    assert process.last_words(log, log.stat().st_size) == ""
    with log.open("a") as more:
        more.write("a new error\n\n")
    assert process.last_words(log, len("an old error\n")) == "a new error"


def test_a_long_log_is_turned_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 10)
    log = tmp_path / "logs" / "it.log"
    for text in ("first and long enough\n", "second\n"):
        process.start(["cat"], log=log, stdin=text.encode()).wait(5)
    assert log.read_text() == "second\n"
    assert log.with_suffix(".log.1").read_text() == "first and long enough\n"


def test_without_a_kernel_that_tells_of_it_the_tether_watches_the_parent(run_python: Runner, tmp_path: Path) -> None:
    watcher = (
        "import runpy, sys; sys.platform = 'other'; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    middle = f"""
import json, os, subprocess, sys, time
terms = json.dumps({{"parent": os.getpid(), "signal": {int(signal.SIGKILL)}}})
subprocess.Popen([sys.executable, "-c", {watcher!r}, {process.TETHER!r}, terms, sys.executable, "-c",
                  "import os, time; print(os.getpid(), flush=True); time.sleep(60)"])
time.sleep(60)
"""
    parent = run_python(middle)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    assert process.wait_for(lambda: not alive(child), 3)


def test_the_reason_is_told_rather_than_the_goodbye(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_text("1 FATAL:  no space left\n1 HINT: make some\n1 LOG:  database system is shut down\n")
    assert process.last_words(log) == "no space left"
