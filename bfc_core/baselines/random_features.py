"""Ridge regression on random features: φ(⟨w_i, x⟩/√d + b_i) with w, b standard normal, 1 … F."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from bfc_core.baselines.fitted import Fit, Fitted
from bfc_core.baselines.kernel_ridge import select_and_refit
from bfc_core.baselines.kernels import Linear
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.selection import Axis
from bfc_core.registry import deed
from bfc_core.specs import baseline as words
from bfc_core.streams import stream

CHUNK = 256
"""Test inputs whose features are held at once."""


@deed(words.RandomFeatures)
def fit_random_features(spec: words.RandomFeatures, problem: Problem) -> Fit:
    """Ridge on the features of `spec`, in its dual form: F may exceed N."""
    generator, d = stream("init", problem.init_seed, "random features"), problem.x.shape[1]
    w = torch.randn(d, spec.features, generator=generator, dtype=torch.float64)
    b = torch.randn(spec.features, generator=generator, dtype=torch.float64)
    # Each φ(c z) is a power of c times φ(z), so that 1/√F is taken into the weights.
    scale = spec.features ** (-0.5 if spec.activation == "relu" else -0.25)
    w, b = (w * (scale / math.sqrt(d))).to(problem.x), (b * scale).to(problem.x)
    inner = replace(problem, x=features(problem.x, w, b, spec.activation))
    penalty = Axis("penalty", tuple(sorted(spec.penalties)))
    fitted = yield from select_and_refit(lambda _: Linear(), [penalty], inner)
    if fitted is None:
        return None

    def predict(x: Tensor) -> Tensor:
        return torch.cat(
            [fitted.predict(features(part, w, b, spec.activation)) for part in torch.split(x, CHUNK)]
        )

    return Fitted(predict, fitted.validation_error, fitted.grid_edge, fitted.chosen, fitted.grid)


def features(x: Tensor, w: Tensor, b: Tensor, activation: str) -> Tensor:
    """φ(x w + b) (n, F) of x (n, d), w (d, F), b (F,); φ is ReLU or the square."""
    z = torch.addmm(b, x, w)
    return z.clamp_min_(0) if activation == "relu" else z.square_()
