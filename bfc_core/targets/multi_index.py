"""Functions of a few directions of Gaussian inputs: sums of Hermite links.

Source: Ben Arous, Gheissari, Jagannath, arXiv 2003.10409 (information exponent). Letters: k directions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from bfc_core.registry import deed
from bfc_core.specs.data import MultiIndex
from bfc_core.streams import stream
from bfc_core.targets.linear_algebra import orthonormal_rows


class MultiIndexTeacher:
    """y = Σ_i g_i(t_i), t_i = u_i·x / √(1 + spike), g_i a sum of normalised Hermite polynomials.

    Its features are the projections t (level 2, linear in x).
    """

    output_dim = 1
    levels = (2,)

    def __init__(self, spec: MultiIndex, seed: int) -> None:
        self.spec = spec
        self.input_dim, self.read_dim = spec.input_dim, 2 * spec.input_dim
        self.directions = orthonormal_rows(
            len(spec.links), spec.input_dim, stream("target", seed, "directions")
        )
        #: t_i are independent standard normals, and the polynomials orthonormal under that law
        self.variance = sum(coefficient**2 for link in spec.links for coefficient in link[1:])

    def inputs(self, count: int, generator: Generator) -> Tensor:
        x = torch.randn(count, self.input_dim, generator=generator)
        if self.spec.spike:
            u = self.directions.to(x)
            along = torch.randn(count, len(u), generator=generator)
            x = x + math.sqrt(self.spec.spike) * along @ u
        return x

    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([x, (x.square() - 1) / math.sqrt(2.0)], dim=1)

    def features(self, x: Tensor) -> dict[int, Tensor]:
        return {2: x @ self.directions.to(x).mT / math.sqrt(1 + self.spec.spike)}

    def labels(self, x: Tensor) -> Tensor:
        t = self.features(x)[2]
        parts = [hermite_series(t[:, i], link) for i, link in enumerate(self.spec.links)]
        return torch.stack(parts).sum(dim=0)

    @property
    def matrices(self) -> Mapping[int, Tensor]:
        """The projections read x and nothing of h_1."""
        u = self.directions / math.sqrt(1 + self.spec.spike)
        return {2: torch.cat([u, torch.zeros_like(u)], dim=1)}


def hermite_series(t: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_j c_j He_j(t)/√(j!): He_{j+1} = t He_j − j He_{j−1}, orthonormal under the standard normal law."""
    before, now = torch.zeros_like(t), torch.ones_like(t)
    total = torch.zeros_like(t)
    for degree, coefficient in enumerate(coefficients):
        total = total + coefficient / math.sqrt(math.factorial(degree)) * now
        before, now = now, t * now - degree * before
    return total


@deed(MultiIndex)
def multi_index(spec: MultiIndex, seed: int) -> MultiIndexTeacher:
    """The target whose directions `seed` draws."""
    return MultiIndexTeacher(spec, seed)
