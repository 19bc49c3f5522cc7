"""How much memory there is, how much a process takes, and whether the kernel killed for want of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def total_bytes() -> int:
    """What this host, or the control group we live in, has."""
    total = int(psutil.virtual_memory().total)
    return min(total, _number("memory.max") or _number("memory/memory.limit_in_bytes") or total)


def free_bytes() -> int:
    """What can be had now without swapping."""
    available = int(psutil.virtual_memory().available)
    limit = _number("memory.max")
    used = _number("memory.current")
    if limit is None or used is None:
        return available
    return max(0, min(available, limit - used + (_statistic("memory.stat", "inactive_file") or 0)))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def oom_kills() -> int:
    """How often the kernel has killed in our control group, or on this host, for want of memory."""
    counted = _statistic("memory.events", "oom_kill")
    if counted is not None:
        return counted
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _number(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((CGROUP / name).read_text(encoding="ascii"))
    return None


def _statistic(name: str, key: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in (CGROUP / name).read_text(encoding="ascii").splitlines():
            word, _, value = line.partition(" ")
            if word == key:
                return int(value)
    return None
