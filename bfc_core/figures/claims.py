"""Every claim's components against their thresholds."""

from __future__ import annotations

from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import Row, Study
from bfc_core.figures.parts import Spec, nothing, page
from bfc_core.figures.theme import Theme
from bfc_core.studies.claims import phrase_of

TITLE = "Claims"
WORDS = {"supported": "supported", "not_supported": "not supported", "underpowered": "underpowered"}
SCALES = {"log10 ratio": "decades", "-log10 error": "decades", "points": "points of accuracy"}
TINTS = {"supported": 2, "not_supported": 7, "underpowered": 5}


@figure("claims", TITLE, "correction", "duel")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Median and interval of every component of every claim, and the threshold that was fixed before the study ran.

    Ratios and −log10 errors in decades, the others in their own unit; larger is better unless the phrase says "at most".
    """
    rows = [row for claim in study.summary.get("claims") or () for row in _rows(claim)]
    if not rows:
        return nothing(TITLE, "This study claims nothing.", theme)
    order = list(dict.fromkeys(row["label"] for row in rows))
    words = (
        "Bar: interval of the median; dot: median; tick: threshold. Without a dot the median is worst: seeds were lost.",
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
        phrase = phrase_of(part["name"], part["unit"]).rstrip(",")
        most = ", at most" if part["direction"] == "at_most" else ""
        low, high = part["interval"]
        found.append({
            "label": f"{claim['claim'].replace('_', ' ')}{where}: {phrase}{most}",
            "scale": SCALES.get(part["unit"], "share, error or λ"),
            "verdict": WORDS[part["verdict"]],
            "effect": part["effect"], "low": low, "high": high, "threshold": part["threshold"],
            **{name: _beyond(part["words"].get(end, "")) for name, end in (("low_beyond", "low"), ("high_beyond", "high"))},
        })  # fmt: skip
    return found


def _beyond(word: str) -> str:
    """On which side of the figure an end of an interval lies that is no number; nowhere where there is no interval."""
    return next((side for side in ("plus", "minus") if word.startswith(side)), "")


def _panel(scale: str, rows: list[Row], order: list[str], theme: Theme) -> Spec:
    here = [label for label in order if any(row["label"] == label and row["scale"] == scale for row in rows)]
    numbers = [
        v
        for r in rows
        if r["scale"] == scale
        for n in ("low", "high", "effect", "threshold")
        if (v := r[n]) is not None
    ]
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    room = 0.05 * (high - low) + 0.01
    # The panel begins at 0 unless something is below; at an end that holds a dot there is room for it.
    span = [low - room if low < 0 else 0.0, high + room]
    x = {
        "type": "quantitative",
        "scale": {"domain": span, "nice": False, "clamp": True},
        "axis": {"title": scale, "tickCount": 7},
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
    keep: Spec = {"data": {"name": "rows"}, "transform": [{"filter": f"datum.scale === {scale!r}"}]}
    bar = {"x": {**x, "field": "from"}, "x2": {"field": "to"}, "y": y, "color": colour}
    ends = [*keep["transform"], *(_end(name, new, span) for name, new in (("low", "from"), ("high", "to")))]
    ends.append({"filter": "isValid(datum.from) && isValid(datum.to)"})
    return {
        "width": 380,
        "height": {"step": 24},
        "layer": [
            {
                **keep,
                "transform": ends,
                "mark": {"type": "rule", "strokeWidth": 7, "opacity": 0.35},
                "encoding": bar,
            },
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


def _end(name: str, new: str, span: list[float]) -> Spec:
    """An end of a bar: its number, or the edge of the panel beyond which it lies."""
    edge = f"datum.{name}_beyond === 'plus' ? {span[1]} : datum.{name}_beyond === 'minus' ? {span[0]} : null"
    return {"calculate": f"isValid(datum.{name}) ? datum.{name} : {edge}", "as": new}
