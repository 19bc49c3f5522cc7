"""Figures: result tables in, Vega-Lite out. Torch-free.

from bfc_core import figures

figures.names("correction")                                  # what such a study can show
figures.draw("which_part", tables, summary, theme="dark")    # Vega-Lite with its data inlined
"""

from bfc_core.figures import (
    claims,
    correction_is_backward,
    curves,
    how_deep,
    how_much,
    information_gap,
    pictures,
    sample_complexity,
    similarity,
    sliding,
    which_part,
)  # isort: skip
from bfc_core.figures.book import Figure, draw, figure, names

__all__ = [
    "Figure", "claims", "correction_is_backward", "curves", "draw", "figure", "how_deep", "how_much", "information_gap",
    "names", "pictures", "sample_complexity", "similarity", "sliding", "which_part",
]  # fmt: skip
