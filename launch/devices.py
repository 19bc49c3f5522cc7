"""Which GPUs are here, without loading torch."""

import importlib.metadata
import os
import shutil
import subprocess
from contextlib import suppress


def gpu_count() -> int:
    """GPUs that a worker could use: none where torch was built for the CPU alone."""
    return 0 if torch_build() in (None, "cpu") else visible_gpus()


def torch_build() -> str | None:
    """`cpu`, or what else the installed torch was built for; None without torch."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("torch").partition("+")[2] or "default"
    return None


def visible_gpus() -> int:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES leaves."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = len(gpu_names())
    if chosen is None:
        return found
    return min(found, len([part for part in chosen.split(",") if part.strip() not in ("", "-1")]))


def gpu_names() -> list[str]:
    """One name a GPU, as nvidia-smi lists them; none without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        said = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip()]
