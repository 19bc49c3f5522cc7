"""One seed a role, whatever form the spec gives it in."""

from __future__ import annotations

from typing import NamedTuple

from bfc_core.specs.train import Seeds


class Roles(NamedTuple):
    """The seed of each role."""

    target: int
    data: int
    init: int
    order: int


def seeds(seed: int | Seeds) -> Roles:
    """The roles' seeds: one number serves all, streams differ by role."""
    if isinstance(seed, int):
        return Roles(seed, seed, seed, seed)
    return Roles(seed.target, seed.data, seed.init, seed.order)
