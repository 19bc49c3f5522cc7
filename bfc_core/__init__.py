"""The science: targets, learners, training, probes, baselines and studies.

`bfc_core.run` and `bfc_core.run_pack` load torch when they are first asked for; importing the package does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bfc_core.run import run, run_pack

__all__ = ["run", "run_pack"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # Importing the module binds `bfc_core.run` to the module itself: the function takes its place.
    module = import_module("bfc_core.run")
    globals().update({each: getattr(module, each) for each in __all__})
    return globals()[name]
