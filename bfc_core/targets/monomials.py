"""Sums of monomials on ±1 inputs: staircases of any leap, and parities.

Source: Abbe, Boix-Adsera, Misiakiewicz, arXiv 2302.11055 (leap); Daniely and Malach, arXiv 2002.07400 (parity).
Letters: n samples, d coordinates, k teacher features of a level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from bfc_core.registry import deed
from bfc_core.specs.data import Parity, Staircase
from bfc_core.streams import stream
from bfc_core.targets.hierarchical import draw_inputs

Monomial = tuple[int, ...]


class MonomialTeacher:
    """y = Σ_i c_i Π_{j ∈ S_i} x_j / √(number of monomials).

    A quadratic network's level l holds products of up to 2^(l−2) coordinates linearly, so its features are the
    target's monomials of degree 2^(l−3) + 1 … 2^(l−2); for a higher monomial that grows from none of these, also the
    consecutive blocks of 2^(l−2) of its coordinates. Level 2 has every coordinate that the target reads.
    """

    output_dim = 1

    def __init__(self, dim: int, monomials: Sequence[Monomial], coefficients: Sequence[float]) -> None:
        self.input_dim = self.read_dim = dim
        self.monomials = tuple(tuple(one) for one in monomials)
        self.coefficients = tuple(coefficients)
        self.parts = _parts_by_level(self.monomials)
        self.levels = tuple(sorted(self.parts))
        self.variance = self._variance()

    def inputs(self, count: int, generator: Generator) -> Tensor:
        return draw_inputs("sign", count, self.input_dim, generator)

    def embed(self, x: Tensor) -> Tensor:
        return x

    def features(self, x: Tensor) -> dict[int, Tensor]:
        return {level: products(x, parts) for level, parts in self.parts.items()}

    def labels(self, x: Tensor) -> Tensor:
        weights = torch.tensor(self.coefficients, dtype=x.dtype, device=x.device)
        return products(x, self.monomials) @ weights / math.sqrt(len(self.monomials))

    @property
    def matrices(self) -> Mapping[int, Tensor]:
        """Level 2's features are coordinates, which level 2 reads."""
        rows = [part[0] for part in self.parts[2]]
        return {2: torch.eye(self.input_dim, dtype=torch.float64)[rows]}

    def _variance(self) -> float:
        """Different monomials are orthonormal on the cube; equal ones add their coefficients."""
        sums: dict[frozenset[int], float] = {}
        for monomial, coefficient in zip(self.monomials, self.coefficients, strict=True):
            key = frozenset(monomial)
            sums[key] = sums.get(key, 0.0) + coefficient
        return sum(value**2 for value in sums.values()) / len(self.monomials)


def products(x: Tensor, monomials: Sequence[Monomial]) -> Tensor:
    """x (n, d) -> Π_{j ∈ S_i} x_j (n, number of monomials)."""
    return torch.stack([x[:, list(one)].prod(dim=1) for one in monomials], dim=1)


def _parts_by_level(monomials: Sequence[Monomial]) -> dict[int, tuple[Monomial, ...]]:
    """The features of each level, without repetition, in the order of the target."""
    highest = max(len(one) for one in monomials)
    found: dict[int, tuple[Monomial, ...]] = {
        2: tuple((j,) for j in sorted({j for one in monomials for j in one}))
    }
    level, size = 3, 2
    while size < 2 * highest:
        own = [one for one in monomials if size // 2 < len(one) <= size]
        alone = [one for one in monomials if not any(set(part) <= set(one) for part in own)]
        blocks = [one[i : i + size] for one in alone for i in range(0, len(one) - size + 1, size)]
        if own or blocks:
            found[level] = tuple(dict.fromkeys([*own, *blocks]))
        level, size = level + 1, 2 * size
    return found


@deed(Staircase)
def staircase(spec: Staircase, seed: int) -> MonomialTeacher:
    """The listed monomials; nothing is drawn, whatever the seed."""
    del seed
    coefficients = spec.coefficients or (1.0,) * len(spec.monomials)
    return MonomialTeacher(spec.input_dim, spec.monomials, coefficients)


@deed(Parity)
def parity(spec: Parity, seed: int) -> MonomialTeacher:
    """The product of `degree` coordinates, drawn by the seed."""
    drawn = torch.randperm(spec.input_dim, generator=stream("target", seed, "parity"))
    return MonomialTeacher(spec.input_dim, [tuple(sorted(drawn[: spec.degree].tolist()))], [1.0])
