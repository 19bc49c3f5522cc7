"""Figure 3: which part of the lower features is corrected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import (
    DOTS,
    Row,
    Study,
    grouped,
    interval_rule,
    over_seeds,
    readouts,
    stuck_words,
    verdict_words,
)
from bfc_core.figures.parts import PANEL_WIDTH, Spec, grid, nominal, nothing, page, titled, where
from bfc_core.figures.theme import Theme
from bfc_core.specs.data import UPLOADED_KINDS

TITLE = "Which part"
TIMES = {
    "initial": "at initialisation",
    "before": "before correction",
    "longer": "layerwise, twice as long",
    "after": "after correction",
}
HUES = {"initial": 6, "before": 1, "longer": 5, "after": 0}


def _asked(spec: Mapping[str, Any]) -> bool:
    """Uploaded data has no teacher whose directions could be captured."""
    return spec["base"]["data"]["kind"] not in UPLOADED_KINDS


@figure("which_part", TITLE, "correction", asked_by=_asked)
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """How much of each direction of the teacher's lower features is captured, strongest direction first.

    At initialisation, before and after correction, and after layerwise training twice as long; chance dotted. With the
    2 × 2 of claim 4, a panel for each r_min and sign of the gap.
    """
    points = _points(study)
    if not points:
        return nothing(TITLE, "No teacher directions were captured: this target has none.", theme)
    medians = [
        {"panel": panel, "index": index, "time": time}
        | over_seeds((row["value"] for row in rows), study.seeds, 0.0)
        for (panel, index, time), rows in grouped(points, "panel", "index", "time").items()
    ]
    chance = [
        {"panel": panel, "chance": rows[0]["chance"]}
        for (panel,), rows in grouped(points, "panel").items()
        if rows[0]["chance"] is not None
    ]
    colours = {label: theme.hues[HUES[time]] for time, label in TIMES.items()}
    panels = [_panel(panel, colours, theme) for panel in dict.fromkeys(row["panel"] for row in points)]
    words = (
        "Captured: 1 − cross-fitted residual of a teacher neuron on the level's features. Dotted: chance.",
        interval_rule(study.seeds, DOTS),
        stuck_words(_corrected(study), "{readout}:", hollow=False),
        verdict_words(study.claims("weak_directions_corrected")),
    )
    return page(TITLE, words, {"points": points, "medians": medians, "chance": chance}, grid(panels), theme)


def _corrected(study: Study) -> list[Row]:
    """Stuck rates of the runs whose corrected features are drawn."""
    return [row for row in study.rows("stuck_rates") if row["schedule"] == "layerwise_then_joint"]


def _points(study: Study) -> list[Row]:
    """One row a direction, time and seed; directions numbered from the strongest."""
    rows = [row for row in study.rows("which_part") if row["part"] == "captured"]
    cells = {(row["weakest"], row["gap"]) for row in rows}
    shown = readouts(rows)[:1] if len(cells) > 1 else readouts(rows)
    rows.sort(
        key=lambda row: (row["readout"] != "signed", row["readout"], row["layer"], row["weakest"], row["gap"])
    )
    found = []
    for readout in shown:
        for row in (one for one in rows if one["readout"] == readout):
            cell = f", r_min {row['weakest']:g}, {row['gap']} gap" if len(cells) > 1 else ""
            panel = titled(f"level {row['layer']}{cell}", readout)
            kept = {"panel": panel, "index": row["index"] + 1, "seed": row["seed"], "chance": row["chance"]}
            for time, label in TIMES.items():
                if row[time] is not None:
                    found.append({**kept, "time": label, "value": row[time]})
    return found


def _panel(panel: str, colours: dict[str, str], theme: Theme) -> Spec:
    keep = where(panel=panel)
    x = {"field": "index", "type": "ordinal", "scale": {"type": "band", "paddingInner": 0.25}}
    x["axis"] = {"title": "direction, strongest first", "labelAngle": 0, "grid": False}
    scale = {"domain": [0, 1], "clamp": True, "nice": False}
    y = {"type": "quantitative", "scale": scale, "axis": {"title": "captured", "tickCount": 5}}
    colour = nominal("time", colours, columns=4)
    shift = {"xOffset": {"field": "time", "scale": {"domain": list(colours)}}}
    return {
        "title": panel,
        "width": PANEL_WIDTH,
        "height": 200,
        "layer": [
            {
                "data": {"name": "chance"},
                "transform": keep,
                "mark": {"type": "rule", "strokeDash": [1.5, 3], "color": theme.dim, "strokeWidth": 1.5},
                "encoding": {"y": {**y, "field": "chance"}},
            },
            {
                "data": {"name": "points"},
                "transform": keep,
                "mark": {"type": "point", "filled": True, "size": 22, "opacity": 0.5},
                "encoding": {"x": x, "y": {**y, "field": "value"}, "color": colour, **shift},
            },
            {
                "data": {"name": "medians"},
                "transform": [*keep, {"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.25},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "low"},
                    "y2": {"field": "high"},
                    "color": colour,
                    **shift,
                },
            },
            {
                "data": {"name": "medians"},
                "transform": keep,
                "mark": {"type": "tick", "thickness": 3, "size": 17, "orient": "horizontal"},
                "encoding": {"x": x, "y": {**y, "field": "median"}, "color": colour, **shift},
            },
        ],
    }
