"""Members: the jobs that a study or sweep is made of, and who is packed with whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bfc_core import specs

MOST_IN_PACK = 128
"""Slots of one pack: beyond this a stack gains nothing and a lost worker costs more."""


@dataclass(frozen=True, slots=True)
class Member:
    """One job of a study. `key` names it within the study; `after` holds keys of members it waits for.

    Members with an equal `pack` run as one program, slots in member order; None is run alone. A member with a `start`
    (which is in `after`) goes on from that member's last checkpoint: its first stages are that member's stages.
    """

    key: str
    kind: Literal["train", "baseline", "probe"]
    name: str
    spec: Any
    labels: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    pack: str | None = None
    start: str | None = None


def packed(members: Sequence[Member], groups: Sequence[str]) -> list[Member]:
    """The train members with their packs: equal shapes together, whole groups together, packs of even size.

    `groups` holds for each member what must not be parted, such as the arms of one seed: they share stage prefixes,
    which the engine trains once where they meet in one pack.
    """
    by_shape: dict[str, dict[str, list[int]]] = {}
    for i, (member, group) in enumerate(zip(members, groups, strict=True)):
        shape = specs.shape_key(member.spec)
        if shape:
            by_shape.setdefault(shape, {}).setdefault(group, []).append(i)
    found = list(members)
    for number, parts in enumerate(by_shape.values()):
        for chunk, indices in enumerate(_chunks(list(parts.values()))):
            for i in indices if len(indices) > 1 else ():
                found[i] = replace(found[i], pack=f"{number}-{chunk}")
    return found


def _chunks(parts: list[list[int]]) -> list[list[int]]:
    """Parts joined into as few chunks of at most `MOST_IN_PACK` as their order allows; a larger part is cut."""
    whole = [part[i : i + MOST_IN_PACK] for part in parts for i in range(0, len(part), MOST_IN_PACK)]
    fewest = len(_filled(whole, MOST_IN_PACK))
    largest = next(
        size
        for size in range(1, MOST_IN_PACK + 1)
        if len(_filled(whole, size)) == fewest and _fits(whole, size)
    )
    return _filled(whole, largest)


def _fits(parts: list[list[int]], size: int) -> bool:
    return max(map(len, parts)) <= size


def _filled(parts: list[list[int]], size: int) -> list[list[int]]:
    chunks: list[list[int]] = [[]]
    for part in parts:
        if chunks[-1] and len(chunks[-1]) + len(part) > size:
            chunks.append([])
        chunks[-1].extend(part)
    return chunks
