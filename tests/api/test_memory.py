"""The process's memory: what is free goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLES = """
import asyncio, ctypes, psutil
from api import memory

memory.settle()
kept = [bytearray(64 << 10) for _ in range(1024)]
full = psutil.Process().memory_info().rss
kept = kept[::16]
left = psutil.Process().memory_info().rss
memory.PERIOD_SECONDS = 0.0

async def a_while():
    task = asyncio.create_task(memory.giving_back())
    await asyncio.sleep(0.1)
    task.cancel()

asyncio.run(a_while())
print(full, left, psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have their own ways")
def test_pages_that_are_free_between_blocks_in_use_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, timeout=60)
    full, left, now = map(int, done.stdout.split())
    assert full - left < 16 << 20, "glibc keeps the holes"
    assert full - now > 48 << 20
