"""Kernels in closed form, computed in place on a tile.

Letters: a rows, b columns of a tile, d input coordinates, L hidden layers. A kernel is a function of two sets of
rows; none keeps anything but its parameters, so that tiles can be streamed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
"""x (a, d), y (b, d) -> K (a, b), a new tensor."""
CACHED_NUMBERS = 1 << 17
"""Numbers that many passes go over at once: with a few helpers they stay in a core's second-level cache."""


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
        return power_(torch.mm(x, y.mT).mul_(scale / x.shape[1]).add_(offset * scale), degree)

    return kernel


def arc_cosine(depth: int) -> Kernel:
    """Prior covariance of an infinitely wide ReLU network with `depth` hidden layers, weights of variance 2/fan-in.

    Source: Cho and Saul 2009, eq. 11 iterated (order 1); first layer ⟨x, y⟩/d.
    """

    return _relu_network(depth, tangent=False)


def ntk(depth: int) -> Kernel:
    """Tangent kernel of the same network, all weights trained.

    Θ^0 = Σ^0, Θ^{l+1} = Σ^{l+1} + Θ^l · Σ̇^{l+1}. Source: Jacot et al. arXiv 1806.07572, theorem 1.
    """

    return _relu_network(depth, tangent=True)


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


def power_(x: Tensor, degree: int) -> Tensor:
    """x^degree in place, by squares and products: a general power costs as much as ten of them."""
    factor = None
    while degree > 1:
        if degree % 2:
            factor = x.clone() if factor is None else factor.mul_(x)
        x.square_()
        degree //= 2
    return x if factor is None else x.mul_(factor)


def _relu_network(depth: int, *, tangent: bool) -> Kernel:
    """|x| |y|/d times a function of the angle alone: with variance 2/fan-in, |x|²/d is the diagonal at every layer."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        tiny = torch.finfo(x.dtype).tiny
        down, across = x.norm(dim=1), y.norm(dim=1)
        found = torch.mm(x / down.clamp_min(tiny)[:, None], (y / across.clamp_min(tiny)[:, None]).mT)
        polynomial = angle_polynomial(depth, tangent) if x.dtype == torch.float32 else None
        for cosine in torch.split(found.clamp_(-1, 1), max(1, CACHED_NUMBERS // len(y))):
            if polynomial is None:
                cosine.copy_(unit_kernels(cosine, depth)[tangent])
            else:
                _of_angle_(cosine, polynomial)
        return found.mul_(down[:, None] / x.shape[1]).mul_(across)

    return kernel


def unit_kernels(cosine: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Σ^depth and Θ^depth of points on the unit sphere, at each cosine between them."""
    sigma, theta = cosine, cosine.clone()
    for _ in range(depth):
        derivative = torch.rsub(sigma.acos(), 1, alpha=1 / math.pi)
        sine = (1 - sigma.square()).sqrt_()
        sigma = sine.div_(math.pi).addcmul_(derivative, sigma).clamp_(-1, 1)
        theta.mul_(derivative).add_(sigma)
    return sigma, theta


@lru_cache(maxsize=64)
def angle_polynomial(depth: int, tangent: bool) -> tuple[float, ...] | None:
    """Coefficients in 2θ/π − 1, lowest first, of one of `unit_kernels` to float32's rounding; θ the angle.

    Layer upon layer stays smooth in θ, so that some 12 terms replace an arc cosine and a root a layer. None where the
    powers are so large that summing them would lose digits: from about 24 layers on.
    """

    points = chebyshev.chebpts1(256)
    cosine = torch.from_numpy((points + 1) * (math.pi / 2)).cos_()
    sampled = unit_kernels(cosine, depth)[tangent].numpy()
    series, largest = chebyshev.chebfit(points, sampled, 63), np.abs(sampled).max()
    left_out = np.cumsum(np.abs(series[::-1]))[::-1]
    terms = int((left_out > np.finfo(np.float32).eps / 2 * largest).sum())
    powers = chebyshev.cheb2poly(series[:terms])
    return tuple(powers.tolist()) if np.abs(powers).sum() < 8 * largest else None


def _of_angle_(cosine: Tensor, polynomial: tuple[float, ...]) -> None:
    """The polynomial at the angles of `cosine`, in place."""
    t = cosine.acos().mul_(2 / math.pi).sub_(1)
    *lower, second, first = cosine.new_tensor(polynomial).unbind()
    torch.addcmul(second, first, t, out=cosine)
    for coefficient in reversed(lower):
        torch.addcmul(coefficient, cosine, t, out=cosine)
