"""The bell: a hint that is rung at once or not at all."""

import time

import pytest

from store.bell import BellError, bell


def test_a_broker_that_is_away_is_known_at_once() -> None:
    with bell("redis://127.0.0.1:1/0") as one:
        waits = []
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(BellError):
                one.ring("cpu", "job_x")
            waits.append(time.monotonic() - begun)
    # The first loads the driver; kombu by itself would try for seconds each time.
    assert min(waits) < 1
