"""Similarity of every layer with every other, at the moments that a training or a probe of snapshots has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import Row, Study, grouped
from bfc_core.figures.parts import Spec, nothing, page
from bfc_core.figures.theme import Theme

TITLE = "Similarity of layers"
MEASURES = {
    "cka": "debiased CKA",
    "cka_biased": "CKA",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
    "procrustes": "Procrustes similarity",
}
SIDE = 250
MOST_LABELLED = 8
"""Layers up to which each cell tells its number."""


def _asked(spec: Mapping[str, Any]) -> bool:
    return any(probe["kind"] in MEASURES and probe.get("against") == "layers" for probe in spec["probes"])


@figure("similarity", TITLE, "train", "probe", asked_by=_asked)
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """Heat maps of the similarity of all pairs of layers: at initialisation, before the last stage, and at the end.

    Of a probe of stored snapshots, those of the first, the last but one and the last snapshot.
    """
    cells = list(_cells(study))
    if not cells:
        why = "No pairs of layers were compared; the probe `cka` with `against`: `layers` compares them."
        return nothing(TITLE, why, theme)
    moments = _chosen(sorted({row["step"] for row in cells}))
    cells = [row for row in cells if row["step"] in moments]
    labelled = len({row["row"] for row in cells}) <= MOST_LABELLED
    rows: list[Spec] = []
    for (measure,), here in grouped(cells, "measure").items():
        steps = sorted({row["step"] for row in here})
        rows.append({"hconcat": [_panel(measure, step, theme, labelled) for step in steps], "spacing": 18})
    words = ("1: equal up to what the measure ignores; 0: unrelated. Every layer is 1 with itself.",)
    return page(TITLE, words, {"cells": cells}, {"vconcat": rows, "spacing": 20}, theme)


def _cells(study: Study) -> list[Row]:
    """Both halves of each map, and its diagonal."""
    rows = study.rows("boundaries") or study.rows("readings")
    found: dict[tuple[str, int, int, int], Row] = {}
    for row in rows:
        measure, _, other = row["key"].partition("/")
        if measure in MEASURES and other.isdigit() and row["layer"] is not None:
            first, second = int(row["layer"]), int(other)
            for a, b, value in (
                (first, second, row["value"]),
                (second, first, row["value"]),
                (first, first, 1.0),
                (second, second, 1.0),
            ):
                place = {"measure": measure, "step": row["step"], "row": a, "column": b}
                found[measure, row["step"], a, b] = {**place, "value": value}
    return list(found.values())


def _chosen(steps: Sequence[int]) -> list[int]:
    """The first, the last but one and the last."""
    return sorted({steps[0], *steps[-2:]})


def _panel(measure: str, step: int, theme: Theme, labelled: bool) -> Spec:
    axis: Spec = {"title": "layer", "labelAngle": 0, "grid": False}
    scale = {"domain": [0, 1], "scheme": "viridis", "clamp": True}
    colour: Spec = {"field": "value", "type": "quantitative", "scale": scale, "legend": {"title": None}}
    ink = {"condition": {"test": "datum.value < 0.55", "value": "#ffffff"}, "value": "#10131a"}
    text: Spec = {
        "mark": {"type": "text", "fontSize": 10},
        "encoding": {"text": {"field": "value", "type": "quantitative", "format": ".2f"}, "color": ink},
    }
    words = f"{MEASURES[measure]}, " + ("at initialisation" if step == 0 else f"step {step:,}")
    return {
        "title": {"text": words[0].upper() + words[1:], "color": theme.ink, "fontSize": 12, "anchor": "start"},
        "data": {"name": "cells"},
        "transform": [{"filter": f"datum.measure === '{measure}' && datum.step === {step}"}],
        "width": SIDE,
        "height": SIDE,
        "encoding": {
            "x": {"field": "column", "type": "ordinal", "axis": axis},
            "y": {"field": "row", "type": "ordinal", "axis": axis},
        },
        "layer": [{"mark": "rect", "encoding": {"color": colour}}, *([text] if labelled else [])],
    }
