"""Figure 4: how much is corrected, and what it buys."""

from __future__ import annotations

import math
from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import Row, Study, grouped, over_seeds, positive, readouts, stuck_in, verdict_words
from bfc_core.figures.how_deep import Measure, measure_of
from bfc_core.figures.labels import PLACES, pixels, places
from bfc_core.figures.parts import PANEL_WIDTH, Spec, grid, nominal, nothing, page, titled, where
from bfc_core.figures.theme import Theme, decades, log_axis

TITLE = "How much"
LEAST = 1e-4
HEIGHT = 300


@figure("how_much", TITLE, "correction")
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Gain over freezing everything (k = 0) against λ, the part of a layer's whole change that correction makes.

    In error, or in accuracy for classes. One dot a window, layer and seed, coloured by layer; hollow: the same levels
    trained as long before the higher ones came. Far left and high up is a small correction that pays.
    """
    measure = measure_of(study)
    points, frontier = _points(study, measure), _frontier(study)
    if not points and not frontier:
        return nothing(TITLE, "No layer moved while a window was open, or λ was not measured.", theme)
    layers = sorted({row["layer"] for row in (*points, *frontier)})
    colours = {layer: theme.hues[i % len(theme.hues)] for i, layer in enumerate(layers)}
    ticks = decades((row["moved"] for row in points), LEAST, 10.0)
    medians = _medians(points)
    for readout in readouts(points):
        _place(medians, points, readout, ticks)
    used = {row.get("place") for row in medians}
    panels = [_panel(readout, ticks, measure, colours, theme, used) for readout in readouts(points)]
    panels += [_frontier_panel(readout, frontier, colours, theme) for readout in readouts(frontier)]
    words = (
        f"n = {study.seeds} seeds: small dots; large: medians, with their window (l, k). Hollow: control of equal updates.",
        "λ = (1 − c(before, after)) / (1 − c(initial, after)), c being linear CKA corrected for chance.",
        "Frontier: layerwise, then joint, against layerwise; a line joins penalties μ (dashed: rates of the last stage)."
        if frontier
        else "",
        stuck_in((row for row in study.rows("how_deep") if row["train_up_to"]), hollow=False),
        verdict_words(study.claims("correction_is_local")),
    )
    sets = {"points": points, "medians": medians, "frontier": frontier, "ways": _ways(frontier)}
    return page(TITLE, words, sets, grid(panels), theme)


def _medians(points: list[Row]) -> list[Row]:
    found = []
    groups = grouped(points, "readout", "layer", "how", "window", "top")
    for (readout, layer, how, window, top), rows in groups.items():
        x = over_seeds((row["moved"] for row in rows), len(rows), math.inf)
        y = over_seeds((row["gain"] for row in rows), len(rows), -math.inf)
        place = {"readout": readout, "layer": layer, "how": how, "window": window, "top": top}
        found.append({**place, "moved": x["median"], "gain": y["median"]})
    return found


def _place(medians: list[Row], points: list[Row], readout: str, ticks: list[float]) -> None:
    """Gives each label of a panel its `place`."""
    here = [row for row in medians if row["readout"] == readout]
    seeds = [row for row in points if row["readout"] == readout]
    low, high = (bound(row["gain"] for row in seeds) for bound in (min, max))

    def at(rows: list[Row]) -> list[tuple[float, float]]:
        across = pixels([row["moved"] for row in rows], ticks[0], ticks[-1], PANEL_WIDTH, logarithmic=True)
        down = pixels([-row["gain"] for row in rows], -high, -low, HEIGHT)
        return list(zip(across, down, strict=True))

    told = [row for row in here if row["top"] and row["how"] == "window"]
    chosen = places([row["window"] for row in told], at(told), at(here + seeds), (PANEL_WIDTH, HEIGHT))
    for row, place in zip(told, chosen, strict=True):
        row["place"] = place


def _points(study: Study, measure: Measure) -> list[Row]:
    rows = [row for row in study.rows("how_deep") if positive(row[measure.column]) and row["train_up_to"]]
    none = {
        (row["readout"], row["seed"], row["train_up_to"]): row[measure.column] for row in rows if row["free"] == 0
    }
    found = []
    for row in rows:
        frozen = none.get((row["readout"], row["seed"], row["train_up_to"]))
        for name in (name for name in row if name.startswith("lambda_")):
            layer = int(name.removeprefix("lambda_"))
            freed = row["train_up_to"] - row["free"] < layer <= row["train_up_to"]
            if frozen and freed and positive(row[name]):
                gain = _gain(frozen, row[measure.column], measure)
                found.append(_point(row, layer, row[name], gain))
    return found


def _gain(frozen: float, freed: float, measure: Measure) -> float:
    return 100 * (freed - frozen) if measure.word == "accuracy" else math.log10(frozen / freed)


def _point(row: Row, layer: int, moved: float, gain: float) -> Row:
    return {
        "readout": row["readout"],
        "seed": row["seed"],
        "layer": f"level {layer}",
        "how": "equal updates" if row["control"] == "equal_updates" else "window",
        "top": layer == row["train_up_to"],
        "window": f"({row['train_up_to']}, {row['free']})",
        "moved": max(moved, LEAST),
        "gain": gain,
    }


def _panel(
    readout: str, ticks: list[float], measure: Measure, colours: dict[str, str], theme: Theme, used: set[str | None]
) -> Spec:
    keep = where(readout=readout)
    x = {"field": "moved", "type": "quantitative", **log_axis(ticks, "λ")}
    unit = "points of accuracy" if measure.word == "accuracy" else "log10"
    y = {"field": "gain", "type": "quantitative", "axis": {"title": f"gain over k = 0, {unit}", "tickCount": 6}}
    colour = nominal("layer", colours, columns=6)
    colour["legend"]["symbolType"] = "circle"
    fill = {
        "condition": {"test": "datum.how === 'equal updates'", "value": theme.ground},
        "field": "layer",
        "type": "nominal",
        "scale": colour["scale"],
        "legend": colour["legend"],
    }
    base = {"transform": keep, "encoding": {"x": x, "y": y, "color": colour, "fill": fill}}
    label = {"text": {"field": "window"}, "color": colour, "x": x, "y": y}
    return {
        "title": titled("gain against movement", readout),
        "width": PANEL_WIDTH,
        "height": HEIGHT,
        "layer": [
            {"data": {"name": "points"}, **base, "mark": {"type": "point", "size": 20, "opacity": 0.35}},
            {"data": {"name": "medians"}, **base, "mark": {"type": "point", "size": 120, "strokeWidth": 2}},
            *(
                {
                    "data": {"name": "medians"},
                    "transform": [*keep, *where(place=place)],
                    "mark": {"type": "text", "dx": dx, "dy": dy, "align": align, "fontSize": 11},
                    "encoding": label,
                }
                for place, (dx, dy, align) in PLACES.items()
                if place in used
            ),
        ],
    }


def _frontier(study: Study) -> list[Row]:
    """One row a run and layer of the frontier; layerwise then joint itself is the end of both its lines."""
    rows = [row for row in study.rows("frontier") if positive(row["lambda"]) and row["gain"] is not None]
    found = []
    for row in rows:
        place = {name: row[name] for name in ("readout", "seed", "penalty", "rate", "gain")}
        found.append({**place, "layer": f"level {row['layer']}", "moved": max(row["lambda"], LEAST)})
    return found


def _ways(frontier: list[Row]) -> list[Row]:
    """Medians by penalty and by rate."""
    found = []
    usual = max((row["rate"] for row in frontier if row["penalty"]), default=None)
    for (readout, layer, penalty, rate), rows in grouped(
        frontier, "readout", "layer", "penalty", "rate"
    ).items():
        x = over_seeds((row["moved"] for row in rows), len(rows), math.inf)["median"]
        y = over_seeds((row["gain"] for row in rows), len(rows), -math.inf)["median"]
        place = {"readout": readout, "layer": layer, "moved": x, "gain": y}
        if penalty or rate == usual:
            found.append({**place, "way": "penalty", "size": penalty, "label": f"μ {penalty:g}"})
        if not penalty:
            found.append(
                {**place, "way": "rate", "size": rate, "label": "" if rate == usual else f"rate {rate:g}"}
            )
    return found


def _frontier_panel(readout: str, frontier: list[Row], colours: dict[str, str], theme: Theme) -> Spec:
    keep = where(readout=readout)
    x = {
        "field": "moved",
        "type": "quantitative",
        **log_axis(decades((r["moved"] for r in frontier), LEAST, 10.0), "λ"),
    }
    y = {
        "field": "gain",
        "type": "quantitative",
        "axis": {"title": "gain over layerwise, log10", "tickCount": 6},
    }
    colour = nominal("layer", colours, columns=6)
    colour["legend"]["symbolType"] = "circle"
    dash = {
        "field": "way",
        "scale": {"domain": ["penalty", "rate"], "range": [[1, 0], [5, 3]]},
        "legend": None,
    }
    base: Spec = {"transform": keep, "encoding": {"x": x, "y": y, "color": colour}}
    line = {**base["encoding"], "strokeDash": dash, "order": {"field": "size"}, "detail": {"field": "way"}}
    label = {"x": x, "y": y, "text": {"field": "label"}, "color": {"value": theme.dim}}
    return {
        "title": titled("frontier of gain against movement", readout),
        "width": PANEL_WIDTH,
        "height": 300,
        "layer": [
            {
                "data": {"name": "frontier"},
                **base,
                "mark": {"type": "point", "filled": True, "size": 20, "opacity": 0.35},
            },
            {
                "data": {"name": "ways"},
                "transform": keep,
                "encoding": line,
                "mark": {"type": "line", "strokeWidth": 2},
            },
            {
                "data": {"name": "ways"},
                **base,
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
            },
            *(_labels(keep, label, way, dy) for way, dy in (("penalty", -12), ("rate", 16))),
        ],
    }


def _labels(keep: list[Spec], label: Spec, way: str, dy: int) -> Spec:
    """Penalties above their points, rates below."""
    return {
        "data": {"name": "ways"},
        "transform": [*keep, *where(way=way)],
        "mark": {"type": "text", "dy": dy, "fontSize": 10.5},
        "encoding": label,
    }
