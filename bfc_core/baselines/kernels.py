"""Kernels in closed form, computed in place on a tile.

Letters: a rows, b columns of a tile, d input coordinates, L hidden layers. A kernel is a function of two sets of
rows; none keeps anything but its parameters, so that tiles can be streamed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
"""x (a, d), y (b, d) -> K (a, b), a new tensor."""


def rbf(bandwidth: float) -> Kernel:
    """exp(−|x − y|²/(2σ²)), σ = bandwidth·√d."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        scale = -0.5 / (bandwidth**2 * x.shape[1])
        return square_distances(x, y).mul_(scale).exp_()

    return kernel


def laplace(bandwidth: float) -> Kernel:
    """exp(−|x − y|/σ), σ = bandwidth·√d."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        scale = -1 / (bandwidth * math.sqrt(x.shape[1]))
        return square_distances(x, y).sqrt_().mul_(scale).exp_()

    return kernel


def polynomial(degree: int, offset: float) -> Kernel:
    """(⟨x, y⟩/d + offset)^degree over its value where ⟨x, y⟩ = d."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        scale = 1 / (1 + offset)
        return torch.mm(x, y.mT).mul_(scale / x.shape[1]).add_(offset * scale).pow_(degree)

    return kernel


def arc_cosine(depth: int) -> Kernel:
    """Prior covariance of an infinitely wide ReLU network with `depth` hidden layers, weights of variance 2/fan-in.

    Source: Cho and Saul 2009, eq. 11 iterated (order 1); first layer ⟨x, y⟩/d.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return _relu_network(x, y, depth)[0]

    return kernel


def ntk(depth: int) -> Kernel:
    """Tangent kernel of the same network, all weights trained.

    Θ^0 = Σ^0, Θ^{l+1} = Σ^{l+1} + Θ^l · Σ̇^{l+1}. Source: Jacot et al. arXiv 1806.07572, theorem 1.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return _relu_network(x, y, depth)[1]

    return kernel


class Linear:
    """⟨x, y⟩ of features already computed; its machines predict by weights (d, o)."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.mm(x, y.mT)

    def weights(self, points: Tensor, coefficients: Tensor) -> Tensor:
        return torch.mm(points.mT, coefficients)

    def apply(self, x: Tensor, weights: Tensor) -> Tensor:
        return torch.mm(x, weights)


def square_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i − y_j|² (a, b), never below 0; one allocation."""
    found = torch.mm(x, y.mT).mul_(-2)
    return found.add_(x.square().sum(1)[:, None]).add_(y.square().sum(1)[None]).clamp_min_(0)


def _relu_network(x: Tensor, y: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Σ^depth and Θ^depth: with variance 2/fan-in the diagonal |x|²/d is the same at every layer."""
    d = x.shape[1]
    norms = torch.outer(x.norm(dim=1), y.norm(dim=1)).div_(d)
    sigma = torch.mm(x, y.mT).div_(d)
    theta = sigma.clone()
    cosine = sigma.div_(norms.clamp_min(torch.finfo(x.dtype).tiny)).clamp_(-1, 1)
    for _ in range(depth):
        angle = cosine.acos()
        derivative = angle.neg().add_(math.pi).div_(math.pi)
        cosine = (1 - cosine.square()).clamp_min_(0).sqrt_().div_(math.pi).addcmul_(derivative, cosine)
        cosine.clamp_(-1, 1)
        theta.mul_(derivative).addcmul_(norms, cosine)
    return cosine.mul_(norms), theta
