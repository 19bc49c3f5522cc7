"""A few small programs, kept alive."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import process
from launch.errors import ServerError
from launch.supervisor import Service, Stopped, Supervisor

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def service(tmp_path: Path, name: str, code: str, is_ready: Callable[[], bool] = lambda: True) -> Service:
    """A Python program as a service."""
    return Service(
        name=name,
        command=lambda: [sys.executable, "-c", code],
        log=tmp_path / f"{name}.log",
        is_ready=is_ready,
        grace_seconds=2,
    )


def watch_until(supervisor: Supervisor, done: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Runs the supervisor's loop until something is true; says whether it became so."""
    came = []

    def wait() -> None:
        came.append(process.wait_for(done, seconds))
        supervisor.stopping = True

    waiting = threading.Thread(target=wait)
    waiting.start()
    supervisor.watch()
    waiting.join()
    return came == [True]


def test_what_dies_is_started_again_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", "print('hello', flush=True);" + SLEEP)
    supervisor.add(it)
    assert it.running is not None
    first = it.running.pid
    assert process.wait_for(lambda: it.last_words() == "hello", 5)
    it.running.kill()
    assert watch_until(supervisor, lambda: it.running is not None and it.running.pid != first)
    supervisor.stop()
    said = capsys.readouterr().err
    assert "it ended with signal 9 (SIGKILL), saying: hello; starting it again in 0.2 s" in said


def test_each_failure_doubles_the_delay_up_to_a_bound_and_a_steady_life_forgives(tmp_path: Path) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", "raise SystemExit(3)")
    delays = []
    for _ in range(10):
        supervisor._plan_start(it, "it ended")
        assert it.due_at is not None
        delays.append(round(it.due_at - time.monotonic(), 1))
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-2:] == [10.0, 10.0]
    it.start()
    assert it.running is not None
    it.running.wait(5)
    it.started_at -= 3600
    supervisor._look_after(it)
    assert it.failures == 1


def test_what_is_killed_again_and_again_is_back_within_seconds(tmp_path: Path) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", SLEEP)
    it.failures = 5000
    it.start()
    assert it.running is not None
    it.running.kill()
    it.running.wait(5)
    supervisor._look_after(it)
    assert it.due_at is not None
    assert it.due_at - time.monotonic() <= 2.0


def test_a_service_that_ends_before_it_is_ready_stops_the_start_with_its_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", "import sys; sys.exit('the key is missing')", lambda: False)
    supervisor.add(it)
    with pytest.raises(ServerError, match="it does not start: the key is missing"):
        supervisor.wait_ready(it)
    supervisor.stop()


def test_a_service_that_never_answers_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", SLEEP, lambda: False)
    supervisor.add(it)
    with pytest.raises(ServerError, match="it does not answer after 0 s"):
        supervisor.wait_ready(it, 0.1)
    supervisor.stop()


def test_a_stop_during_the_start_is_heard(tmp_path: Path) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", SLEEP, lambda: False)
    supervisor.add(it)
    supervisor.stopping = True
    with pytest.raises(Stopped):
        supervisor.wait_ready(it)
    supervisor.stop()
    assert it.running is None


def test_those_that_work_stop_before_what_they_stand_on(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(number, frame):\n"
        "    time.sleep({delay}); open({told!r}, 'a').write('{name} '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); signal.signal(signal.SIGINT, end)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    supervisor = Supervisor()
    floor = service(tmp_path, "floor", code.format(delay=0, told=str(told), name="floor"))
    floor.stop_signal = signal.SIGINT
    work = service(tmp_path, "work", code.format(delay=0.3, told=str(told), name="work"))
    for one in (floor, work):
        supervisor.add(one)
        assert process.wait_for(lambda one=one: one.last_words() == "up", 5)  # type: ignore[misc]
    supervisor.stop()
    assert told.read_text() == "work floor "


def test_one_that_ignores_the_signal_is_killed_after_its_grace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(json_log=True)
    it = service(tmp_path, "it", STUBBORN)
    it.grace_seconds = 0.3
    supervisor.add(it)
    assert process.wait_for(lambda: it.last_words() == "up", 5)
    began = time.monotonic()
    supervisor.stop()
    assert 0.3 <= time.monotonic() - began < 2
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("warning", "it was killed after 0 s")


def test_a_second_ctrl_c_shortens_every_grace(tmp_path: Path) -> None:
    supervisor = Supervisor()
    it = service(tmp_path, "it", STUBBORN)
    it.grace_seconds = 60
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        supervisor.listen()
        supervisor.add(it)
        assert process.wait_for(lambda: it.last_words() == "up", 5)
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.watch()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        supervisor.stop()
        assert time.monotonic() - began < 5
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
