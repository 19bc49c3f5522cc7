"""How much memory there is, how much a process takes, and whether the kernel killed for want of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Files:
    """What a version of control groups calls things; `cache` are pages of files that can be had back."""

    limit: str
    used: str
    cache: str
    kills: str


FIRST = Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
SECOND = Files("memory.max", "memory.current", "inactive_file", "memory.events")


def total_bytes() -> int:
    """What this host, or the control groups we live in, have."""
    files, groups = _groups()
    limits = [limit for group in groups if (limit := _number(group / files.limit)) is not None]
    return min([int(psutil.virtual_memory().total), *limits])


def free_bytes() -> int:
    """What can be had now without swapping, within every control group above us."""
    files, groups = _groups()
    free = [int(psutil.virtual_memory().available)]
    for group in groups:
        limit, used = _number(group / files.limit), _number(group / files.used)
        if limit is not None and used is not None:
            free.append(limit - used + (_statistic(group / "memory.stat", files.cache) or 0))
    return max(0, min(free))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def oom_kills() -> int:
    """How often the kernel has killed in our control group for want of memory; on this host, where it counts no closer."""
    files, groups = _groups()
    for group in groups[:1]:
        counted = _statistic(group / files.kills, "oom_kill")
        if counted is not None:
            return counted
    return _statistic(Path("/proc/vmstat"), "oom_kill") or 0


def _groups() -> tuple[Files, list[Path]]:
    """Our control group and those above it, the nearest first, as far as they can be seen from here."""
    for files, root, path in _mounted():
        own = root / path.strip("/")
        # A container is shown its own group as the root, whatever the host calls it.
        place = own if own.is_dir() else root
        return files, [one for one in (place, *place.parents) if one == root or root in one.parents]
    return SECOND, []


def _mounted() -> Iterator[tuple[Files, Path, str]]:
    with contextlib.suppress(OSError, ValueError):
        for line in OWN.read_text(encoding="ascii").splitlines():
            number, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                yield FIRST, CGROUP / "memory", path
            elif number == "0" and (CGROUP / "cgroup.controllers").exists():
                yield SECOND, CGROUP, path


def _number(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text(encoding="ascii"))
    return None


def _statistic(file: Path, key: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").splitlines():
            word, _, value = line.partition(" ")
            if word == key:
                return int(value)
    return None
