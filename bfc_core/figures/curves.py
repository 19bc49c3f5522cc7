"""Curves of any series over seeds, for studies, sweeps and single trainings."""

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
    stuck_in,
    stuck_words,
)
from bfc_core.figures.parts import (
    PANEL_WIDTH,
    Spec,
    bands,
    grid,
    lone_dots,
    nothing,
    page,
    seed_lines,
    titled,
    where,
)
from bfc_core.figures.theme import Theme, decades, log_axis
from bfc_core.specs.vocabulary import unit_of

TITLE = "Curves"
MOST_PANELS = 12
FLOOR = 1e-8
OWN = ("key", "layer", "step", "value", "seed", "stage", "readout")


@figure("curves", TITLE, "correction", "sweep", "information_gap", "train")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Every recorded series against the step: seeds thin, median thick, band the interval; logarithmic where it can be.

    One panel a series and layer; colours tell apart what else varies: schedules, or points of a grid.
    """
    rows = [row for row in study.rows("curves") or study.rows("boundaries") if row["value"] is not None]
    if not rows:
        return nothing(TITLE, "No series were recorded.", theme)
    points = [_point(row) for row in rows]
    moments = {panel: {row["step"] for row in group} for (panel,), group in grouped(points, "panel").items()}
    lasting = [panel for panel, steps in moments.items() if len(steps) > 1]
    panels = (lasting or list(moments))[:MOST_PANELS]
    points = [row for row in points if row["panel"] in panels]
    seeds = max(len({row["seed"] for row in group}) for group in grouped(points, "panel", "what").values())
    medians = [
        {"panel": panel, "what": what, "step": step} | over_seeds((row["value"] for row in group), 0, 0.0)
        for (panel, what, step), group in grouped(points, "panel", "what", "step").items()
    ]
    whats = list(dict.fromkeys(row["what"] for row in points))
    body = grid([_panel(panel, points, whats, theme) for panel in panels])
    once = len(moments) - len(lasting) if lasting else 0
    words = (
        interval_rule(seeds) if seeds > 1 else "One run a line.",
        f"Not drawn: {once} series of one step alone." if once else "",
        _lost(study),
    )
    return page(TITLE, words, {"points": points, "medians": medians}, body, theme)


def _lost(study: Study) -> str:
    """How many runs stuck or diverged, where the study's runs say so."""
    rates = study.rows("stuck_rates")
    if rates:
        return stuck_words(rates, "{schedule}:", hollow=False)
    runs = [row for row in study.rows("runs") if "stuck" in row and "state" in row]
    return stuck_in(runs, hollow=False)


def _point(row: Row) -> Row:
    """The row's panel, and what tells it from others in it."""
    layer = f", layer {row['layer']}" if row["layer"] is not None else ""
    others = [_said(name, row[name]) for name in row if name not in OWN and row[name] is not None]
    return {
        "panel": titled(f"{row['key'].replace('_', ' ')}{layer}", row.get("readout") or ""),
        "what": ", ".join(others) or "run",
        "unit": unit_of(row["key"]),
        "seed": row.get("seed") or 0,
        "step": row["step"],
        "value": row["value"],
    }


def _said(name: str, value: Any) -> str:
    """A field of a grid by its last name and value, such as `rate 0.01`; a schedule by its own name."""
    said = str(value).replace("_", " ")
    return said if name == "schedule" else f"{name.rpartition('.')[2].replace('_', ' ')} {said}"


def _panel(panel: str, points: list[Row], whats: list[str], theme: Theme) -> Spec:
    here = [row["value"] for row in points if row["panel"] == panel]
    unit = next((row["unit"] for row in points if row["panel"] == panel), None)
    x = {"field": "step", "type": "quantitative", "axis": {"title": "step", "tickCount": 5}}
    y: Spec = {"type": "quantitative"}
    if all(positive(value) for value in here) and max(here) > 10 * min(here):
        y |= log_axis(decades(here, FLOOR), unit)
    else:
        y |= {"scale": {"zero": False}, "axis": {"title": unit}}
    legend = {
        "orient": "bottom",
        "title": None,
        "columns": 4,
        "symbolType": "stroke",
        "symbolOpacity": 1,
        "symbolLimit": 40,
    }
    hues = [theme.hues[i % len(theme.hues)] for i in range(len(whats))]
    colour = {"field": "what", "type": "nominal", "scale": {"domain": whats, "range": hues}, "legend": legend}
    keep = where(panel=panel)
    layers = [seed_lines("points", keep, x, y, colour), *bands("medians", keep, x, y, colour)]
    layers.append(lone_dots("points", keep, x, y, colour, "what", "seed"))
    return {"title": panel, "width": PANEL_WIDTH, "height": 220, "layer": layers}
