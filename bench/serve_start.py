"""How soon `bfc serve` is ready, from no data folder and from an existing one, and how much memory its API takes.

Promised on a quiet machine with two cores: 10 s, 5 s, 150 MB.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

STARTS = 4


def main() -> None:
    """Starts and stops a lab a few times in one folder, and prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=STARTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bfc-bench-") as name:
        Path(name).chmod(0o755)
        for index in range(given.starts):
            ready, memory, stopped = one_life(Path(name) / "data")
            folder = "existing folder" if index else "no folder      "
            print(f"{folder}  ready in {ready:5.2f} s  API {memory / 1e6:4.0f} MB  stopped in {stopped:4.2f} s")


def one_life(data: Path) -> tuple[float, int, float]:
    """Seconds until ready, the API's resident bytes, seconds until stopped."""
    began = time.monotonic()
    command = [sys.executable, "-m", "launch.entry", "serve", "--data", str(data), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    ready = time.monotonic() - began
    memory = sum(child.memory_info().rss for child in psutil.Process(server.pid).children() if "api" in child.cmdline())
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.wait(60)
    return ready, memory, time.monotonic() - began


if __name__ == "__main__":
    main()
