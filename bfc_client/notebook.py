"""Live progress in a notebook: one display that is updated in place."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bfc_client.replies import Job


def live() -> Callable[[Job], None]:
    """Shows a job each time it is called; outside a notebook it shows nothing."""
    handle: Any = None

    def show(job: Job) -> None:
        nonlocal handle
        display = _display()
        if display is None:
            return
        if handle is None:
            handle = display(job, display_id=True)
        else:
            handle.update(job)

    return show


def _display() -> Any:
    """IPython's `display` where a kernel is running, else None."""
    try:
        ipython = importlib.import_module("IPython")
    except ModuleNotFoundError:
        return None
    return ipython.display.display if ipython.get_ipython() is not None else None
