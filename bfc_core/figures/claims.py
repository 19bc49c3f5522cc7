"""Every claim's components against their thresholds."""

from __future__ import annotations

from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import Row, Study
from bfc_core.figures.parts import Spec, nothing, page
from bfc_core.figures.theme import Theme
from bfc_core.studies.claims import PHRASES

TITLE = "Claims"
WORDS = {"supported": "supported", "not_supported": "not supported", "underpowered": "underpowered"}
TINTS = {"supported": 2, "not_supported": 7, "underpowered": 5}


@figure("claims", TITLE, "correction", "duel")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Median and interval of every component of every claim, and the threshold that was fixed before the study ran.

    Ratios and −log₁₀ errors in decades, the others in their own unit; larger is better unless the phrase says "at most".
    """
    rows = [row for claim in study.summary.get("claims") or () for row in _rows(claim)]
    if not rows:
        return nothing(TITLE, "This study claims nothing.", theme)
    order = list(dict.fromkeys(row["label"] for row in rows))
    words = (
        "Bar: interval of the median; dot: median; tick: threshold. A bar that ends at the edge is unbounded there.",
        str(study.summary["claims"][0]["rule"]).capitalize() + ".",
    )
    body = {
        "vconcat": [_panel(unit, rows, order, theme) for unit in dict.fromkeys(row["scale"] for row in rows)]
    }
    return page(TITLE, words, {"rows": rows}, body, theme)


def _rows(claim: dict[str, Any]) -> list[Row]:
    place = [str(claim["readout"])] if claim.get("readout") in ("fixed", "signed") else []
    place += [f"{key} {claim[key]}" for key in ("level", "row", "samples") if key in claim]
    where = f" ({', '.join(place)})" if place else ""
    found = []
    for part in claim["components"]:
        phrase = PHRASES.get(part["name"], part["name"]).rstrip(",")
        most = ", at most" if part["direction"] == "at_most" else ""
        low, high = part["interval"]
        found.append({
            "label": f"{claim['claim'].replace('_', ' ')}{where}: {phrase}{most}",
            "scale": "decades" if "log10" in part["unit"] else "share or error",
            "verdict": WORDS[part["verdict"]],
            "effect": part["effect"], "low": low, "high": high, "threshold": part["threshold"],
        })  # fmt: skip
    return found


def _panel(scale: str, rows: list[Row], order: list[str], theme: Theme) -> Spec:
    here = [label for label in order if any(row["label"] == label and row["scale"] == scale for row in rows)]
    numbers = [
        v
        for r in rows
        if r["scale"] == scale
        for n in ("low", "high", "effect", "threshold")
        if (v := r[n]) is not None
    ]
    span = [min(0.0, *numbers), max(numbers) * 1.05 + 0.01]
    x = {
        "type": "quantitative",
        "scale": {"domain": span, "nice": False, "clamp": True},
        "axis": {"title": scale},
    }
    axis = {"title": None, "labelLimit": 640, "labelColor": theme.ink, "grid": False}
    y = {"field": "label", "type": "nominal", "sort": here, "axis": axis}
    domain = list(WORDS.values())
    hues = [theme.hues[TINTS[name]] for name in WORDS]
    legend = {"orient": "bottom", "title": None, "symbolType": "circle", "symbolOpacity": 1}
    colour = {
        "field": "verdict",
        "type": "nominal",
        "scale": {"domain": domain, "range": hues},
        "legend": legend,
    }
    keep: Spec = {"data": {"name": "rows"}, "transform": [
        {"filter": f"datum.scale === {scale!r}"},
        {"calculate": f"isValid(datum.low) ? datum.low : {span[0]}", "as": "from"},
        {"calculate": f"isValid(datum.high) ? datum.high : {span[1]}", "as": "to"},
    ]}  # fmt: skip
    bar = {"x": {**x, "field": "from"}, "x2": {"field": "to"}, "y": y, "color": colour}
    return {
        "width": 380,
        "height": {"step": 24},
        "layer": [
            {**keep, "mark": {"type": "rule", "strokeWidth": 7, "opacity": 0.35}, "encoding": bar},
            {
                **keep,
                "mark": {"type": "tick", "thickness": 2, "size": 18, "color": theme.ink},
                "encoding": {"x": {**x, "field": "threshold"}, "y": y},
            },
            {
                **keep,
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": {**x, "field": "effect"}, "y": y, "color": colour},
            },
        ],
    }
