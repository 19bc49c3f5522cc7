"""Hyper-parameters by validation error, over a stated grid that grows where its best cell lies on the edge.

The whole grid is first scored on a part of the samples, where all penalties cost one
reduction to three diagonals. From the best cell there a descent over neighbouring cells is scored on all of
the fitting part, until no neighbour is better; it may leave the grid by up to `BEYOND` steps on
each side. What was scored, and on how many samples, is the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

from bfc_core.records import Column, Progress, Table

BEYOND = 4
"""Steps that the search may take beyond the stated grid; a best cell still on the edge is marked."""
WORTH = 1e-3
"""Smallest relative gain that moves the search: less is the noise of a plateau, where the more regular cell stays."""

Cell = tuple[int, ...]
"""A place in the grid: a step along each axis; below 0 and past the end lie its extensions."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One hyper-parameter's stated values, rising. A single value is a choice, not a grid: it never moves."""

    name: str
    values: tuple[float, ...]

    def at(self, step: int) -> float | None:
        """The value at `step`, the grid continued geometrically; None where it cannot be."""
        last = len(self.values) - 1
        if 0 <= step <= last:
            return self.values[step]
        if last == 0 or not -BEYOND <= step <= last + BEYOND:
            return None
        edge, inner = (self.values[0], self.values[1]) if step < 0 else (self.values[-1], self.values[-2])
        distance = -step if step < 0 else step - last
        if edge <= 0 or inner <= 0:
            return None
        value = edge * (edge / inner) ** distance
        return value if math.isfinite(value) and value > 0 else None


@dataclass(slots=True)
class Search:
    """Scores so far, and the best cell."""

    axes: Sequence[Axis]
    rows: list[tuple[float | int | None, ...]] = field(default_factory=list)
    scores: dict[Cell, float] = field(default_factory=dict)
    best: Cell = ()

    def values(self, cell: Cell) -> dict[str, float] | None:
        """The hyper-parameters at `cell`; None outside of what the grid can be extended to."""
        found = {axis.name: axis.at(step) for axis, step in zip(self.axes, cell, strict=True)}
        return None if None in found.values() else {name: v for name, v in found.items() if v is not None}

    def record(self, cell: Cell, samples: int, error: float, *, final: bool) -> None:
        """Keep a score; only those on the whole fitting part decide."""
        value = error if math.isfinite(error) else math.inf
        values = self.values(cell) or {}
        row = (*(values[axis.name] for axis in self.axes), samples, None if math.isinf(value) else value)
        self.rows.append(row)
        if final:
            self.scores[cell] = value

    @property
    def error(self) -> float:
        """Validation error of the best cell."""
        return self.scores[self.best]

    @property
    def on_edge(self) -> bool:
        """Whether the best cell is the last that some axis reaches: its own neighbour could not be scored."""
        for i, axis in enumerate(self.axes):
            if len(axis.values) == 1:
                continue
            for step in (-1, 1):
                beyond = self.best[i] + step
                if axis.at(beyond) is None and axis.at(self.best[i]) != 0:
                    return True
        return False

    def regularise(self) -> bool:
        """Moves to the next larger penalty, the last axis: where a solver fails to rounding; False at the end."""
        more = shifted(self.best, (0,) * (len(self.axes) - 1) + (1,))
        if self.values(more) is None:
            return False
        self.best = more
        return True

    def chosen(self) -> dict[str, float]:
        """The hyper-parameters of the best cell."""
        values = self.values(self.best)
        assert values is not None
        return values

    def table(self) -> Table:
        """Every scored cell: hyper-parameters, samples fitted on, validation error."""
        names = [Column(axis.name, "number") for axis in self.axes]
        columns = (*names, Column("samples", "integer"), Column("validation_error", "number"))
        return Table(columns, tuple(self.rows))


def grid_cells(axes: Sequence[Axis]) -> Iterator[Cell]:
    """Every cell of the stated grid, the first axis slowest."""
    if not axes:
        yield ()
        return
    for step in range(len(axes[0].values)):
        for rest in grid_cells(axes[1:]):
            yield (step, *rest)


def most_regular(scores: dict[Cell, float]) -> Cell:
    """The best cell; of those within `WORTH` of it the one farthest along the last axis, the penalty."""
    lowest = min(scores.values())
    near = [cell for cell, error in scores.items() if error <= lowest * (1 + WORTH)]
    return max(near, key=lambda cell: (cell[::-1], -scores[cell]))


def descend(
    search: Search, start: Cell, samples: int, score: Callable[[dict[str, float]], float]
) -> Generator[Progress, None, None]:
    """Move from `start` to better neighbours until there is none, scoring each cell once.

    Where `start` has no fit, as a small penalty in float32, the way begins at the next penalty that has one.
    """

    def scored(cell: Cell) -> float:
        if cell not in search.scores:
            values = search.values(cell)
            if values is None:
                return math.inf
            search.record(cell, samples, score(values), final=True)
        return search.scores[cell]

    search.best = start
    while math.isinf(scored(search.best)) and search.regularise():
        yield Progress(len(search.rows), len(search.rows) + 1, "fit")
    moved = True
    while moved:
        moved = False
        for move in moves(len(search.axes)):
            while scored(there := shifted(search.best, move)) < search.error * (1 - WORTH):
                search.best, moved = there, True
                yield Progress(len(search.rows), len(search.rows) + 1, "fit")
        yield Progress(len(search.rows), len(search.rows) + 1, "fit")


def moves(axes: int) -> list[Cell]:
    """Steps to neighbouring cells: along the penalty, then along each other axis, straight and along the valley.

    A wider kernel needs a smaller penalty for the same fit, so that valleys run aslant in the grid. What has the same
    kernel comes in turn.
    """
    *others, penalty = [tuple(int(i == j) for j in range(axes)) for i in range(axes)]
    ahead = [[penalty], *([unit, shifted(unit, penalty, -1)] for unit in others)]
    return [shifted((0,) * axes, move, way) for some in ahead for way in (1, -1) for move in some]


def shifted(cell: Cell, move: Cell, times: int = 1) -> Cell:
    """`cell` moved by `move` so many times."""
    return tuple(a + times * b for a, b in zip(cell, move, strict=True))
