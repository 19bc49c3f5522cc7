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
    "upper_frozen": "then the lowest level alone",
    "cyclic": "then one at a time, in cycles",
    "longer": "layerwise, twice as long",
    "layerwise": "layerwise",
    "layerwise_convolutional": "layerwise, convolutional heads",
}
FORKED = ("layerwise_then_joint", "detached", "upper_frozen", "cyclic")
FLOOR = 1e-8
ERRORS = ("relative test error", "test error")


@figure("correction_is_backward", TITLE, "correction")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Feature error of the lower levels, and relative test error, against the step, for every arm.

    Stage boundaries are marked. Where joint training lowers the feature error and the arms without a gradient from
    above do not, correction is backward.
    """
    points, rates = _points(study), [_named(row) for row in study.rows("stuck_rates")]
    if not any(row["step"] for row in points):
        return nothing(TITLE, f"No curves were recorded. {stuck_words(rates, '{arm}:', hollow=False)}", theme)
    medians = [
        {"panel": panel, "readout": readout, "arm": arm, "step": step}
        | over_seeds((row["value"] for row in rows), study.seeds, 1.0)
        for (panel, readout, arm, step), rows in grouped(points, "panel", "readout", "arm", "step").items()
    ]
    sets = {"seeds": points, "medians": medians, "ends": _ends(study, points), "stages": _boundaries(study)}
    shown = [label for label in ARMS.values() if any(row["arm"] == label for row in points)]
    colours = dict(zip(shown, theme.hues, strict=False))
    panels = list(dict.fromkeys(row["panel"] for row in points))
    places = [(panel, readout) for panel in panels for readout in readouts(points)]
    body = grid([_panel(*place, _ticks(points, place[0]), colours, theme) for place in places])
    words = (
        "Arms share their layerwise stages, then part; dashed lines mark stage ends.",
        interval_rule(study.seeds),
        stuck_words(rates, "{arm}:"),
        verdict_words(study.claims("lower_features_corrected", "correction_is_backward")),
    )
    return page(TITLE, words, sets, body, theme)


def _named(row: Row) -> Row:
    """A row of stuck rates with the words for its arm."""
    of = f" ({row['readout']})" if row["readout"] in ("fixed", "signed") else ""
    return {**row, "arm": f"{ARMS.get(row['schedule'], row['schedule'])}{of}"}


def _ticks(points: list[Row], panel: str) -> list[float]:
    """The decades of all panels of feature errors, or of those of test errors."""
    alike = [row for row in points if (row["panel"] in ERRORS) == (panel in ERRORS)]
    return decades((row["value"] for row in alike), FLOOR, 1.0)


def _points(study: Study) -> list[Row]:
    """The curves of the lower levels' feature errors and of the test error, as rows of one panel each.

    What an arm shares with `layerwise` is drawn once, as `layerwise`.
    """
    rows = study.rows("curves")
    # Of classes `test_error` is the part that is wrong, and the relative error has a series of its own, or there is none.
    key = "relative_test_error" if any(row["key"] == "relative_test_error" for row in rows) else "test_error"
    of_parts = key == "test_error" and any(row.get("test_accuracy") is not None for row in study.rows("runs"))
    error = ERRORS[of_parts]
    levels = sorted({row["layer"] for row in rows if row["key"] == "feature_error"})[:-1]
    shared = max((row["step"] for row in _boundaries(study)), default=0)
    found = []
    for row in rows:
        panel = error if row["key"] == key else _level_of(row, levels)
        own = row["schedule"] not in FORKED or row["step"] >= shared
        if panel and own and row["schedule"] in ARMS and positive(row["value"]):
            kept = {name: row[name] for name in ("readout", "seed", "step", "value")}
            found.append({"panel": panel, "arm": ARMS[row["schedule"]], **kept})
    order = [*(f"feature error, level {level}" for level in levels), error]
    return sorted(found, key=lambda row: order.index(row["panel"]))


def _level_of(row: Row, levels: list[int]) -> str | None:
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
