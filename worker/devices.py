"""What a device has, asked without torch."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from typing import Any

FRESH_SECONDS = 5.0


class DeviceError(ValueError):
    """There is no such device here; the message says what was asked and what is accepted."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device: `cpu`, or `cuda:N`. `torch_name` is what the child, which sees no other, calls it."""

    name: str
    device_class: str
    memory_bytes: int

    @property
    def torch_name(self) -> str:
        return "cpu" if self.device_class == "cpu" else "cuda:0"

    def free_bytes(self) -> int:
        """Free memory of the device itself, as it was a moment ago; 0 for the CPU, whose memory is the host's."""
        if self.device_class == "cpu":
            return 0
        # Asking takes a process of its own.
        return _free_bytes(self.name, int(time.monotonic() // FRESH_SECONDS))


def find(name: str) -> Device:
    """The device called `cpu`, `cuda` or `cuda:N`; `DeviceError` when it is not here."""
    if name == "cpu":
        return Device("cpu", "cpu", 0)
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise DeviceError(f"no device {name!r}; accepted: cpu, cuda, cuda:N")
    full = f"cuda:{number or 0}"
    size = _ask(full, "memory.total")
    if size is None:
        raise DeviceError(f"no device {full} here: nvidia-smi does not know it")
    return Device(full, "cuda", size)


def hardware(device: Device) -> dict[str, Any]:
    """What `/v1/workers` tells of the machine."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }
    if device.device_class == "cuda":
        found["gpu"] = _query(device.name, "name")
    return found


@functools.lru_cache(maxsize=1)
def _free_bytes(name: str, _moment: int) -> int:
    return _ask(name, "memory.free") or 0


def _ask(name: str, field: str) -> int | None:
    """A number of MiB that nvidia-smi knows, in bytes."""
    found = _query(name, field)
    with contextlib.suppress(TypeError, ValueError):
        return int(found) << 20  # type: ignore[arg-type]
    return None


def _query(name: str, field: str) -> str | None:
    number = name.partition(":")[2]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "-i", number],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()
    return None
