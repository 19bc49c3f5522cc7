"""Which code this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def code_version() -> str:
    """The version of this code, as installed."""
    try:
        return version("bfc-lab")
    except PackageNotFoundError:
        return "0"
