"""The rate of a step: warm-up, then decay."""

from __future__ import annotations

import math

from bfc_core.specs.optimizer import OptimizerSpec

#: Of the peak, where a decay ends.
FLOOR = 0.01


def rate_factor(optimizer: OptimizerSpec, step: int, steps: int) -> float:
    """Factor on the peak rate at `step` (from 0) of a stage of `steps`.

    Warm-up is linear and never longer than a tenth of the stage.
    """
    warmup = min(optimizer.warmup_steps, max(1, steps // 10))
    if optimizer.decay == "triangular":
        return _triangle((step + 1) / steps)
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if rising < 1.0 or optimizer.decay == "constant":
        return rising
    done = max(0, step - warmup) / max(1, steps - warmup)
    if optimizer.decay == "cosine":
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
    if optimizer.decay == "linear":
        return 1 - (1 - FLOOR) * done
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def _triangle(done: float) -> float:
    """Up over the first fifth, then down to 0."""
    return done / 0.2 if done <= 0.2 else max(0.0, (1 - done) / 0.8)
