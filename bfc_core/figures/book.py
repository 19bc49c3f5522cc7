"""Figures by name: a word is a name with a title, its deed the function that draws it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bfc_core.figures.data import Study
from bfc_core.figures.theme import SCHEMA, THEMES, Theme, config

Draw = Callable[[Study, Theme], dict[str, Any]]
Asked = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that jobs of some kinds can show."""

    name: str
    title: str
    kinds: tuple[str, ...]
    draw: Draw
    asked_by: Asked | None = None
    """Whether a spec asks for what is drawn; all do without it."""

    @property
    def doc(self) -> str:
        return inspect.cleandoc(self.draw.__doc__ or "")


_FIGURES: dict[str, Figure] = {}


def figure(name: str, title: str, *kinds: str, asked_by: Asked | None = None) -> Callable[[Draw], Draw]:
    """Register the decorated function as what draws `name` for studies and jobs of these kinds."""

    def register(draw: Draw) -> Draw:
        _FIGURES[name] = Figure(name, title, kinds, draw, asked_by)
        return draw

    return register


def names(kind: str, spec: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """`{"name", "title", "doc"}` of every figure that a study (or job) of this kind can show, in order.

    With its spec, less what it did not ask for.
    """
    found = [
        one
        for one in _FIGURES.values()
        if kind in one.kinds and (one.asked_by is None or spec is None or one.asked_by(spec))
    ]
    return [{"name": one.name, "title": one.title, "doc": one.doc} for one in found]


def draw(
    name: str, tables: Mapping[str, Any], summary: Mapping[str, Any], theme: str = "light"
) -> dict[str, Any]:
    """The figure as Vega-Lite with its data inlined.

    Raises:
        LookupError: for a name that no figure has.
        ValueError: for a theme that there is not.
    """
    if name not in _FIGURES:
        raise LookupError(f"no figure {name!r}; there are {', '.join(_FIGURES)}")
    if theme not in THEMES:
        raise ValueError(f"no theme {theme!r}; there are {', '.join(THEMES)}")
    chosen = THEMES[theme]
    drawn = _FIGURES[name].draw(Study(tables, summary), chosen)
    return {"$schema": SCHEMA, "config": config(chosen), **drawn}
