"""A short storm with a fixed seed; `make chaos` runs long ones."""

import pytest

from tests.chaos.__main__ import run


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
def test_a_short_storm_breaks_nothing() -> None:
    # On this host alone: a browser in another test drops its requests when the machine's network changes.
    report = run(seed=7, faults=12, jobs=12, workers=2, engine="fake", apart=False)
    assert report.broken == 0, report.table()
    assert report.faults.total() == 12
    assert report.attempts > report.jobs, "no fault has hit anything"
