"""Where labels of points stand, so that they do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: A place beside a point: its shift in pixels, and what of the text is there; the most liked first.
PLACES: Mapping[str, tuple[int, int, str]] = {
    "above": (0, -15, "center"),
    "right": (12, 0, "left"),
    "left": (-12, 0, "right"),
    "below": (0, 16, "center"),
    "right above": (10, -13, "left"),
    "left above": (-10, -13, "right"),
    "right below": (10, 13, "left"),
    "left below": (-10, 13, "right"),
    "high": (0, -30, "center"),
    "low": (0, 31, "center"),
}
LETTER, LINE = 6.0, 13.0
"""Pixels that a letter is wide, and a line high."""
RADIUS = 7.0


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """Square pixels of both."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, across) * max(0.0, down)


def places(
    texts: Sequence[str], at: Sequence[tuple[float, float]], marks: Sequence[tuple[float, float]], size: tuple[int, int]
) -> list[str]:
    """For each text a place beside its point `at` (pixels from the top left of a panel of `size`).

    One after another, each takes the place where it covers least of the labels before it, of all `marks` and of what is
    outside the panel.
    """
    taken: list[Box] = []
    dots = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in marks]
    found = []
    for text, point in zip(texts, at, strict=True):
        boxes = {name: _box(text, point, name) for name in PLACES}
        costs = {name: _cost(box, taken, dots, size) for name, box in boxes.items()}
        best = min(costs, key=lambda name: costs[name])  # the first of equals
        taken.append(boxes[best])
        found.append(best)
    return found


def _box(text: str, point: tuple[float, float], place: str) -> Box:
    dx, dy, align = PLACES[place]
    wide = LETTER * len(text)
    left = point[0] + dx - {"center": wide / 2, "left": 0.0, "right": wide}[align]
    middle = point[1] + dy
    return Box(left, middle - LINE / 2, left + wide, middle + LINE / 2)


def _cost(box: Box, taken: Sequence[Box], dots: Sequence[Box], size: tuple[int, int]) -> float:
    whole = (box.right - box.left) * (box.bottom - box.top)
    outside = whole - box.shared(Box(0, 0, size[0], size[1]))
    return 20 * sum(map(box.shared, taken)) + sum(map(box.shared, dots)) + 2 * outside


def pixels(values: Sequence[float], low: float, high: float, length: int, *, logarithmic: bool = False) -> list[float]:
    """Where values stand on a scale from `low` to `high` that is `length` pixels long."""
    if logarithmic:
        values, low, high = [math.log10(value) for value in values], math.log10(low), math.log10(high)
    span = (high - low) or 1.0
    return [length * (value - low) / span for value in values]
