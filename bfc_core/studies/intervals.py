"""Exact, distribution-free intervals: order statistics for medians, Clopper-Pearson for rates.

Everything is a binomial sum, so numbers are exact to float64 and no statistics library is needed.

Source: David and Nagaraja, *Order Statistics*, 3rd ed. (2003), §7.1; Clopper and Pearson, Biometrika 26 (1934).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

TAIL = 0.025
"""Error allowed on each side of an interval."""

LEAST_SEEDS = 6
"""Below six values even the extremes miss the median more often than `TAIL` a side."""

MOST_SEEDS = 400
"""`seeds_needed` looks no further."""


@lru_cache(maxsize=4096)
def rank(n: int) -> int:
    """The largest r with P(Bin(n, 1/2) <= r - 1) <= 1/40, in integers; 0 where there is none (n < 6)."""
    below, r = 0, 0
    while r <= n:
        below += math.comb(n, r)
        if 40 * below > 1 << n:
            return r
        r += 1
    return 0


def coverage(n: int) -> float:
    """Probability that [x_(r), x_(n+1-r)] holds the median of a continuous distribution; 1 for the whole line."""
    return 1.0 - 2.0 * sum(math.comb(n, i) for i in range(rank(n))) / float(2**n)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two; infinities rank as numbers.

    Two middle values of opposite infinity have no mean: the lower one stands, as the worse.
    """
    if not values:
        raise ValueError("the median of no values is undefined")
    ranked = sorted(values)
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return low if low == high or math.isinf(low) else (low + high) / 2


def order_interval(values: Sequence[float]) -> tuple[float, float]:
    """[x_(r), x_(n+1-r)], which holds the median with probability `coverage(n)`; the whole line for n < 6."""
    r = rank(len(values))
    if r == 0:
        return -math.inf, math.inf
    ranked = sorted(values)
    return ranked[r - 1], ranked[-r]


def at_least(n: int, k: int, share: float) -> float:
    """P(Bin(n, share) >= k)."""
    if k <= 0:
        return 1.0
    if share <= 0 or k > n:
        return 0.0
    if share >= 1:
        return 1.0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(share)
        + (n - i) * math.log1p(-share)
        for i in range(k, n + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def power(n: int, share: float) -> float:
    """Probability that the low end of n values clears a threshold that each value clears with probability `share`."""
    r = rank(n)
    return at_least(n, n - r + 1, share) if r else 0.0


@lru_cache(maxsize=4096)
def seeds_needed(share: float, wanted: float = 0.8) -> int | None:
    """The fewest values with `power` of at least `wanted`; None where `MOST_SEEDS` would not do.

    More values at the same rank only make it harder, so the first n of each rank is enough to look at.
    """
    if share <= 0.5:
        return None
    candidates = (n for n in range(LEAST_SEEDS, MOST_SEEDS + 1) if rank(n) > rank(n - 1))
    return next((n for n in candidates if power(n, share) >= wanted), None)


def clopper_pearson(count: int, n: int) -> tuple[float, float]:
    """The exact interval of a rate seen `count` times in `n`, with at most `TAIL` on each side; [0, 1] for n = 0."""
    if not 0 <= count <= n:
        raise ValueError(f"count must lie in 0..{n}, got {count}")
    low = 0.0 if count == 0 else _solve(lambda share: at_least(n, count, share) - TAIL)
    high = 1.0 if count == n else _solve(lambda share: at_least(n, count + 1, share) - (1 - TAIL))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function on [0, 1] crosses zero, to float64's last bits."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
