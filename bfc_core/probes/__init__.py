"""What is measured on features and weights of every layer: a pure function for each measure, and its deed.

Importing this room registers the deeds; `bfc_core.measures` holds the torch-free measures of similarity.
"""

from bfc_core.probes import (
    agop,
    captured,
    degrees,
    feature_error,
    linear,
    movement,
    sensitivity,
    similarity,
    tangent_kernel,
    two_layer,
    weight_correlation,
)

__all__ = [
    "agop",
    "captured",
    "degrees",
    "feature_error",
    "linear",
    "movement",
    "sensitivity",
    "similarity",
    "tangent_kernel",
    "two_layer",
    "weight_correlation",
]
