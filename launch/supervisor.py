"""Keeps a few processes alive: starts them in order, starts again what dies, stops them in the opposite order."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil

from launch import process
from launch.errors import LaunchError, ServerError
from launch.process import Account

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.2, 10.0
# For one that was killed, or ended in good order because somebody else asked: nothing is wrong with it.
LONGEST_DELAY_AFTER_KILL_SECONDS = 2.0
# On a machine with much else to do.
READY_SECONDS = 120.0
# Alive for so long, a process has earned a first delay again.
STEADY_SECONDS = 60.0
STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """We were asked to stop while still starting."""


@dataclass(slots=True)
class Service:
    """One process to keep alive, and what is known of its present life. Times in seconds."""

    name: str
    command: Callable[[], list[str]]
    log: Path
    env: Mapping[str, str] | None = None
    stdin: bytes = b""
    account: Account | None = None
    prepare: Callable[[], None] = lambda: None
    is_ready: Callable[[], bool] = lambda: True
    # SIGTERM for what works (workers, API); another for what they stand on, which ends after them.
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    grace_seconds: float = 10.0
    running: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    log_start: int = 0
    failures: int = field(default=0)
    due_at: float | None = None

    def start(self) -> None:
        """Begins a life."""
        self.prepare()
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        self.started_at, self.due_at = time.monotonic(), None
        self.running = process.start(
            self.command(),
            log=self.log,
            death_signal=self.death_signal,
            account=self.account,
            env=self.env,
            stdin=self.stdin,
        )

    def has_died(self) -> bool:
        """Whether a life has ended that nobody has noticed yet."""
        return self.running is not None and self.running.poll() is not None

    def ask_to_stop(self) -> list[psutil.Process]:
        """Sends the signal that ends it well; returns what lives below it."""
        if self.running is None:
            return []
        family = process.descendants(self.running.pid)
        process.ask(self.running, self.stop_signal)
        return family

    def ended_by(self, asked_at: float) -> bool:
        """Waits out the grace, which a second Ctrl-C may shorten; False when it is still there."""
        while self.running is not None and self.running.poll() is None:
            if time.monotonic() > asked_at + self.grace_seconds:
                return False
            time.sleep(0.02)
        return True

    def kill(self, family: list[psutil.Process]) -> None:
        """Ends what is left of it."""
        if self.running is not None:
            process.kill(self.running, family)
            self.running = None

    def last_words(self) -> str:
        """The last line of this life's output."""
        return process.last_words(self.log, self.log_start)


class Supervisor:
    """Holds the services in the order of their starts. One thread, the main one; see `process.start`."""

    def __init__(self, *, json_log: bool = False) -> None:
        self.services: list[Service] = []
        self.stopping = False
        self._json_log = json_log

    def listen(self) -> None:
        """Makes Ctrl-C, SIGTERM and a closed terminal ask for a clean stop, and a second one for a quick one."""
        for number in STOPPING_SIGNALS:
            signal.signal(number, self._ask_to_stop)

    def add(self, service: Service) -> None:
        """Starts a service and looks after it from now on."""
        self.services.append(service)
        service.start()

    def wait_ready(self, service: Service, seconds: float = READY_SECONDS) -> None:
        """Waits for a service's first answer; `ServerError` with its last words when it ends or stays silent."""

        def settled() -> bool:
            return self.stopping or service.has_died() or service.is_ready()

        in_time = process.wait_for(settled, seconds)
        if self.stopping:
            raise Stopped
        if service.has_died():
            assert service.running is not None
            why = service.last_words() or process.how_it_ended(service.running)
            # Our own processes say who speaks, and why, well enough.
            said = why.partition(f"bfc {service.name}: ")[2]
            raise ServerError(said or f"{service.name} does not start: {why}")
        if not in_time:
            raise ServerError(f"{service.name} does not answer after {seconds:.0f} s; see {service.log}")

    def watch(self) -> None:
        """Until asked to stop, starts again whatever ends, after a delay that doubles from failure to failure."""
        while not self.stopping:
            for service in self.services:
                self._look_after(service)
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends every service: first those that work, together; then what they stand on, the last started first."""
        self.stopping = True
        workers = [service for service in self.services if service.stop_signal == signal.SIGTERM]
        for group in (workers, *([service] for service in reversed(self.services) if service not in workers)):
            asked_at = time.monotonic()
            families = [service.ask_to_stop() for service in group]
            for service, family in zip(group, families, strict=True):
                if not service.ended_by(asked_at):
                    self.say("warning", f"{service.name} was killed after {service.grace_seconds:.0f} s")
                service.kill(family)

    def say(self, level: str, message: str, **facts: object) -> None:
        """One line about the house on standard error."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self._json_log:
            line = json.dumps({"time": now, "level": level, "logger": "launch", "message": message, **facts})
        else:
            line = f"{now} {level.upper()} {message}"
        print(line, file=sys.stderr, flush=True)

    def _look_after(self, service: Service) -> None:
        if service.has_died():
            self._note_death(service)
        elif service.due_at is not None and time.monotonic() >= service.due_at:
            try:
                service.start()
            except (OSError, LaunchError) as error:
                self._plan_start(service, f"{service.name} cannot be started: {error}")

    def _note_death(self, service: Service) -> None:
        assert service.running is not None
        if time.monotonic() - service.started_at > STEADY_SECONDS:
            service.failures = 0
        how, words = process.how_it_ended(service.running), service.last_words()
        blameless = service.running.returncode in (0, -signal.SIGKILL)
        service.running = None
        self._plan_start(
            service,
            f"{service.name} ended with {how}" + (f", saying: {words}" if words else ""),
            LONGEST_DELAY_AFTER_KILL_SECONDS if blameless else LONGEST_DELAY_SECONDS,
        )

    def _plan_start(self, service: Service, what: str, longest_seconds: float = LONGEST_DELAY_SECONDS) -> None:
        delay = min(FIRST_DELAY_SECONDS * 2 ** min(service.failures, 10), longest_seconds)
        service.failures += 1
        service.due_at = time.monotonic() + delay
        self.say("warning", f"{what}; starting it again in {delay:.1f} s", service=service.name, delay_seconds=delay)

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopping:
            for service in self.services:
                service.grace_seconds = min(service.grace_seconds, 1.0)
        self.stopping = True
