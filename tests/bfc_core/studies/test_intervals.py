"""Laws of the exact intervals."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfc_core.studies import intervals

RANKS = {
    range(6): 0,
    range(6, 9): 1,
    range(9, 12): 2,
    range(12, 15): 3,
    range(15, 17): 4,
    range(17, 20): 5,
    range(20, 23): 6,
}


def test_ranks_are_those_of_the_published_table():
    assert {n: intervals.rank(n) for ns in RANKS for n in ns} == {n: r for ns, r in RANKS.items() for n in ns}


@given(st.integers(6, 300))
def test_the_rank_is_the_largest_that_keeps_each_tail_within_one_in_forty(n):
    r = intervals.rank(n)
    tail = sum(math.comb(n, i) for i in range(r)) / 2**n
    assert tail <= 0.025 < tail + math.comb(n, r) / 2**n


@pytest.mark.parametrize("n", [6, 9, 14, 20])
def test_the_interval_covers_the_median_at_its_stated_rate(n):
    draw, trials = random.Random(n), 20_000
    hits = 0
    for _ in range(trials):
        low, high = intervals.order_interval([draw.expovariate(1.0) for _ in range(n)])
        hits += low <= math.log(2) <= high
    stated = intervals.coverage(n)
    assert stated >= 0.95
    assert abs(hits / trials - stated) < 4 * math.sqrt(stated * (1 - stated) / trials)


def test_five_values_give_the_whole_line():
    assert intervals.order_interval([1, 2, 3, 4, 5]) == (-math.inf, math.inf)


@given(st.lists(st.floats(allow_nan=False), min_size=6, max_size=40))
def test_the_interval_holds_the_sample_median_and_forgets_the_order(values):
    low, high = intervals.order_interval(values)
    assert low <= intervals.median(values) <= high
    assert intervals.order_interval(values[::-1]) == (low, high)


def test_minus_infinity_ranks_below_every_number():
    nine = [1.0] * 9
    assert intervals.order_interval([-math.inf, *nine[1:]])[0] == 1.0
    assert intervals.order_interval([-math.inf] * 2 + nine[2:])[0] == -math.inf
    assert intervals.median([-math.inf, -math.inf, 3.0, 4.0]) == -math.inf
    assert intervals.median([-math.inf, math.inf]) == -math.inf


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_ends_leave_exactly_the_tail(pair):
    count, n = pair
    low, high = intervals.clopper_pearson(count, n)
    assert 0 <= low <= count / n <= high <= 1
    if count:
        assert intervals.at_least(n, count, low) == pytest.approx(0.025, rel=1e-9)
    if count < n:
        assert 1 - intervals.at_least(n, count + 1, high) == pytest.approx(0.025, rel=1e-9)


def test_clopper_pearson_of_nothing_is_the_whole_unit():
    assert intervals.clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"0\.\.3"):
        intervals.clopper_pearson(4, 3)


@pytest.mark.parametrize(("n", "share"), [(6, 0.95), (9, 0.9), (20, 0.75)])
def test_power_is_the_frequency_with_which_the_low_end_clears(n, share):
    draw, trials = random.Random(f"{n}"), 20_000
    hits = sum(
        intervals.order_interval([draw.random() for _ in range(n)])[0] >= 1 - share for _ in range(trials)
    )
    assert abs(hits / trials - intervals.power(n, share)) < 0.015


def test_power_at_an_even_chance_is_within_the_tail():
    assert all(intervals.power(n, 0.5) <= 0.025 for n in range(1, 60))
    assert intervals.power(5, 1.0) == 0.0


def test_the_seeds_needed_have_the_power_and_fewer_have_not():
    for share in (0.6, 0.75, 0.9, 0.99):
        n = intervals.seeds_needed(share)
        assert n is not None
        assert intervals.power(n, share) >= 0.8
        assert all(intervals.power(fewer, share) < 0.8 for fewer in range(1, n))
    assert intervals.seeds_needed(0.5) is None
