"""Learners to compare with, on the same samples: kernels, random features, shallow and generic deep networks.

Importing this room registers the deeds; `run_baseline` turns a spec into records.
"""

from bfc_core.baselines import (
    kernel_ridge,
    networks,
    random_features,
    recursive_feature_machine,
    tangent_kernel,
)
from bfc_core.baselines.fitted import run_baseline

__all__ = [
    "kernel_ridge",
    "networks",
    "random_features",
    "recursive_feature_machine",
    "run_baseline",
    "tangent_kernel",
]
