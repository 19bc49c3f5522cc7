"""Labels of points that stand close to each other."""

from __future__ import annotations

import numpy as np

from bfc_core.figures import labels
from bfc_core.figures.labels import PLACES, pixels, places

SIZE = (400, 300)


def test_a_label_alone_stands_above_its_point_and_inside_the_panel() -> None:
    assert places(["(2, 1)"], [(200.0, 150.0)], [(200.0, 150.0)], SIZE) == ["above"]
    corner = (398.0, 2.0)
    assert places(["(2, 1)"], [corner], [corner], SIZE) == ["left below"]


def test_labels_of_points_side_by_side_cover_neither_each_other_nor_the_points() -> None:
    at = [(200.0 + 14 * n, 150.0) for n in range(6)]
    texts = [f"({n}, 1)" for n in range(6)]
    chosen = places(texts, at, at, SIZE)
    boxes = [labels._box(text, point, place) for text, point, place in zip(texts, at, chosen, strict=True)]
    dots = [labels.Box(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    assert sum(a.shared(b) for i, a in enumerate(boxes) for b in boxes[:i]) == 0
    assert sum(box.shared(dot) for box in boxes for dot in dots) == 0


def test_in_a_crowd_labels_share_less_than_all_above_would() -> None:
    at = [(float(x), float(y)) for x, y in np.random.default_rng(0).uniform(120, 200, (14, 2))]
    texts = ["(6, 5)"] * 14

    def covered(chosen: list[str]) -> float:
        boxes = [labels._box("(6, 5)", point, place) for point, place in zip(at, chosen, strict=True)]
        return sum(a.shared(b) for i, a in enumerate(boxes) for b in boxes[:i])

    assert covered(places(texts, at, at, SIZE)) < 0.2 * covered(["above"] * 14)
    assert set(places(texts, at, at, SIZE)) <= set(PLACES)


def test_values_stand_where_their_scale_puts_them() -> None:
    assert pixels([0.0, 5.0, 10.0], 0.0, 10.0, 100) == [0.0, 50.0, 100.0]
    assert pixels([1e-4, 1e-2, 1.0], 1e-4, 1.0, 400, logarithmic=True) == [0.0, 200.0, 400.0]
    assert pixels([3.0], 3.0, 3.0, 100) == [0.0]
