"""Noise operators whose eigenfunctions are the polynomials of each input law, and variance by polynomial degree.

T_ρ f(x) = E f(x_ρ) multiplies every polynomial orthogonal of total degree j by ρ^j, so E f(x) f(x_ρ) = Σ_j ρ^j W_j,
W_j the variance of degree j. Gaussian coordinates take the Ornstein–Uhlenbeck step, signs are flipped with chance
(1 − ρ)/2. Uniform coordinates are heights on a sphere in three dimensions (Archimedes), where the Poisson kernel
multiplies harmonics of degree j, and so the Legendre polynomial of the height, by ρ^j; its angle has a closed inverse
distribution. Letters: n samples, d coordinates, K members, D the highest degree.
Source: O'Donnell, Analysis of Boolean Functions, §2.4; the sphere by its generating function Σ (2j+1) ρ^j P_j(t).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor

Law = Literal["uniform", "gaussian", "sign"]
PARTS = 20
"""Independent parts of the samples, whose spread gives the standard error."""


def noised(x: Tensor, rho: float, law: Law, generator: Generator) -> Tensor:
    """x_ρ (n, d) from x (n, d), coordinates iid of unit variance; 0 ≤ ρ ≤ 1."""
    if law == "gaussian":
        fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return rho * x + math.sqrt(1 - rho**2) * fresh
    chance = torch.rand(x.shape, generator=generator, dtype=x.dtype)
    if law == "sign":
        return torch.where(chance < (1 - rho) / 2, -x, x)
    root = math.sqrt(3.0)
    height = (x / root).clamp(-1, 1)
    cosine = _poisson_cosine(chance, rho)
    longitude = 2 * math.pi * torch.rand(x.shape, generator=generator, dtype=x.dtype)
    across = ((1 - height.square()) * (1 - cosine.square())).clamp_min(0).sqrt()
    return root * (height * cosine + across * longitude.cos())


def _poisson_cosine(chance: Tensor, rho: float) -> Tensor:
    """t in [−1, 1] of density (1 − ρ²)/(2 (1 + ρ² − 2ρt)^{3/2}), from uniform chances, by inverting its integral."""
    if rho < 1e-6:
        return 2 * chance - 1
    if rho >= 1:
        return torch.ones_like(chance)
    inverse = 2 * rho * chance / (1 - rho**2) + 1 / (1 + rho)
    return ((1 + rho**2 - inverse.pow(-2)) / (2 * rho)).clamp(-1, 1)


def degree_weights(
    f: Callable[[Tensor], Tensor], x: Tensor, law: Law, degree: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """W_0 … W_D (K, D + 1) of f: x (n, d) -> (K, n, o), summed over o, and their standard errors.

    Exact on average for polynomials of degree at most D. ρ runs over D + 1 Chebyshev nodes of [−1, 1], the negative
    ones at −x_|ρ|, which keeps the system for the W_j as well conditioned as may be.
    """
    count = degree + 1
    nodes = [math.cos((i + 0.5) * math.pi / count) for i in range(count)]
    here = f(x)
    products = []
    for rho in nodes:
        there = noised(x, abs(rho), law, generator)
        products.append((here * f(there if rho >= 0 else -there)).sum(2))
    powers = torch.tensor([[rho**j for j in range(count)] for rho in nodes], dtype=torch.float64)
    stability = torch.stack(products, dim=1).double()
    # Parts of equal size: the mean of their solutions is the solution of their mean.
    size = stability.shape[2] // PARTS
    parts = stability[:, :, : size * PARTS].reshape(len(stability), count, PARTS, size).mean(3)
    solved = torch.linalg.solve(powers.to(parts), parts)
    return solved.mean(2), solved.std(2) / math.sqrt(PARTS)
