import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from store import claims, series
from tests.ledger import Ledger


def points(key: str, steps: list[int], values: list[float], layer: int | None = None) -> series.Points:
    return series.Points(key, layer, "u", np.array(steps), np.array(values))


def write(ledger: Ledger, one: claims.Claimed, mark: int, *found: series.Points) -> dict[str, object]:
    return dict(ledger.run(series.write, [series.Batch(one.id, one.epoch, mark, list(found))]))


def test_points_come_back_bit_for_bit_and_in_order(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    values = [0.1, -0.0, float("inf"), 1e-320, float("nan")]
    write(ledger, one, 1, points("loss", [1, 2, 3], values[:3]), points("error", [1], [2.0], layer=2))
    write(ledger, one, 2, points("loss", [4, 5], values[3:]))
    found = {(p.key, p.layer): p for _, p in ledger.run(series.read, [job])}
    assert found["loss", None].values.tobytes() == np.array(values).tobytes()
    assert found["loss", None].steps.tolist() == [1, 2, 3, 4, 5]
    assert found["error", 2].unit == "u"
    ((_, cut),) = ledger.run(series.read, [job], keys=["loss"], from_step=2, to_step=4)
    assert cut.steps.tolist() == [2, 3, 4]


def test_news_are_what_no_event_has_told(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    news = write(ledger, one, 1, points("loss", [1, 2], [0.5, float("nan")]))
    assert news[job] == [{"key": "loss", "unit": "u", "steps": [1, 2], "values": [0.5, None]}]
    ledger.end(one, "lost")
    (again,) = ledger.claim()
    news = write(ledger, again, 1, points("loss", [1, 2, 3], [0.5, 0.4, 0.3]))
    assert news[job] == [{"key": "loss", "unit": "u", "steps": [3], "values": [0.3]}]


def test_many_small_rows_become_few_and_read_the_same(ledger: Ledger) -> None:
    job = ledger.submit()
    (one,) = ledger.claim()
    for mark in range(1, 30):
        write(ledger, one, mark, points("loss", [2 * mark, 2 * mark + 1], [mark, -mark]))
    ((_, before),) = ledger.run(series.read, [job])
    ledger.run(series.compact, job, one.epoch)
    ((_, after),) = ledger.run(series.read, [job])
    assert len(ledger.all("SELECT 1 FROM series_chunks")) == 1
    assert after.steps.tolist() == before.steps.tolist()
    assert after.values.tolist() == before.values.tolist()


@given(st.lists(st.floats(allow_nan=True, width=32), max_size=300), st.integers(1, 80))
@settings(max_examples=200, deadline=None)
def test_thinning_keeps_ends_extremes_and_its_bound(values: list[float], most: int) -> None:
    array = np.array(values)
    kept = series.extremes(array, most)
    assert len(kept) <= max(most, 0)
    assert (np.diff(kept) > 0).all()
    if len(values) > most >= 4:
        assert kept[0] == 0
        assert kept[-1] == len(values) - 1
        finite = array[np.isfinite(array)]
        if len(finite) == len(array):
            assert array[kept].max() == array.max()
            assert array[kept].min() == array.min()
        elif len(finite) < len(array) <= 4 * most:
            assert not np.isfinite(array[kept]).all()
    if len(values) <= most:
        assert kept.tolist() == list(range(len(values)))
