"""Series thinned while they are read, in bounded memory: a million points never stand together.

Each bucket keeps its least and its greatest point, so that no spike is lost; both ends are kept, and what is not
finite counts as an extreme, so that a divergence is never thinned away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection

from store.binary import rows
from store.series import Floats, Points, Steps, extremes

#: series that are read together have no more points than this
TOGETHER_POINTS = 200_000
CHUNKS = 64

_COUNTS = """
    SELECT s.id, s.job_id, s.key, s.layer, s.unit, coalesce(sum(c.points), 0)::bigint
      FROM series s LEFT JOIN series_chunks c ON c.series_id = s.id
       AND c.last_step >= %(low)s AND c.first_step <= %(high)s
     WHERE s.job_id = ANY(%(jobs)s) AND (%(keys)s::text[] IS NULL OR s.key = ANY(%(keys)s))
     GROUP BY s.id ORDER BY array_position(%(jobs)s, s.job_id), s.key, s.layer NULLS FIRST"""
_SEVERAL = """
    SELECT series_id, point_steps, point_values FROM series_chunks
     WHERE series_id = ANY(%(ids)s) AND last_step >= %(low)s AND first_step <= %(high)s ORDER BY series_id, mark"""
_SOME = """
    SELECT mark, point_steps, point_values FROM series_chunks
     WHERE series_id = %(id)s AND mark > %(after)s AND last_step >= %(low)s AND first_step <= %(high)s
     ORDER BY mark LIMIT %(limit)s"""


class Head(NamedTuple):
    """A series and how many of its points lie in chunks that touch the window."""

    id: int
    job: str
    key: str
    layer: int | None
    unit: str | None
    points: int


class Window(NamedTuple):
    """Steps `low` … `high`, both included."""

    low: int = -(2**62)
    high: int = 2**62


def heads(
    connection: Connection, job_ids: Sequence[str], keys: Sequence[str] | None, window: Window
) -> list[Head]:
    """The series of `job_ids` (which the caller has checked), in their order."""
    asked = {"jobs": list(job_ids), "keys": None if keys is None else list(keys), **window._asdict()}
    return [Head(*row) for row in rows(connection, _COUNTS, asked)]


def groups(found: Sequence[Head], most: int) -> list[list[Head]]:
    """Series to be read and told together: in order, each group with some thousand points, or one series alone."""
    made: list[list[Head]] = []
    held = 0
    for head in found:
        points = min(head.points, most)
        if not made or held + points > TOGETHER_POINTS // 2:
            made.append([])
            held = 0
        made[-1].append(head)
        held += points
    return made


def read(
    connection: Connection, found: Sequence[Head], window: Window, most: int
) -> list[tuple[str, Points]]:
    """These series, each with at most `most` points in the window."""
    short = [head for head in found if head.points <= min(most, TOGETHER_POINTS)]
    whole = dict(_together(connection, short, window))
    for head in found:
        if head.id not in whole:
            whole[head.id] = _thinned(connection, head, window, most)
    return [
        (head.job, Points(head.key, head.layer, head.unit, *_cut(*whole[head.id], window, most)))
        for head in found
    ]


def _together(
    connection: Connection, heads: Sequence[Head], window: Window
) -> Iterator[tuple[int, tuple[Steps, Floats]]]:
    """Short series whole, many of them in one statement."""
    group: list[Head] = []
    held = 0
    for head in heads:
        if group and held + head.points > TOGETHER_POINTS:
            yield from _whole(connection, group, window)
            group, held = [], 0
        group.append(head)
        held += head.points
    if group:
        yield from _whole(connection, group, window)


def _whole(
    connection: Connection, heads: Sequence[Head], window: Window
) -> Iterator[tuple[int, tuple[Steps, Floats]]]:
    parts: dict[int, list[tuple[bytes, bytes]]] = {head.id: [] for head in heads}
    for id_, steps, values in rows(connection, _SEVERAL, {"ids": list(parts), **window._asdict()}):
        parts[id_].append((steps, values))
    for id_, chunks in parts.items():
        yield id_, _joined(chunks)


def _thinned(connection: Connection, head: Head, window: Window, most: int) -> tuple[Steps, Floats]:
    """A long series, some chunks at a time."""
    if head.points <= most or most < 4:
        return _joined(list(_chunks(connection, head, window)))
    thinner = Thinner(-(-head.points // ((most - 2) // 2)))
    batch: list[tuple[bytes, bytes]] = []
    for chunk in _chunks(connection, head, window):
        batch.append(chunk)
        if len(batch) == CHUNKS:
            thinner.take(*_inside(*_joined(batch), window))
            batch = []
    thinner.take(*_inside(*_joined(batch), window))
    return thinner.end()


def _chunks(connection: Connection, head: Head, window: Window) -> Iterator[tuple[bytes, bytes]]:
    after = -1
    while True:
        asked = {"id": head.id, "after": after, "limit": CHUNKS, **window._asdict()}
        batch = list(rows(connection, _SOME, asked))
        for after, steps, values in batch:  # noqa: B007 - the last mark is where the next batch begins
            yield steps, values
        if len(batch) < CHUNKS:
            return


@dataclass(slots=True)
class Thinner:
    """Takes points in order and keeps the extremes of each `size` of them, and both ends."""

    size: int
    _steps: list[Steps] = field(default_factory=list)
    _values: list[Floats] = field(default_factory=list)
    _rest: tuple[Steps, Floats] = field(default_factory=lambda: (np.empty(0, np.int64), np.empty(0)))
    _last: tuple[Steps, Floats] | None = None

    def take(self, steps: Steps, values: Floats) -> None:
        """The next points: steps (n,), values (n,)."""
        if not len(steps):
            return
        if self._last is None:
            self._keep(steps[:1], values[:1])
            steps, values = steps[1:], values[1:]
        steps, values = np.concatenate([self._rest[0], steps]), np.concatenate([self._rest[1], values])
        if len(steps):
            self._last = steps[-1:], values[-1:]
        elif self._last is None:
            self._last = self._steps[0], self._values[0]
        whole = len(steps) // self.size * self.size
        if whole:
            self._reduce(steps[:whole], values[:whole], self.size)
        self._rest = steps[whole:].copy(), values[whole:].copy()

    def end(self) -> tuple[Steps, Floats]:
        """All that was kept, in order."""
        if len(self._rest[0]):
            self._reduce(*self._rest, len(self._rest[0]))
        if self._last is not None:
            self._keep(*self._last)
        if not self._steps:
            return self._rest
        steps, first = np.unique(np.concatenate(self._steps), return_index=True)
        return steps, np.concatenate(self._values)[first]

    def _reduce(self, steps: Steps, values: Floats, size: int) -> None:
        buckets = values.reshape(-1, size)
        starts = np.arange(len(buckets)) * size
        finite = np.isfinite(buckets)
        low = np.where(finite, buckets, -np.inf).argmin(axis=1)
        high = np.where(finite, buckets, np.inf).argmax(axis=1)
        kept = np.unique(np.concatenate([starts + low, starts + high]))
        self._keep(steps[kept], values[kept])

    def _keep(self, steps: Steps, values: Floats) -> None:
        self._steps.append(steps)
        self._values.append(values)


def _joined(chunks: Sequence[tuple[bytes, bytes]]) -> tuple[Steps, Floats]:
    steps = np.frombuffer(b"".join(chunk[0] for chunk in chunks), "<i8")
    return steps, np.frombuffer(b"".join(chunk[1] for chunk in chunks), "<f8")


def _inside(steps: Steps, values: Floats, window: Window) -> tuple[Steps, Floats]:
    if not len(steps) or (steps[0] >= window.low and steps[-1] <= window.high):
        return steps, values
    inside = (steps >= window.low) & (steps <= window.high)
    return steps[inside], values[inside]


def _cut(steps: Steps, values: Floats, window: Window, most: int) -> tuple[Steps, Floats]:
    steps, values = _inside(steps, values, window)
    if len(steps) <= most:
        return steps, values
    kept = extremes(values, most)
    return steps[kept], values[kept]
