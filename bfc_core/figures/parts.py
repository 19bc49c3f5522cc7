"""Marks that several figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bfc_core.figures.data import NARROW, caption
from bfc_core.figures.theme import Theme, heading

Spec = dict[str, Any]

PANEL_WIDTH = 410
"""Two panels with their axes make a figure of 1,000 pixels."""


def where(**values: Any) -> list[Spec]:
    """The transform that keeps rows whose fields have these values."""
    tests = [f"datum[{name!r}] === {_literal(value)}" for name, value in values.items()]
    return [{"filter": " && ".join(tests)}]


def _literal(value: Any) -> str:
    return "null" if value is None else repr(value)


def nominal(
    field: str, colours: Mapping[str, str], title: str | None = None, columns: int | None = None
) -> Spec:
    """Colour by a field of few words, each with its own colour in both themes."""
    legend: Spec = {
        "orient": "bottom",
        "title": title,
        "direction": "horizontal",
        "symbolType": "stroke",
        "symbolOpacity": 1,
        "symbolStrokeWidth": 3,
    }
    if columns:
        legend["columns"] = columns
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(colours), "range": list(colours.values())},
        "legend": legend,
    }


def bands(data: str, keep: Sequence[Spec], x: Spec, y: Spec, colour: Spec) -> list[Spec]:
    """Interval band and thick median line of a data set with `median`, `low` and `high`."""
    base: Spec = {"data": {"name": data}, "transform": list(keep)}
    shaded = [*keep, {"filter": "isValid(datum.low) && isValid(datum.high)"}]
    return [
        {
            **base,
            "transform": shaded,
            "mark": {"type": "area", "opacity": 0.16, "clip": True},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            **base,
            "mark": {"type": "line", "strokeWidth": 2.6, "clip": True, "strokeCap": "round"},
            "encoding": {"x": x, "y": {**y, "field": "median"}, "color": colour},
        },
    ]


def seed_lines(data: str, keep: Sequence[Spec], x: Spec, y: Spec, colour: Spec, seed: str = "seed") -> Spec:
    """One thin line a seed."""
    return {
        "data": {"name": data},
        "transform": list(keep),
        "mark": {"type": "line", "strokeWidth": 0.8, "opacity": 0.38, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "value"}, "color": colour, "detail": {"field": seed}},
    }


def lone_dots(data: str, keep: Sequence[Spec], x: Spec, y: Spec, colour: Spec, *series: str) -> Spec:
    """A dot for each of the `series` that has one point alone, which makes no line."""
    count: Spec = {"joinaggregate": [{"op": "count", "as": "points"}], "groupby": list(series)}
    return {
        "data": {"name": data},
        "transform": [*keep, count, {"filter": "datum.points === 1"}],
        "mark": {"type": "point", "filled": True, "size": 30, "opacity": 0.7},
        "encoding": {"x": x, "y": {**y, "field": "value"}, "color": colour},
    }


def rules(data: str, field: str, theme: Theme, channel: str = "x", keep: Sequence[Spec] = ()) -> Spec:
    """Dashed lines across the panel at every value of a field."""
    return {
        "data": {"name": data},
        "transform": list(keep),
        "mark": {"type": "rule", "strokeDash": [3, 3], "color": theme.dim, "opacity": 0.8},
        "encoding": {channel: {"field": field, "type": "quantitative"}},
    }


def titled(words: str, readout: str) -> str:
    """A panel's title: what it shows, and of which read-out where there are two."""
    said = words[0].upper() + words[1:]
    return f"{said} · {readout} read-out" if readout in ("fixed", "signed") else said


def grid(panels: Sequence[Spec]) -> Spec:
    """Panels in rows of two."""
    # A panel's own shapes: marks of verdicts are none of a line's.
    apart = {"resolve": {"scale": {"shape": "independent"}}}
    pairs = (list(panels[i : i + 2]) for i in range(0, len(panels), 2))
    rows = [{"hconcat": pair, "spacing": 34, **apart} for pair in pairs]
    return {"vconcat": rows, "spacing": 22, **apart}


def page(title: str, sentences: Sequence[str], datasets: Mapping[str, Any], body: Spec, theme: Theme) -> Spec:
    """A whole figure: heading, caption as wide as its panels, data sets and panels."""
    rounded = {name: [_rounded(row) for row in rows] for name, rows in datasets.items()}
    alone = all(len(row.get("hconcat", ())) == 1 for row in body.get("vconcat", [{}]))
    lines = caption(*sentences, width=NARROW) if alone else caption(*sentences)
    return {"title": heading(title, lines, theme), "datasets": rounded, **body}


def _rounded(row: Mapping[str, Any]) -> Spec:
    """Five digits are more than a figure shows, and halve its size."""
    return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}


def nothing(title: str, why: str, theme: Theme) -> Spec:
    """A figure that has nothing to show, and says why."""
    return {
        "title": heading(title, caption(why, width=NARROW), theme),
        "data": {"values": [{}]},
        "width": 600,
        "height": 40,
        "mark": {"type": "text", "text": "nothing to draw", "color": theme.dim, "fontSize": 13},
    }
