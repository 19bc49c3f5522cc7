"""The hierarchical quadratic teacher of Allen-Zhu and Li (arXiv 2001.04413), as docs/science.md builds it.

Letters: n samples, d coordinates, q numbers the learner reads, k teacher neurons a level, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Generator, Tensor

from bfc_core.registry import deed
from bfc_core.specs.data import Hierarchical
from bfc_core.streams import stream
from bfc_core.targets.effective_gap import best_quadratic_error
from bfc_core.targets.linear_algebra import orthonormal_rows

#: Samples behind every normalisation constant of a teacher.
STATISTICS_SAMPLES = 40_000
#: Numbers that one part of a sample may hold: large inputs are drawn in several.
CHUNK_NUMBERS = 1 << 22
#: sd of x² for the input laws of unit variance: uniform E x⁴ = 9/5, Gaussian 3, ±1 none.
SQUARE_DEVIATION = {"uniform": math.sqrt(0.8), "gaussian": math.sqrt(2.0), "sign": 0.0}


def draw_inputs(law: str, count: int, dim: int, generator: Generator) -> Tensor:
    """x (count, dim) float32 with iid coordinates of zero mean and unit variance."""
    if law == "gaussian":
        return torch.randn(count, dim, generator=generator)
    if law == "uniform":
        root = math.sqrt(3.0)
        return torch.empty(count, dim).uniform_(-root, root, generator=generator)
    return torch.empty(count, dim).bernoulli_(0.5, generator=generator).mul_(2).sub_(1)


class HierarchicalTeacher:
    """z*_l = W*_l [h*_j]_{j<l}, h*_l = z*_l² standardised, y = Σ_l α_l (Σ_i z*²_{l,i} − m_l)/s_l."""

    output_dim = 1

    def __init__(self, spec: Hierarchical, seed: int) -> None:
        self.spec, self.seed = spec, seed
        self.levels = tuple(range(2, spec.levels + 1))
        self.input_dim = spec.input_dim
        #: For ±1 inputs h_1 = x² − 1 is zero and is left out.
        self.squares = SQUARE_DEVIATION[spec.inputs] > 0
        self.read_dim = spec.input_dim * (2 if self.squares else 1)
        self._blocks = self._draw_blocks(seed)
        self._means: dict[int, Tensor] = {}
        self._deviations: dict[int, Tensor] = {}
        self._level_mean: dict[int, float] = {}
        self._level_deviation: dict[int, float] = {}
        self._cast: dict[tuple[torch.dtype, torch.device], dict[int, dict[int, Tensor]]] = {}
        self._standardise(seed)

    def inputs(self, count: int, generator: Generator) -> Tensor:
        return draw_inputs(self.spec.inputs, count, self.input_dim, generator)

    def embed(self, x: Tensor) -> Tensor:
        if not self.squares:
            return x
        return torch.cat([x, (x.square() - 1) / SQUARE_DEVIATION[self.spec.inputs]], dim=1)

    def features(self, x: Tensor) -> dict[int, Tensor]:
        groups = self._input_groups(x)
        found: dict[int, Tensor] = {}
        for level in self.levels:
            z = self._combine(level, groups, x)
            found[level] = z
            if level < self.levels[-1]:
                mean, deviation = self._means[level].to(z), self._deviations[level].to(z)
                groups[level] = (z.square() - mean) / deviation
        return found

    def labels(self, x: Tensor) -> Tensor:
        outputs = self.level_outputs(x)
        return torch.stack([outputs[level] for level in self.levels]).sum(dim=0)

    def level_outputs(self, x: Tensor) -> dict[int, Tensor]:
        """x (n, d) -> level -> α_l (Σ_i z*²_{l,i} − m_l)/s_l (n,): each level's part of y."""
        return {level: self._level_output(level, z) for level, z in self.features(x).items()}

    @property
    def matrices(self) -> Mapping[int, Tensor]:
        """Level 2 alone reads what the learner's level 2 reads: W*_2 (k, q), float64."""
        return {2: torch.cat(list(self._blocks[2].values()), dim=1)}

    @cached_property
    def effective_gap(self) -> float | None:
        """Test MSE/Var y of the best quadratic in [x, h_1]: what level 2 cannot imitate, however wide."""
        generator = stream("target", self.seed, "effective gap")
        return best_quadratic_error(
            self.input_dim, self.spec.inputs, lambda count: self.inputs(count, generator), self.labels
        )

    def _level_output(self, level: int, z: Tensor) -> Tensor:
        alpha = self.spec.gap[level - 2]
        return (z.square().sum(dim=1) - self._level_mean[level]) * (alpha / self._level_deviation[level])

    def _input_groups(self, x: Tensor) -> dict[int, Tensor]:
        groups = {0: x}
        if self.squares:
            groups[1] = (x.square() - 1) / SQUARE_DEVIATION[self.spec.inputs]
        return groups

    def _combine(self, level: int, groups: Mapping[int, Tensor], like: Tensor) -> Tensor:
        blocks = self._blocks_like(like)[level]
        first, *rest = blocks.items()
        z = groups[first[0]] @ first[1].mT
        for group, block in rest:
            z = torch.addmm(z, groups[group], block.mT)
        return z

    def _blocks_like(self, like: Tensor) -> dict[int, dict[int, Tensor]]:
        key = (like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = {
                level: {group: block.to(like) for group, block in blocks.items()}
                for level, blocks in self._blocks.items()
            }
        return self._cast[key]

    def _draw_blocks(self, seed: int) -> dict[int, dict[int, Tensor]]:
        """W*_l as one block (k, width of the group) for each lower group it reads, rows scaled."""
        spec, k = self.spec, self.spec.width
        blocks: dict[int, dict[int, Tensor]] = {}
        for level in self.levels:
            generator = stream("target", seed, "level", level)
            weights = self._group_weights(level)
            last = level == self.levels[-1]
            scale = torch.ones(k, dtype=torch.float64) if last else weak_to_strong(k, spec.weakest)
            blocks[level] = {
                group: scale[:, None] * weight * orthonormal_rows(k, self._group_dim(group), generator)
                for group, weight in weights.items()
            }
        return blocks

    def _group_weights(self, level: int) -> dict[int, float]:
        """Root of the part of z*_l's variance that each lower group gives."""
        inputs = [0, 1] if self.squares else [0]
        if level == 2:
            return {group: math.sqrt(1 / len(inputs)) for group in inputs}
        if self.spec.topology == "chain":
            return {level - 1: 1.0}
        lower = [*inputs, *range(2, level - 1)]
        return {level - 1: math.sqrt(0.7)} | {group: math.sqrt(0.3 / len(lower)) for group in lower}

    def _group_dim(self, group: int) -> int:
        return self.spec.width if group >= 2 else self.spec.input_dim

    def _standardise(self, seed: int) -> None:
        """Sets the constants of each level, lowest first, from one sample; then Var y and the levels' covariance."""
        read = self._read_from_inputs(seed)
        groups: dict[int, Tensor] = {}
        outputs = []
        for level in self.levels:
            z = read[level]
            for group, block in self._blocks[level].items():
                if group >= 2:
                    z.addmm_(groups[group], block.mT)
            squares = z.square()
            self._means[level] = squares.mean(dim=0)
            self._deviations[level] = squares.std(dim=0).clamp_min(1e-12)
            groups[level] = (squares - self._means[level]) / self._deviations[level]
            norms = squares.sum(dim=1)
            self._level_mean[level] = float(norms.mean())
            self._level_deviation[level] = max(float(norms.std()), 1e-12)
            outputs.append(self._level_output(level, z))
        stacked = torch.stack(outputs)
        #: Cov(Y_l, Y_l′) (L − 1, L − 1): levels are correlated, so that Var y is not Σ α_l².
        self.covariance = torch.cov(stacked).reshape(len(outputs), len(outputs))
        self.variance = float(stacked.sum(dim=0).var())
        #: Relative Monte-Carlo error of s_l by level, from the fourth moment.
        self.deviation_error = {
            level: _relative_deviation_error(part) for level, part in zip(self.levels, outputs, strict=True)
        }

    def _read_from_inputs(self, seed: int) -> dict[int, Tensor]:
        """Level -> the part of z*_l (STATISTICS_SAMPLES, k) that comes from x and h_1, drawn some inputs at a time."""
        generator = stream("target", seed, "statistics")
        parts: dict[int, list[Tensor]] = {level: [] for level in self.levels}
        for count in chunk_sizes(STATISTICS_SAMPLES, self.input_dim):
            inputs = self._input_groups(self.inputs(count, generator).double())
            for level in self.levels:
                z = inputs[0].new_zeros(count, self.spec.width)
                for group, block in self._blocks[level].items():
                    if group < 2:
                        z.addmm_(inputs[group], block.mT)
                parts[level].append(z)
        return {level: torch.cat(found) for level, found in parts.items()}


def chunk_sizes(count: int, dim: int) -> list[int]:
    """`count` inputs of `dim` coordinates in parts of at most `CHUNK_NUMBERS` numbers."""
    size = max(1, min(count, CHUNK_NUMBERS // dim))
    return [min(size, count - start) for start in range(0, count, size)]


def weak_to_strong(rows: int, weakest: float) -> Tensor:
    """Row scales (rows,): a logarithmic grid from 1 to `weakest`."""
    return (
        torch.logspace(0, math.log10(weakest), rows, dtype=torch.float64)
        if rows > 1
        else torch.ones(1).double()
    )


def _relative_deviation_error(values: Tensor) -> float:
    """Standard error of the sample deviation of `values` (n,), over the deviation: √((κ − 1)/n)/2."""
    centred = values - values.mean()
    second = centred.square().mean()
    if second <= 0:
        return 0.0
    kurtosis = centred.pow(4).mean() / second.square()
    return float(((kurtosis - 1) / len(values)).sqrt() / 2)


@deed(Hierarchical)
def hierarchical(spec: Hierarchical, seed: int) -> HierarchicalTeacher:
    """The teacher that `spec` describes, as `seed` draws it."""
    return HierarchicalTeacher(spec, seed)
