"""Figures: Vega-Lite as the server sends it, shown by notebooks without further libraries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VEGA_LITE_MIME = "application/vnd.vegalite.v5+json"
ACCEPT = {
    "vega-lite": "application/vnd.vegalite.v5+json, application/json;q=0.9",
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
}
SUFFIXES = {".json": "vega-lite", ".vl": "vega-lite", ".png": "png", ".svg": "svg", ".pdf": "pdf"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a job as Vega-Lite. `png` is the picture for front ends that cannot draw it."""

    name: str
    spec: dict[str, Any]
    png: bytes | None = None

    def save(self, path: str | Path) -> None:
        """Write the Vega-Lite JSON."""
        Path(path).write_text(json.dumps(self.spec, indent=1) + "\n", encoding="utf-8")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {VEGA_LITE_MIME: self.spec, "text/plain": f"<figure {self.name}>"}
        if self.png is not None:
            bundle["image/png"] = self.png
        return bundle


def format_of(path: str | Path) -> str:
    """The figure format that a file's suffix names. Raises ValueError for one that is none."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a figure ends in {', '.join(SUFFIXES)}")
    return SUFFIXES[suffix]
