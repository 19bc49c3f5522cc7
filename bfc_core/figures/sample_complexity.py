"""Figure 5: sample complexity."""

from __future__ import annotations

from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import (
    Row,
    Study,
    grouped,
    interval_rule,
    over_seeds,
    positive,
    stuck_words,
    verdict_words,
)
from bfc_core.figures.parts import Spec, bands, nothing, page, seed_lines
from bfc_core.figures.theme import Theme, decades, log_axis
from bfc_core.studies.crossing import LEVEL

TITLE = "Sample complexity"
WIDTH = 620
FLOOR = 1e-8


@figure("sample_complexity", TITLE, "duel")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Relative test error against the number of labels N, for every learner at its better input.

    N*, where a learner's isotonic curve crosses 0.01, is shaded with its interval; below, how often the deep learner
    sticks.
    """
    points = _points(study)
    if not points:
        return nothing(TITLE, "No learner finished.", theme)
    medians = [
        {"learner": learner, "group": group, "samples": samples}
        | over_seeds((row["value"] for row in rows), study.seeds, 1.0)
        for (learner, group, samples), rows in grouped(points, "learner", "group", "samples").items()
    ]
    stars = _stars(study, points)
    rates = study.rows("stuck_rates")
    sets = {"points": points, "medians": medians, "stars": stars, "rates": rates}
    panels = [_errors(points, theme)] + ([_stuck(points, theme)] if rates else [])
    words = (
        "Each learner on its better input, chosen by validation; errors above 1 are drawn at 1. Dashed: 0.01.",
        _star_words(stars),
        interval_rule(study.seeds),
        stuck_words(rates, "at N {samples}:"),
        verdict_words(study.claims("shallow_fail_at_equal_samples")),
    )
    return page(TITLE, words, sets, {"vconcat": panels, "spacing": 14}, theme)


def _points(study: Study) -> list[Row]:
    """Every run of a learner on its better input: that of the lower median validation error at the largest N."""
    rows = [row for row in study.rows("runs") if positive(row["relative_test_error"])]
    found = []
    for (learner,), group in grouped(rows, "learner").items():
        inputs = _better(group)
        name = learner if inputs == "x" else f"{learner} on [x, h1]"
        for row in group:
            if row["inputs_as"] == inputs:
                place = {"learner": name, "key": learner, "group": row["group"], "inputs_as": inputs}
                found.append(
                    {
                        **place,
                        "samples": row["samples"],
                        "seed": row["seed"],
                        "value": row["relative_test_error"],
                        "stuck": row.get("stuck"),
                    }
                )
    return found


def _better(rows: list[Row]) -> str:
    largest = max(row["samples"] for row in rows)
    scores = {}
    for (inputs,), group in grouped((row for row in rows if row["samples"] == largest), "inputs_as").items():
        known = sorted(row["validation_error"] for row in group if row["validation_error"] is not None)
        scores[inputs] = known[len(known) // 2] if known else float("inf")
    return str(min(scores, key=lambda inputs: scores[inputs]))


def _stars(study: Study, points: list[Row]) -> list[Row]:
    shown = {(row["key"], row["inputs_as"]): row["learner"] for row in points}
    found = []
    for row in study.rows("crossings"):
        if (row["learner"], row["inputs_as"]) in shown and row["crossing"] is not None:
            kept = {name: row[name] for name in ("group", "crossing", "low", "high", "censored")}
            found.append({"learner": shown[row["learner"], row["inputs_as"]], **kept})
    return found


def _star_words(stars: list[Row]) -> str:
    parts = []
    for star in stars:
        about = f"≤ {star['crossing']:,.0f}" if star["censored"] == "below" else f"{star['crossing']:,.0f}"
        low, high = star["low"], star["high"]
        span = f" [{low:,.0f}, {'beyond' if high is None else f'{high:,.0f}'}]" if low is not None else ""
        parts.append(f"{star['learner']} {about}{span}")
    return (
        "N*: " + "; ".join(parts) + "."
        if parts
        else "N*: no learner's curve crosses 0.01, so N* lies beyond the largest N."
    )


def _domain(points: list[Row]) -> list[int]:
    samples = sorted({row["samples"] for row in points})
    return [samples[0], samples[-1]] if len(samples) > 1 else [samples[0] // 2, samples[0] * 2]


def _x(points: list[Row], title: str | None) -> Spec:
    samples = sorted({row["samples"] for row in points})
    axis = {"values": samples, "title": title, "format": ",d", "labelOverlap": True}
    return {
        "field": "samples",
        "type": "quantitative",
        "scale": {"type": "log", "domain": _domain(points)},
        "axis": axis,
    }


def _errors(points: list[Row], theme: Theme) -> Spec:
    ticks = decades([*(row["value"] for row in points), LEVEL], FLOOR, 1.0)
    x = _x(points, "N, training labels")
    y = {"type": "quantitative", **log_axis(ticks, "relative test error")}
    colour = _colour(points, theme)
    level = {
        "data": {"values": [{"level": LEVEL}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": theme.dim},
    }
    shade = {
        "data": {"name": "stars"},
        "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
        "mark": {"type": "rect", "opacity": 0.13, "clip": True},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": colour},
    }
    star = {
        "data": {"name": "stars"},
        "mark": {"type": "rule", "strokeWidth": 1.4, "clip": True},
        "encoding": {"x": {**x, "field": "crossing"}, "color": colour},
    }
    return {
        "width": WIDTH,
        "height": 400,
        "layer": [
            shade,
            star,
            {**level, "encoding": {"y": {**y, "field": "level"}}},
            seed_lines("points", [], x, y, colour),
            *_dashed(bands("medians", [], x, y, colour), colour),
            {
                "data": {"name": "medians"},
                "mark": {"type": "point", "filled": True, "size": 34, "opacity": 1},
                "encoding": {"x": x, "y": {**y, "field": "median"}, "color": colour},
            },
            {
                "data": {"name": "points"},
                "transform": [{"filter": "datum.stuck === true"}],
                "mark": {"type": "point", "size": 40, "strokeWidth": 1.4, "fill": theme.ground, "opacity": 1},
                "encoding": {"x": x, "y": {**y, "field": "value"}, "color": colour},
            },
        ],
    }


def _dashed(layers: list[Spec], colour: Spec) -> list[Spec]:
    """The median lines dashed from where the hues begin anew, so that no two learners look alike."""
    domain = colour["scale"]["domain"]
    first = [colour["scale"]["range"].index(hue) == i for i, hue in enumerate(colour["scale"]["range"])]
    dashes = [[1, 0] if own else [5, 3] for own in first]
    dash = {"field": "learner", "scale": {"domain": domain, "range": dashes}, "legend": colour["legend"]}
    band, line = layers
    return [band, {**line, "encoding": {**line["encoding"], "strokeDash": dash}}]


def _colour(points: list[Row], theme: Theme) -> Spec:
    """Deep learners first, then by their best error at the largest N."""
    last: dict[str, list[float]] = {}
    deep = {row["learner"]: row["group"] != "shallow" for row in points}
    largest = max(row["samples"] for row in points)
    for row in points:
        if row["samples"] == largest:
            last.setdefault(row["learner"], []).append(row["value"])
    order = sorted(deep, key=lambda name: (not deep[name], sorted(last.get(name, [1.0]))[0]))
    domain = {name: theme.hues[i % len(theme.hues)] for i, name in enumerate(order)}
    legend = {
        "title": None,
        "orient": "right",
        "symbolType": "stroke",
        "symbolOpacity": 1,
        "symbolStrokeWidth": 3,
    }
    return {
        "field": "learner",
        "type": "nominal",
        "scale": {"domain": list(domain), "range": list(domain.values())},
        "legend": legend,
    }


def _stuck(points: list[Row], theme: Theme) -> Spec:
    x = _x(points, "N, training labels")
    scale = {"domain": [0, 1]}
    y = {
        "field": "rate",
        "type": "quantitative",
        "scale": scale,
        "axis": {"title": "stuck", "format": "%", "tickCount": 3},
    }
    base: Spec = {"data": {"name": "rates"}}
    return {
        "width": WIDTH,
        "height": 90,
        "layer": [
            {
                **base,
                "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.3, "color": theme.hues[0]},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                **base,
                "mark": {
                    "type": "point",
                    "size": 60,
                    "fill": theme.ground,
                    "color": theme.hues[0],
                    "strokeWidth": 2,
                },
                "encoding": {"x": x, "y": y},
            },
        ],
    }
