"""What a measurement was made on: printed above every figure that is kept."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path

import torch


def heading() -> str:
    """Date, processor, Python and torch, in one line."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    cores = os.cpu_count() or 1
    return (
        f"{today}; {cores} × {_processor()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} thread"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
