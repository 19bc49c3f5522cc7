"""The number of samples N* at which an error curve crosses a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 1e-2
"""Relative error that counts as learned."""


def falling(values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """The nearest non-increasing sequence in least squares (pool adjacent violators).

    Source: Barlow, Bartholomew, Bremner, Brunk, *Statistical Inference under Order Restrictions* (1972).
    """
    weights = [1.0] * len(values) if weights is None else weights
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks.pop(-2), blocks.pop()
            blocks.append(((wa * a + wb * b) / (wa + wb), wa + wb, na + nb))
    return [value for value, _, count in blocks for _ in range(count)]


def crossing(samples: Sequence[int], errors: Sequence[float | None], level: float = LEVEL) -> float:
    """N* of one seed: where the isotonic curve of log error over log N reaches `level`.

    `samples` rise. A missing or diverged error counts as 1. Between two N the curve is a straight line in logarithms.
    Censored: the first N where the curve starts at or below the level, infinity where it never reaches it.
    """
    logs = falling([math.log(_error(error)) for error in errors])
    aim = math.log(level)
    if logs[0] <= aim:
        return float(samples[0])
    for i in range(1, len(logs)):
        if logs[i] <= aim:
            share = (logs[i - 1] - aim) / (logs[i - 1] - logs[i])
            return math.exp((1 - share) * math.log(samples[i - 1]) + share * math.log(samples[i]))
    return math.inf


def _error(error: float | None) -> float:
    return 1.0 if error is None or math.isinf(error) else max(error, 1e-12)
