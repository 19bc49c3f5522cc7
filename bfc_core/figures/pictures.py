"""What blocks look for: first-layer filters, and inputs that excite channels most, before and after correction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bfc_core.figures.book import figure
from bfc_core.figures.data import Study, grouped
from bfc_core.figures.parts import Spec, nothing, page
from bfc_core.figures.theme import Theme

TITLE = "What blocks look for"
SIDE = 56
KINDS = {"filter": "filters", "excites": "what excites a channel most"}


def _asked(spec: Mapping[str, Any]) -> bool:
    return any(probe["kind"] == "pictures" for probe in spec["probes"])


@figure("pictures", TITLE, "train", asked_by=_asked)
def draw(study: Study, theme: Theme) -> dict[str, Any]:
    """First-layer filters, and inputs that excite channels most, channel by channel, before and after the last stage.

    A feature that was corrected is there before and after, altered; one that was learnt anew is another picture.
    """
    rows = study.rows("pictures")
    if not rows:
        return nothing(TITLE, "No pictures were asked for; the probe `pictures` makes them.", theme)
    panels = [
        _panel(block, kind, len(here) // 2) for (block, kind), here in grouped(rows, "block", "kind").items()
    ]
    titled = {
        (row["block"], row["kind"]): f"Block {row['block']} ({row['name']}): {KINDS[row['kind']]}"
        for row in rows
    }
    for panel, title in zip(panels, titled.values(), strict=True):
        panel["title"] = {"text": title, "color": theme.ink, "fontSize": 12, "anchor": "start"}
    words = ("Columns are channels. Before: at the start of the last stage; after: at its end.",)
    return page(TITLE, words, {"pictures": rows}, {"vconcat": panels, "spacing": 16}, theme)


def _panel(block: int, kind: str, channels: int) -> Spec:
    axis: Spec = {"title": None, "grid": False, "labelAngle": 0}
    return {
        "data": {"name": "pictures"},
        "transform": [{"filter": f"datum.block === {block} && datum.kind === '{kind}'"}],
        "width": {"step": SIDE + 4},
        "height": {"step": SIDE + 4},
        "mark": {"type": "image", "width": SIDE, "height": SIDE, "aspect": False},
        "encoding": {
            "x": {
                "field": "channel",
                "type": "ordinal",
                "axis": {**axis, "title": f"channel, {channels} of them"},
            },
            "y": {"field": "when", "type": "ordinal", "sort": ["before", "after"], "axis": axis},
            "url": {"field": "url", "type": "nominal"},
        },
    }
