"""How figures look: two themes with the page's colours, quiet grids, and numbers as powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
FONT = "Inter, Helvetica Neue, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """Ground, inks and hues; every hue has a contrast of 3 or more on the ground."""

    ground: str
    ink: str
    dim: str
    line: str
    hues: tuple[str, ...]
    ramp: tuple[str, ...]


LIGHT = Theme(
    "#ffffff", "#1d1b18", "#6b655d", "#e2ddd4",
    ("#0d5c7d", "#c25a10", "#1d7a4c", "#9b2c5e", "#5b4bb0", "#8a6a00", "#4d6b7a", "#a3372b"),
    ("#0d5c7d", "#1f8570", "#928a1e", "#cd7022", "#b02a48"),
)  # fmt: skip
DARK = Theme(
    "#1a1d22", "#ece8e1", "#a8a39a", "#343a42",
    ("#7cc4e0", "#f0a35e", "#7fd6a2", "#ee8fb6", "#b5a7f5", "#dcc25a", "#a9c2cd", "#f2897e"),
    ("#6eb8e0", "#5eccaa", "#d8ce62", "#f5a660", "#f27c94"),
)  # fmt: skip
THEMES = {"light": LIGHT, "dark": DARK}


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite `config` of every figure."""
    words = {"labelColor": theme.dim, "titleColor": theme.ink, "labelFontSize": 11, "titleFontSize": 12}
    return {
        "font": FONT,
        "background": theme.ground,
        "padding": 16,
        "view": {"stroke": None},
        "axis": {
            **words,
            "titleFontWeight": 500,
            "grid": True,
            "gridColor": theme.line,
            "gridOpacity": 0.7,
            "domain": False,
            "ticks": False,
            "labelPadding": 6,
            "labelFlush": False,
            "titlePadding": 10,
        },
        "legend": {
            **words,
            "titleFontWeight": 500,
            "symbolStrokeWidth": 3,
            "symbolSize": 140,
            "labelLimit": 240,
        },
        "title": {"color": theme.ink, "fontSize": 12, "fontWeight": 600, "anchor": "start", "offset": 8},
        "header": {
            "labelColor": theme.ink,
            "titleColor": theme.ink,
            "labelFontSize": 12,
            "labelFontWeight": 600,
        },
        "range": {"category": list(theme.hues), "ramp": list(theme.ramp)},
    }


def heading(text: str, lines: Sequence[str], theme: Theme) -> dict[str, Any]:
    """A figure's title, and its caption in lines below."""
    return {
        "text": text,
        "subtitle": list(lines),
        "anchor": "start",
        "fontSize": 17,
        "subtitleColor": theme.dim,
        "subtitleFontSize": 11.5,
        "subtitleLineHeight": 16,
        "subtitlePadding": 6,
        "offset": 16,
    }


def decades(values: Iterable[float], floor: float, roof: float | None = None) -> list[float]:
    """The powers of ten from just below the smallest value to just above the largest, within `floor` and `roof`."""
    logs = [math.log10(max(value, floor)) for value in values] or [0.0]
    low, high = math.floor(min(logs) + 1e-9), math.ceil(max(logs) - 1e-9)
    high = max(low + 1, high if roof is None else min(high, round(math.log10(roof))))
    return [10.0**power for power in range(low, high + 1)]


def power_labels(ticks: Sequence[float]) -> str:
    """A Vega expression that writes ticks as 1e-4, 0.001 … 1 … 1000 or 1e4.

    Plain figures: a renderer's font that lacks superscripts falls back on another for the whole label.
    """
    cases = []
    for tick in ticks:
        power = round(math.log10(tick))
        text = f"{tick:g}" if -3 <= power <= 3 else f"1e{power}"
        cases.append(f"round(log(datum.value) / LN10) == {power} ? '{text}' : ")
    return "".join(cases) + "''"


def log_axis(ticks: Sequence[float], title: str | None) -> dict[str, Any]:
    """The `scale` and `axis` of a logarithmic channel whose ticks are decades."""
    return {
        "scale": {"type": "log", "domain": [ticks[0], ticks[-1]], "clamp": True, "nice": False},
        "axis": {"values": list(ticks), "labelExpr": power_labels(ticks), "title": title},
    }
