"""The bell: a hint that is rung at once or not at all."""

import time

import pytest

from store.bell import BellError, bell


def test_a_broker_that_is_away_is_known_at_once() -> None:
    with bell("redis://127.0.0.1:1/0") as one:
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(BellError):
                one.ring("cpu", "job_x")
    assert time.monotonic() - begun < 2
