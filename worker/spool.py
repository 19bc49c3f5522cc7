"""Frames that wait for the database: in memory first, then on disk, up to a bound, in order."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO

from worker import wire

log = logging.getLogger(__name__)

# Frames that somebody waits for; others may be gathered a little.
URGENT = ("checkpoint", "result", "failure", "end")


class Spool:
    """A queue between the child's line and the database. When all of its room is taken, `put` waits.

    The child then waits too, as its line fills: nothing is lost, the training stands still.
    """

    def __init__(self, folder: Path, disk_bytes: int, memory_bytes: int = 64 << 20) -> None:
        self._folder = folder
        self._disk_bytes = disk_bytes
        self._memory_bytes = memory_bytes
        self._frames: deque[wire.Frame] = deque()
        self._size = 0
        self._file: BinaryIO | None = None
        self._written = self._read = 0
        self._refused = False
        self._ended = False
        self._urgent = False
        self._changed = threading.Condition()

    @property
    def on_disk(self) -> int:
        """Bytes that lie on disk unread."""
        return self._written - self._read

    def put(self, frame: wire.Frame) -> None:
        """Adds a frame; waits while there is room for it neither in memory nor on disk."""
        with self._changed:
            self._urgent = self._urgent or frame.kind in URGENT
            while not self._ended:
                if self._file is None and (self._size + frame.size <= self._memory_bytes or not self._frames):
                    self._frames.append(frame)
                    self._size += frame.size
                    break
                if self._spill(frame):
                    break
                self._changed.wait(0.5)
            self._changed.notify_all()

    def end(self) -> None:
        """No more frames will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def get(self, timeout_seconds: float, gather_seconds: float = 0.0) -> list[wire.Frame]:
        """All frames that are ready, up to the memory's share; empty when none comes in time.

        The first may wait `gather_seconds` for others, so that more go into one transaction.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self.on_disk or self._ended, timeout_seconds)
            self._changed.wait_for(lambda: self._urgent or self.on_disk or self._ended, gather_seconds)
            if not self._frames and self.on_disk:
                self._unspill()
            frames = list(self._frames)
            self._frames.clear()
            self._size = 0
            self._urgent = False
            self._changed.notify_all()
            return frames

    @property
    def drained(self) -> bool:
        """True when the last frame has been taken and no more will come."""
        with self._changed:
            return self._ended and not self._frames and not self.on_disk

    def close(self) -> None:
        """Gives its room on disk back."""
        with self._changed:
            self._ended = True
            self._frames.clear()
            self._drop()
            self._changed.notify_all()

    def _spill(self, frame: wire.Frame) -> bool:
        """Writes a frame behind the others on disk; False when there is no room."""
        if self._written + frame.size > self._disk_bytes:
            return False
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                # Unlinked at once: nothing stays behind a worker that is killed.
                self._file = tempfile.TemporaryFile(dir=self._folder, prefix="spool-")  # noqa: SIM115
            self._file.seek(self._written)
            wire.write(self._file, frame)
            self._written = self._file.tell()
        except OSError as error:
            if not self._refused:
                log.warning("the spool cannot grow, training waits: %s", error)
            self._refused = True
            with contextlib.suppress(OSError):
                if self._file is not None:
                    self._file.truncate(self._written)
            if self._file is not None and not self.on_disk:
                self._drop()
            return False
        return True

    def _unspill(self) -> None:
        assert self._file is not None
        self._file.seek(self._read)
        while self._read < self._written and self._size < self._memory_bytes:
            frame = wire.read(self._file)
            assert frame is not None
            self._frames.append(frame)
            self._size += frame.size
            self._read = self._file.tell()
        if self._read >= self._written:
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None
        self._written = self._read = 0
        self._refused = False
