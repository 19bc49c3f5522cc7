"""Figure 2: how deep correction reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import (
    DOTS,
    Row,
    Study,
    grouped,
    interval_rule,
    over_seeds,
    positive,
    readouts,
    stuck_in,
    verdict_words,
)
from bfc_core.figures.parts import PANEL_WIDTH, Spec, grid, nominal, nothing, page, titled, where
from bfc_core.figures.theme import Theme, decades, log_axis

TITLE = "How deep"
MARKS = {"supported": "tick", "not_supported": "cross", "underpowered": "?"}
SHAPES = {"tick": "M-1,0.1L-0.3,0.8L1,-0.8", "cross": "M-0.8,-0.8L0.8,0.8M0.8,-0.8L-0.8,0.8"}
"""Drawn as paths: a font that lacks such signs makes the whole label fall back on another."""
FLOOR = 1e-8


@figure("how_deep", TITLE, "correction")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Relative test error (accuracy for classes) after training levels ≤ l, freeing the top k, and training the rest.

    Left: the median of every window (l, k), marked by whether its k-th level gains. Right: error against k, beside the
    control of equal updates and joint training for as many steps.
    """
    measure = measure_of(study)
    column, worst = measure.column, measure.worst
    runs = [row | {"value": row[column]} for row in study.rows("how_deep") if positive(row.get(column))]
    windows = [row for row in runs if row["train_up_to"] is not None]
    if not windows:
        return nothing(TITLE, "The study was run without windows.", theme)
    points = [_point(row) for row in windows if not (row["control"] == "equal_updates" and row["free"] == 0)]
    sets = {
        "points": points,
        "medians": _medians(points, study.seeds, worst),
        "cells": _cells(windows, study, measure),
        "joint": _joint(runs, study.seeds, worst),
    }
    rows = sorted({row["row"] for row in points})
    colours = {row: theme.hues[i % len(theme.hues)] for i, row in enumerate(rows)}
    shown = readouts(windows)
    panels = []
    for readout in shown:
        panels += [
            _heat(readout, measure, theme),
            _lines(readout, measure, colours, theme, legend=readout == shown[-1], spread=len(rows) > 1),
        ]
    words = (
        "Tick: the k-th freed level gains over k − 1 and over its equal-update control; cross: it does not; ?: undecided.",
        "Dashed, diamonds: the same updates spent before the higher levels came. Dotted: joint for both stages' steps.",
        interval_rule(study.seeds, DOTS),
        stuck_in(windows),
        verdict_words(study.claims("correction_is_deep", "one_level_suffices")),
    )
    return page(TITLE, words, sets, grid(panels), theme)


def _name(row: Row) -> str:
    return f"l = {row['train_up_to']}"


def _point(row: Row) -> Row:
    how = "equal updates" if row["control"] == "equal_updates" else "window"
    kept = {name: row[name] for name in ("readout", "free", "seed", "stuck")}
    kept["free"] = str(kept["free"])
    return {"row": _name(row), "how": how, "value": row["value"], **kept}


def _medians(points: list[Row], planned: int, worst: float) -> list[Row]:
    groups = grouped(points, "readout", "row", "how", "free")
    found = []
    for (readout, row, how, free), rows in groups.items():
        place = {"readout": readout, "row": row, "how": how, "free": free}
        found.append(place | over_seeds((one["value"] for one in rows), planned, worst))
    return found + [_shared(row) for row in found if row["free"] == "0" and _has_control(row, found)]


def _has_control(window: Row, medians: list[Row]) -> bool:
    here = (window["readout"], window["row"])
    return any((row["readout"], row["row"]) == here and row["how"] == "equal updates" for row in medians)


def _shared(window: Row) -> Row:
    """Where the control's line starts: with nothing freed it is the window itself, so it has no mark of its own."""
    return {**window, "how": "equal updates", "low": None, "high": None, "shared": True}


def _cells(windows: list[Row], study: Study, measure: Measure) -> list[Row]:
    """The median of every window, and the mark of its verdict."""
    verdicts = {(r["readout"], r["train_up_to"], r["free"]): r["verdict"] for r in study.rows("gains")}
    plain = [row for row in windows if row["control"] == "none"]
    found = []
    for (readout, level, free), rows in grouped(plain, "readout", "train_up_to", "free").items():
        median = over_seeds((row["value"] for row in rows), study.seeds, measure.worst)["median"]
        mark = MARKS.get(verdicts.get((readout, level, free), ""), "")
        label = (f"{median:.1%}" if measure.worst == 0 else f"{median:.2g}") + (" ?" if mark == "?" else "")
        place = {"readout": readout, "level": level, "free": free}
        found.append({**place, "median": median, "mark": mark, "label": label})
    return found


def _joint(runs: list[Row], planned: int, worst: float) -> list[Row]:
    rows = [row for row in runs if row["control"] == "joint"]
    return [
        {"readout": readout} | over_seeds((row["value"] for row in group), planned, worst)
        for (readout,), group in grouped(rows, "readout").items()
    ]


@dataclass(frozen=True, slots=True)
class Measure:
    """How good a run is: which column tells, and how it is drawn. `deep` tests whether a cell's shade is a dark one."""

    column: str
    word: str
    worst: float
    axis: Spec
    shade: Spec
    deep: str


def measure_of(study: Study) -> Measure:
    """Accuracy where the study has it, else the relative test error on a logarithmic scale."""
    rows = study.rows("how_deep")
    accuracies = [row["test_accuracy"] for row in rows if row.get("test_accuracy") is not None]
    if accuracies:
        span = [min(accuracies), max(accuracies)]
        axis = {
            "scale": {"zero": False, "nice": True},
            "axis": {"title": "test accuracy", "format": ".1~%", "tickCount": 6, "tickMinStep": 0.001},
        }
        shade: Spec = {"domain": span, "scheme": "viridis"}
        return Measure("test_accuracy", "accuracy", 0.0, axis, shade, f"datum.median < {sum(span) / 2!r}")
    ticks = decades((v for row in rows if positive(v := row["relative_test_error"])), FLOOR, 1.0)
    shade = {"type": "log", "domain": [ticks[0], ticks[-1]], "scheme": "viridis", "reverse": True}
    middle = (ticks[0] * ticks[-1]) ** 0.5
    axis = log_axis(ticks, "relative test error")
    return Measure("relative_test_error", "error", 1.0, axis, shade, f"datum.median > {middle!r}")


def _heat(readout: str, measure: Measure, theme: Theme) -> Spec:
    axis = {"labelAngle": 0, "grid": False}
    encoding = {
        "x": {"field": "free", "type": "ordinal", "axis": {"title": "k, levels freed", **axis}},
        "y": {"field": "level", "type": "ordinal", "axis": {"title": "l, trained first", **axis}},
    }
    colour = {
        "field": "median",
        "type": "quantitative",
        "scale": measure.shade,
        "legend": None,
    }
    shape = {
        "field": "mark",
        "type": "nominal",
        "scale": {"domain": list(SHAPES), "range": list(SHAPES.values())},
        "legend": None,
    }
    ink = {"condition": {"test": measure.deep, "value": "#ffffff"}, "value": "#10131a"}
    return {
        "title": titled(f"median {measure.word} of each window", readout),
        "width": PANEL_WIDTH,
        "height": 230,
        "data": {"name": "cells"},
        "transform": where(readout=readout),
        "encoding": encoding,
        "layer": [
            {
                "mark": {"type": "rect", "cornerRadius": 3, "stroke": theme.ground, "strokeWidth": 3},
                "encoding": {"color": colour},
            },
            {
                "mark": {"type": "text", "fontSize": 14, "fontWeight": 600, "dy": -8},
                "encoding": {"text": {"field": "label"}, "color": ink},
            },
            {
                "transform": [{"filter": "datum.mark === 'tick' || datum.mark === 'cross'"}],
                "mark": {
                    "type": "point",
                    "filled": False,
                    "size": 110,
                    "strokeWidth": 2.4,
                    "yOffset": 14,
                    "opacity": 1,
                },
                "encoding": {"shape": shape, "color": ink},
            },
        ],
    }


def _lines(
    readout: str, measure: Measure, colours: dict[str, str], theme: Theme, *, legend: bool, spread: bool
) -> Spec:
    keep = where(readout=readout)
    axis = {"title": "k, levels freed", "labelAngle": 0}
    x: Spec = {
        "field": "free",
        "type": "ordinal",
        "scale": {"type": "band", "paddingInner": 0.5},
        "axis": axis,
    }
    shift: Spec = {"xOffset": {"field": "row", "scale": {"domain": list(colours)}}} if spread else {}
    y = {"type": "quantitative", **measure.axis}
    colour = nominal("row", colours, columns=6) if legend else nominal("row", colours) | {"legend": None}
    ways = ["window", "equal updates"]
    dash = {"field": "how", "scale": {"domain": ways, "range": [[1, 0], [6, 4]]}, "legend": None}
    shape = {"field": "how", "scale": {"domain": ways, "range": ["circle", "diamond"]}, "legend": None}
    detail = [{"field": "how"}]
    fill = {"condition": {"test": "datum.stuck === true", "value": theme.ground}, "field": "row", "type": "nominal",
            "scale": colour["scale"], "legend": None}  # fmt: skip
    return {
        "title": titled(f"{measure.word} against levels freed", readout),
        "width": PANEL_WIDTH,
        "height": 230,
        "layer": [
            {
                "data": {"name": "joint"},
                "transform": keep,
                "mark": {"type": "rule", "strokeDash": [1.5, 3], "color": theme.ink, "strokeWidth": 1.5},
                "encoding": {"y": {**y, "field": "median"}},
            },
            {
                "data": {"name": "medians"},
                "transform": [*keep, {"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 7, "opacity": 0.2},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "low"},
                    "y2": {"field": "high"},
                    "color": colour,
                    **shift,
                },
            },
            {
                "data": {"name": "points"},
                "transform": keep,
                "mark": {"type": "point", "size": 26, "opacity": 0.7},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "value"},
                    "color": colour,
                    "fill": fill,
                    "shape": shape,
                    **shift,
                },
            },
            {
                "data": {"name": "medians"},
                "transform": keep,
                "mark": {"type": "line", "strokeWidth": 2.6},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "median"},
                    "color": colour,
                    "strokeDash": dash,
                    "detail": detail,
                    **shift,
                },
            },
            {
                "data": {"name": "medians"},
                "transform": [*keep, {"filter": "!datum.shared"}],
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x, "y": {**y, "field": "median"}, "color": colour, "shape": shape, **shift},
            },
        ],
    }
