"""Ridge regression on random features: φ(⟨w_i, x⟩/√d + b_i) with w, b standard normal, 1 … F.

Letters: n samples, d inputs, D products of two of them or of one and 1, or 1 itself: (d + 1)(d + 2)/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
WORTH = 8
"""Features a product of inputs from which on the products are the quicker way."""


@deed(words.RandomFeatures)
def fit_random_features(spec: words.RandomFeatures, problem: Problem) -> Fit:
    """Ridge on the features of `spec`, in its dual form: F may exceed N."""
    generator, d = stream("init", problem.init_seed, "random features"), problem.x.shape[1]
    w = torch.randn(d, spec.features, generator=generator, dtype=torch.float64)
    b = torch.randn(spec.features, generator=generator, dtype=torch.float64)
    # Each φ(c z) is a power of c times φ(z), so that 1/√F is taken into the weights.
    scale = spec.features ** (-0.5 if spec.activation == "relu" else -0.25)
    w, b = (w * (scale / math.sqrt(d))).to(problem.x), (b * scale).to(problem.x)
    mapped = features_of(w, b, spec.activation)
    penalty = Axis("penalty", tuple(sorted(spec.penalties)))
    inner = replace(problem, x=mapped(problem.x, None))
    fitted = yield from select_and_refit(lambda _: Linear(), [penalty], inner)
    if fitted is None:
        return None

    def predict(x: Tensor) -> Tensor:
        # One array for all parts: a new one each time is cleared by the system as often as it is filled.
        held = x.new_empty(CHUNK, inner.x.shape[1])
        return torch.cat([fitted.predict(mapped(part, held[: len(part)])) for part in torch.split(x, CHUNK)])

    return Fitted(predict, fitted.validation_error, fitted.grid_edge, fitted.chosen, fitted.grid)


def features_of(w: Tensor, b: Tensor, activation: str) -> Callable[[Tensor, Tensor | None], Tensor]:
    """x (n, d) -> φ(x w + b) (n, F) for w (d, F), b (F,), into an array if given; φ is ReLU or the square.

    Many squares of few inputs are given as D numbers with the same products between any two samples.
    """
    d, many = w.shape
    if activation == "relu":
        return lambda x, out: torch.addmm(b, x, w, out=out).clamp_min_(0)
    if WORTH * (d + 1) * (d + 2) // 2 > many:
        return lambda x, out: torch.addmm(b, x, w, out=out).square_()
    root = root_of_squares(w, b)
    return lambda x, out: torch.mm(products(torch.cat([x, x.new_ones(len(x), 1)], dim=1)), root, out=out)


def root_of_squares(w: Tensor, b: Tensor) -> Tensor:
    """R (D, D) with ψ R Rᵀ ψ'ᵀ = φ φ'ᵀ, where ψ (n, D) are the `products` that all squares φ (n, F) are sums of."""
    rows = torch.cat([w, b[None]]).double()
    terms = products(rows.mT).mT
    i, j = torch.triu_indices(len(rows), len(rows), device=w.device)
    # A product of two different inputs comes twice in a square.
    terms[i != j] *= 2
    root: Tensor = torch.linalg.cholesky(terms @ terms.mT)
    return root.to(w)


def products(x: Tensor) -> Tensor:
    """x_i x_j for i ≤ j: (n, d) -> (n, d(d + 1)/2)."""
    return torch.cat([x[:, i : i + 1] * x[:, i:] for i in range(x.shape[1])], dim=1)
