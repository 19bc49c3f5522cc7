"""Sliding windows: what it gains to keep the newest layers free, beside the same updates spent one layer at a time."""

from __future__ import annotations

from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import DOTS, Row, Study, grouped, interval_rule, over_seeds, positive, readouts
from bfc_core.figures.how_deep import measure_of
from bfc_core.figures.parts import PANEL_WIDTH, Spec, bands, grid, nominal, nothing, page, titled, where
from bfc_core.figures.theme import Theme

TITLE = "Sliding windows"
WAYS = {"sliding": "sliding window", "sliding_equal_updates": "greedy, equal updates"}


@figure("sliding", TITLE, "correction", asked_by=lambda spec: spec.get("sliding"))
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Relative test error (accuracy for classes) against the width of a sliding window, beside its greedy control.

    The control trains each layer alone, its stage repeated as often as the layer was in the window.
    """
    measure = measure_of(study)
    runs = [row for row in study.rows("how_deep") if row["control"] in WAYS]
    points = [_point(row, measure.column) for row in runs if positive(row.get(measure.column))]
    if not points:
        return nothing(TITLE, "No sliding windows were trained; the study's field `sliding` asks for them.", theme)
    groups = grouped(points, "readout", "how", "width")
    medians = [
        {"readout": readout, "how": how, "width": width}
        | over_seeds((row["value"] for row in rows), study.seeds, measure.worst)
        for (readout, how, width), rows in groups.items()
    ]
    colours = dict(zip(WAYS.values(), theme.hues, strict=False))
    panels = [_panel(readout, measure.word, measure.axis, colours) for readout in readouts(points)]
    words = (
        "Each stage adds a layer and trains the newest w; the control spends the same updates on one layer at a time.",
        interval_rule(study.seeds, DOTS),
    )
    return page(TITLE, words, {"points": points, "medians": medians}, grid(panels), theme)


def _point(row: Row, column: str) -> Row:
    kept = {"readout": row["readout"], "seed": row["seed"], "width": row["free"]}
    return {**kept, "how": WAYS[row["control"]], "value": row[column]}


def _panel(readout: str, word: str, axis: Spec, colours: dict[str, str]) -> Spec:
    keep = where(readout=readout)
    x = {"field": "width", "type": "ordinal", "axis": {"title": "w, layers in the window", "labelAngle": 0}}
    y: Spec = {"type": "quantitative", **axis}
    colour = nominal("how", colours, columns=2)
    dots: Spec = {"mark": {"type": "point", "opacity": 0.6, "size": 24}, "data": {"name": "points"}}
    large: Spec = {"mark": {"type": "point", "filled": True, "opacity": 1, "size": 60}, "data": {"name": "medians"}}
    marks = [
        {**dots, "transform": keep, "encoding": {"x": x, "y": {**y, "field": "value"}, "color": colour}},
        {**large, "transform": keep, "encoding": {"x": x, "y": {**y, "field": "median"}, "color": colour}},
    ]
    layers = [*bands("medians", keep, x, y, colour), *marks]
    return {
        "title": titled(f"{word} against the window's width", readout),
        "width": PANEL_WIDTH,
        "height": 260,
        "layer": layers,
    }
