"""From readings of a seed's runs to one value a seed: ratios and errors, larger is better.

What went wrong ranks worst: a missing member, and a diverged treatment, give minus infinity; a diverged control
counts as relative error 1, so that blowing up never flatters what it is compared with.
"""

from __future__ import annotations

import math

from bfc_core.studies.outcomes import DIVERGED, Reading

FEATURE_FLOOR = 1e-6
"""Smallest feature error that counts: below it float64 least squares measures itself."""

ERROR_FLOOR = 1e-12
"""Smallest relative test error that counts; only keeps logarithms finite."""


def log_ratio(control: Reading, treatment: Reading, floor: float = ERROR_FLOOR) -> float:
    """log10 of control over treatment, both capped at 1."""
    if control is None or treatment is None or treatment == DIVERGED:
        return -math.inf
    return math.log10(_clamped(control, floor) / _clamped(treatment, floor))


def log_error(treatment: Reading, floor: float = ERROR_FLOOR) -> float:
    """-log10 of an error, capped at 1."""
    if treatment is None or treatment == DIVERGED:
        return -math.inf
    return -math.log10(_clamped(treatment, floor))


def control_error(control: Reading) -> float:
    """The error of a control, capped at 1."""
    return -math.inf if control is None else min(control, 1.0)


def _clamped(error: float, floor: float) -> float:
    return max(floor, min(error, 1.0))
