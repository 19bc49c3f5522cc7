"""Starts children, keeps one in reserve that has loaded torch, and ends them with all they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, cast

from worker import wire

PROGRAM = (sys.executable, "-m", "worker.child")
SAID_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Terms:
    """How children are started: the program before its two arguments, and what its environment adds."""

    program: Sequence[str] = PROGRAM
    environment: Mapping[str, str] | None = None
    folder: Path | None = None


def environment(device: str, threads: int = 1) -> dict[str, str]:
    """One device and one set of threads a child, whatever the worker's own environment says."""
    kind, _, number = device.partition(":")
    count = str(threads)
    return {
        "CUDA_VISIBLE_DEVICES": (number or "0") if kind == "cuda" else "",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "PYTHONHASHSEED": "0",
    }


class Child:
    """One child process in a group of its own: its two lines, what it said on stdout and stderr, its end."""

    def __init__(self, terms: Terms) -> None:
        read_fd, write_fd = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*terms.program, str(write_fd), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[write_fd],
                env={**os.environ, **(terms.environment or {})},
                cwd=terms.folder,
                start_new_session=True,
            )
        except OSError:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        assert self.process.stdin is not None
        self.requests = cast("BinaryIO", self.process.stdin)
        self.records: BinaryIO = os.fdopen(read_fd, "rb", buffering=1 << 20)
        self.facts: dict[str, object] = {}
        self._said: deque[bytes] = deque()
        self._telling: SimpleQueue[tuple[wire.Frame, Sequence[bytes]] | None] = SimpleQueue()
        threading.Thread(target=self._listen, name="child-said", daemon=True).start()
        threading.Thread(target=self._tell, name="child-told", daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """The last of what it wrote on stdout and stderr."""
        return b"".join(self._said)[-SAID_BYTES:].decode(errors="replace")

    def send(self, frame: wire.Frame, parts: Sequence[bytes] = ()) -> None:
        """Tells it something, without waiting until it listens: a child that loads torch is deaf for seconds."""
        self._telling.put((frame, parts))

    def kill(self) -> None:
        """Ends it and everything it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self, timeout_seconds: float | None = None) -> int | None:
        """Its exit status, negative for a signal; None while it lives."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Makes sure of its end and gives back what the worker held for it."""
        self.kill()
        self.process.wait()
        self._telling.put(None)
        for stream in (self.requests, self.records):
            with contextlib.suppress(OSError, ValueError):
                stream.close()

    def _tell(self) -> None:
        # Its end is noticed by those who read its line.
        with contextlib.suppress(OSError, ValueError):
            while (told := self._telling.get()) is not None:
                wire.write(self.requests, *told)

    def _listen(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        size = 0
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 4096):
                self._said.append(data)
                size += len(data)
                while size - len(self._said[0]) > SAID_BYTES:
                    size -= len(self._said.popleft())
        with contextlib.suppress(OSError):
            stream.close()


class Nursery:
    """Starts children from one thread that lives as long as the worker: see `tether`."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._orders: SimpleQueue[tuple[Future[Child], Callable[[], Child]] | None] = SimpleQueue()
        self._standby: Future[Child] | None = None
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._work, name="nursery", daemon=True).start()

    def prepare(self) -> None:
        """Starts the child in reserve, unless there is one."""
        with self._lock:
            if self._standby is None and not self._closed:
                self._standby = self._start()

    def take(self) -> Child:
        """The child in reserve if it still lives, else a new one."""
        with self._lock:
            waiting, self._standby = self._standby, None
        if waiting is not None:
            with contextlib.suppress(OSError):
                child = waiting.result()
                if child.process.poll() is None:
                    return child
                child.close()
        return self._start().result()

    def close(self) -> None:
        """Ends the child in reserve, and starts no more."""
        with self._lock:
            self._closed = True
            waiting, self._standby = self._standby, None
        if waiting is not None:
            with contextlib.suppress(OSError):
                waiting.result().close()
        self._orders.put(None)

    def _start(self) -> Future[Child]:
        order: Future[Child] = Future()
        self._orders.put((order, lambda: Child(self.terms)))
        return order

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            future, make = order
            try:
                future.set_result(make())
            except OSError as error:
                future.set_exception(error)
