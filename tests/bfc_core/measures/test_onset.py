"""The onset of a level."""

import pytest

from bfc_core.measures import Undefined, onset


def test_the_onset_is_where_a_series_falls_below_for_good() -> None:
    assert onset([0, 10, 20, 30, 40], [1, 0.005, 0.2, 0.009, 0.001]) == 30
    assert onset([0, 10], [0.001, 0.002]) == 0


def test_a_level_that_is_not_learnt_at_the_end_has_no_onset() -> None:
    assert isinstance(onset([0, 10, 20], [1, 0.001, 0.5]), Undefined)
    assert isinstance(onset([0, 10], [1, float("nan")]), Undefined)
    assert isinstance(onset([], []), Undefined)


def test_steps_and_values_belong_together() -> None:
    with pytest.raises(ValueError, match="2 steps"):
        onset([1, 2], [0.5])
