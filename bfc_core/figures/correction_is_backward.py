"""Figure 1: correction is backward."""

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
    readouts,
    stuck_words,
    verdict_words,
)
from bfc_core.figures.parts import (
    PANEL_WIDTH,
    Spec,
    bands,
    grid,
    nominal,
    nothing,
    page,
    rules,
    seed_lines,
    titled,
    where,
)
from bfc_core.figures.theme import Theme, decades, log_axis

TITLE = "Correction is backward"
ARMS = {
    "layerwise_then_joint": "then joint",
    "joint": "joint from the start",
    "detached": "then joint, gradient blocked",
    "upper_frozen": "then level 2 alone",
    "cyclic": "then one at a time, in cycles",
    "longer": "layerwise, twice as long",
    "layerwise": "layerwise",
}
FORKED = ("layerwise_then_joint", "detached", "upper_frozen", "cyclic")
FLOOR = 1e-8


@figure("correction_is_backward", TITLE, "correction")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Feature error of the lower levels, and relative test error, against the step, for every arm.

    Stage boundaries are marked. Where joint training lowers the feature error and the arms without a gradient from
    above do not, correction is backward.
    """
    points = _points(study)
    if not points:
        return nothing(TITLE, "No curves were recorded.", theme)
    medians = [
        {"panel": panel, "readout": readout, "arm": arm, "step": step}
        | over_seeds((row["value"] for row in rows), study.seeds, 1.0)
        for (panel, readout, arm, step), rows in grouped(points, "panel", "readout", "arm", "step").items()
    ]
    sets = {"seeds": points, "medians": medians, "ends": _ends(study, points), "stages": _boundaries(study)}
    ticks = decades((row["value"] for row in points), FLOOR, 1.0)
    shown = [label for label in ARMS.values() if any(row["arm"] == label for row in points)]
    colours = dict(zip(shown, theme.hues, strict=False))
    panels = list(dict.fromkeys(row["panel"] for row in points))
    places = [(panel, readout) for panel in panels for readout in readouts(points)]
    body = grid([_panel(*place, ticks, colours, theme) for place in places])
    words = (
        "Arms share their layerwise stages, then part; dashed lines mark stage ends.",
        interval_rule(study.seeds),
        stuck_words(study.rows("stuck_rates"), "{schedule}, {readout}:"),
        verdict_words(study.claims("lower_features_corrected", "correction_is_backward")),
    )
    return page(TITLE, words, sets, body, theme)


def _points(study: Study) -> list[Row]:
    """The curves of the lower levels' feature errors and of the test error, as rows of one panel each.

    What an arm shares with `layerwise` is drawn once, as `layerwise`.
    """
    rows = study.rows("curves")
    levels = sorted({row["layer"] for row in rows if row["key"] == "feature_error"})[:-1]
    shared = max((row["step"] for row in _boundaries(study)), default=0)
    found = []
    for row in rows:
        panel = _panel_of(row, levels)
        own = row["schedule"] not in FORKED or row["step"] >= shared
        if panel and own and row["schedule"] in ARMS and positive(row["value"]):
            kept = {name: row[name] for name in ("readout", "seed", "step", "value")}
            found.append({"panel": panel, "arm": ARMS[row["schedule"]], **kept})
    order = [*(f"feature error, level {level}" for level in levels), "relative test error"]
    return sorted(found, key=lambda row: order.index(row["panel"]))


def _panel_of(row: Row, levels: list[int]) -> str | None:
    if row["key"] == "test_error":
        return "relative test error"
    return (
        f"feature error, level {row['layer']}"
        if row["key"] == "feature_error" and row["layer"] in levels
        else None
    )


def _ends(study: Study, points: list[Row]) -> list[Row]:
    """The last point of every run that is said to have stuck."""
    stuck = {(ARMS.get(r["schedule"]), r["readout"], r["seed"]) for r in study.rows("runs") if r["stuck"]}
    last: dict[tuple[Any, ...], Row] = {}
    for row in points:
        if (row["arm"], row["readout"], row["seed"]) in stuck:
            last[row["panel"], row["arm"], row["readout"], row["seed"]] = row
    return list(last.values())


def _boundaries(study: Study) -> list[Row]:
    """Where the layerwise stages end: the arms have these in common."""
    ends = [row["end"] for row in study.rows("stages") if row["schedule"] == "layerwise"]
    return [{"step": end} for end in ends]


def _panel(panel: str, readout: str, ticks: list[float], colours: dict[str, str], theme: Theme) -> Spec:
    keep = where(panel=panel, readout=readout)
    x = {"field": "step", "type": "quantitative", "axis": {"title": "step", "tickCount": 5}}
    y = {"type": "quantitative", **log_axis(ticks, panel)}
    colour = nominal("arm", colours, columns=7)
    hollow = {
        "data": {"name": "ends"},
        "transform": keep,
        "mark": {"type": "point", "filled": False, "size": 46, "strokeWidth": 1.4, "fill": theme.ground},
        "encoding": {"x": x, "y": {**y, "field": "value"}, "color": colour},
    }
    lines = [seed_lines("seeds", keep, x, y, colour), *bands("medians", keep, x, y, colour), hollow]
    layers = [rules("stages", "step", theme), *lines]
    return {"title": titled(panel, readout), "width": PANEL_WIDTH, "height": 230, "layer": layers}
