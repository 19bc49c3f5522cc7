"""What each layer adds."""

from __future__ import annotations

from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import Row, Study, grouped, interval_rule, over_seeds
from bfc_core.figures.parts import PANEL_WIDTH, Spec, bands, grid, nominal, nothing, page, seed_lines, where
from bfc_core.figures.theme import Theme

TITLE = "Information gap"
AXES = {"probe at each layer": "error left", "what each layer adds to those below": "gain"}
PANELS = {"probe": "probe at each layer", "gap": "what each layer adds to those below"}


@figure("information_gap", TITLE, "information_gap")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """A probe of the target at every layer, and how much each layer adds to the best below, by schedule."""
    rows = study.rows("runs")
    points = [point for row in rows for point in _points(row)]
    unit = "accuracy" if any(row.get("test_accuracy") is not None for row in rows) else "Var y"
    if not points:
        return nothing(TITLE, "No layer was probed.", theme)
    medians = [
        {"panel": panel, "schedule": schedule, "layer": layer}
        | over_seeds((row["value"] for row in rows), 0, 0.0)
        for (panel, schedule, layer), rows in grouped(points, "panel", "schedule", "layer").items()
    ]
    schedules = dict.fromkeys(row["schedule"] for row in points)
    colours = dict(zip(schedules, theme.hues, strict=False))
    panels = [_panel(panel, unit, colours) for panel in dict.fromkeys(row["panel"] for row in points)]
    diverged = sum(row["state"] == "diverged" for row in rows)
    lost = f" {diverged} rows of diverged runs are not drawn." if diverged else ""
    words = (interval_rule(study.seeds), f"An estimate: nothing is claimed.{lost}")
    return page(TITLE, words, {"points": points, "medians": medians}, grid(panels), theme)


def _points(row: Row) -> list[Row]:
    kept = {"schedule": row["schedule"].replace("_", " "), "seed": row["seed"], "layer": row["layer"]}
    return [
        {**kept, "panel": words, "value": row[name]}
        for name, words in PANELS.items()
        if row[name] is not None
    ]


def _panel(panel: str, unit: str, colours: dict[str, str]) -> Spec:
    keep = where(panel=panel)
    title = f"{AXES[panel]}, {unit}" if unit == "Var y" else unit
    x = {"field": "layer", "type": "ordinal", "axis": {"title": "layer", "labelAngle": 0}}
    y = {"type": "quantitative", "scale": {"zero": False}, "axis": {"title": title, "tickCount": 6}}
    colour = nominal("schedule", colours, columns=4)
    layers = [seed_lines("points", keep, x, y, colour), *bands("medians", keep, x, y, colour)]
    return {"title": panel[0].upper() + panel[1:], "width": PANEL_WIDTH, "height": 260, "layer": layers}
