"""What a target promises to the engine and to the probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Generator, Tensor


class Teacher(Protocol):
    """A function to be learned, with the features it is made of; one draw of the `target` stream.

    Letters: n samples, d coordinates, q numbers that a learner reads, k teacher neurons of a level.
    A teacher computes in the dtype of what it is given and holds its own weights in float64.
    """

    @property
    def input_dim(self) -> int:
        """d, the coordinates of x."""
        ...

    @property
    def read_dim(self) -> int:
        """q, the width of `embed`."""
        ...

    @property
    def output_dim(self) -> int:
        """o, numbers a label holds; with 1 a label is a plain number."""
        ...

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels that have features, lowest first."""
        ...

    @property
    def variance(self) -> float:
        """Var y of the noise-free label over the population, summed over outputs."""
        ...

    @property
    def matrices(self) -> Mapping[int, Tensor]:
        """W*_l (k, inputs of level l) where level l is linear in what the learner's level l reads; else empty."""
        ...

    def inputs(self, count: int, generator: Generator) -> Tensor:
        """x (count, d) float32, iid from the population."""
        ...

    def embed(self, x: Tensor) -> Tensor:
        """x (n, d) -> u (n, q): what the learner reads, [x, h_1] where h_1 has variance."""
        ...

    def features(self, x: Tensor) -> dict[int, Tensor]:
        """x (n, d) -> level -> z*_l (n, k)."""
        ...

    def labels(self, x: Tensor) -> Tensor:
        """x (n, d) -> y (n,), or (n, o) with several outputs; noise-free."""
        ...
