"""What the API process takes at its peak while clients ask for much and read slowly.

    python -m bench.api_memory [--streams 2000]

Each load runs on the same server, whose high-water mark is set back before it; another client's read is timed beside it.
Needs a server on which a scratch database may be made (BFC_DATABASE_URL) and Linux's /proc.
"""

from __future__ import annotations

import argparse
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from api.settings import Settings
from bench.api_speed import PORT, Filled, filled_database, peak_bytes, scratch_database, served

BOUND_BYTES = 200e6
READERS, DOWNLOADS, PAGES = 8, 100, 200
HOLD_SECONDS = 8.0


def main() -> int:
    """Prints a line a load; 1 where the process grows past its bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=Settings().max_streams)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with scratch_database() as url, filled_database(url, 2_000) as filled, served(url, filled) as pid:
        loads = Loads(filled)
        kept = [
            _measured(pid, loads, f"{READERS} clients read a series of 1,000,000 points whole", loads.whole_series),
            _measured(pid, loads, f"{DOWNLOADS} downloads that are hardly read", loads.slow_downloads),
            _measured(pid, loads, f"{PAGES} pages of 500 jobs that are not read", loads.unread_pages),
            _measured(pid, loads, f"{given.streams:,} idle event streams", lambda: loads.idle_streams(given.streams)),
        ]
    return 0 if all(kept) else 1


def _measured(pid: int, loads: Loads, says: str, load: Callable[[], None]) -> bool:
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")
    load()
    peak = peak_bytes(pid)
    kept = peak <= BOUND_BYTES
    line = f"{says}: {peak / 1e6:.0f} MB at its peak (≤ {BOUND_BYTES / 1e6:.0f}); another client waits {loads.waited:.2f} s"
    print(("ok    " if kept else "MISS  ") + line, flush=True)
    return kept


class Loads:
    """What the clients do."""

    def __init__(self, filled: Filled) -> None:
        self.filled = filled
        self.waited = 0.0
        self.headers = {"Authorization": f"Bearer {filled.secret}"}

    def whole_series(self) -> None:
        """Several at once, each reading as fast as it can."""
        path = f"/v1/jobs/{self.filled.job}/metrics?keys=million&max_points=1000000"
        threads = [threading.Thread(target=self._get, args=(path,)) for _ in range(READERS)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        self._wait()
        for thread in threads:
            thread.join()

    def slow_downloads(self) -> None:
        """A few kilobytes a second each."""
        with self._asked([f"/v1/snapshots/{self.filled.snapshot}/download"] * DOWNLOADS) as held:
            for _ in range(int(HOLD_SECONDS)):
                time.sleep(1)
                for one in held:
                    one.recv(4096)
            self._wait()

    def unread_pages(self) -> None:
        """Not a byte is read."""
        with self._asked(["/v1/jobs?limit=500"] * PAGES):
            time.sleep(HOLD_SECONDS)
            self._wait()

    def idle_streams(self, count: int) -> None:
        """Each has its head."""
        with self._asked([f"/v1/jobs/{self.filled.job}/events"] * count) as held:
            for one in held:
                one.recv(12)
            self._wait()

    def _get(self, path: str) -> None:
        httpx.get(f"http://127.0.0.1:{PORT}{path}", headers=self.headers, timeout=300)

    def _wait(self) -> None:
        started = time.monotonic()
        self._get(f"/v1/jobs/{self.filled.job}")
        self.waited = time.monotonic() - started

    @contextmanager
    def _asked(self, paths: list[str]) -> Iterator[list[socket.socket]]:
        held = []
        try:
            for path in paths:
                one = socket.socket()
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.settimeout(120)
                one.connect(("127.0.0.1", PORT))
                accept = "text/event-stream" if path.endswith("/events") else "*/*"
                lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Accept: {accept}"]
                lines += [f"{name}: {value}" for name, value in self.headers.items()]
                one.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
                held.append(one)
            yield held
        finally:
            for one in held:
                one.close()


if __name__ == "__main__":
    sys.exit(main())
