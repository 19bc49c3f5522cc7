"""Fully connected networks, K at a time, their gradient by hand: for baselines and two-layer probes.

Letters: K members, n samples, B of a batch, d inputs, m neurons, o outputs, P parameters of one member.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

BETAS, EPSILON = (0.9, 0.99), 1e-8
WARMUP, FLOOR = 0.05, 0.01
"""Share of the steps in which the rate rises; the cosine falls to this share of the peak."""
CLIP = 1.0
"""Largest gradient norm of one member."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths from inputs to outputs, and the activation between: ReLU, or the centred square (z² − 1)/√2."""

    widths: tuple[int, ...]
    activation: str = "relu"

    @property
    def parameters(self) -> int:
        """P: weights and biases."""
        return sum((i + 1) * o for i, o in zip(self.widths, self.widths[1:], strict=False))

    def initial(self, members: int, generator: Generator) -> Tensor:
        """(K, P): weights N(0, gain/fan-in), biases 0; the same for every member, so that only rates differ."""
        parts = []
        for layer, (i, o) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            gain = 2.0 if layer and self.activation == "relu" else 1.0
            weights = torch.randn(i, o, generator=generator) * math.sqrt(gain / i)
            parts += [weights.flatten(), torch.zeros(o)]
        return torch.cat(parts).expand(members, -1).clone()

    def split(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(K, P) -> views of each layer's weights (K, i, o) and biases (K, 1, o)."""
        found, start = [], 0
        for i, o in zip(self.widths, self.widths[1:], strict=False):
            w = flat[:, start : start + i * o].view(-1, i, o)
            found.append((w, flat[:, start + i * o : start + i * o + o].view(-1, 1, o)))
            start += i * o + o
        return found


class Perceptrons:
    """K networks of one shape, trained together on mean squared error."""

    def __init__(self, shape: Shape, members: int, generator: Generator, device: torch.device) -> None:
        self.shape = shape
        self.values = shape.initial(members, generator).to(device)
        self.gradients = torch.zeros_like(self.values)
        first, second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        #: values, gradient, first and second moment of each member
        self._rows = list(zip(self.values, self.gradients, first, second, strict=True))
        self._number = torch.zeros((), device=device)
        self._layers, self._slopes = shape.split(self.values), shape.split(self.gradients)
        self._transposed = [w.mT for w, _ in self._layers]
        self._relu = shape.activation == "relu"
        self._offset = self.values.new_tensor(-1 / math.sqrt(2))

    def __call__(self, x: Tensor) -> Tensor:
        """x (K, n, d) or (n, d) -> (K, n, o)."""
        h = x.expand(len(self.values), *x.shape[-2:])
        for w, b in self._layers[:-1]:
            h = self._activate(torch.baddbmm(b, h, w))
        w, b = self._layers[-1]
        return torch.baddbmm(b, h, w)

    def gradient(self, x: Tensor, y: Tensor) -> None:
        """Fill `gradients` for a batch x (K, B, d), y (K, B, o)."""
        reads, zs = [x], []
        for w, b in self._layers[:-1]:
            zs.append(torch.baddbmm(b, reads[-1], w))
            reads.append(self._activate(zs[-1]))
        w, b = self._layers[-1]
        delta = _product(reads[-1], w).add_(b).sub_(y).mul_(2 / x.shape[1])
        for layer in range(len(zs), -1, -1):
            slope, bias = self._slopes[layer]
            _product(reads[layer].mT, delta, slope)
            torch.sum(delta, 1, keepdim=True, out=bias)
            if layer:
                delta = self._through(_product(delta, self._transposed[layer]), zs[layer - 1])

    def step(self, rates: Sequence[float], number: int) -> None:
        """Adam with each member's own rate (K), its gradient clipped to norm `CLIP`; `number` counts from 1."""
        excess = torch.linalg.vector_norm(self.gradients, dim=1).div_(CLIP).clamp_min_(1)
        self._number.fill_(number)
        for rate, beyond, (values, gradient, first, second) in zip(rates, excess, self._rows, strict=True):
            # One pass over everything, and no square root of MKL's, which takes five times as long for zeros.
            torch._fused_adam_(
                [values],
                [gradient],
                [first],
                [second],
                [],
                [self._number],
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
                grad_scale=beyond,
            )

    def _activate(self, z: Tensor) -> Tensor:
        return z.clamp_min(0) if self._relu else torch.addcmul(self._offset, z, z, value=1 / math.sqrt(2))

    def _through(self, above: Tensor, z: Tensor) -> Tensor:
        """The gradient with respect to z, of that with respect to its activation; may overwrite `above`."""
        if self._relu:
            below: Tensor = torch.ops.aten.threshold_backward(above, z, 0)
            return below
        return above.mul_(z).mul_(math.sqrt(2))


def _product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a (K, p, q) times b (K, q, r): torch's batched product of K > 1 has no fast way for r = 1 or q = 1."""
    if len(a) > 1 and a.shape[2] == 1:
        return torch.mul(a, b, out=out)
    if len(a) > 1 and b.shape[2] == 1:
        return torch.sum(a * b.mT, 2, keepdim=True, out=out)
    return torch.bmm(a, b, out=out)


def train(
    networks: Perceptrons,
    x: Tensor,
    y: Tensor,
    rates: Sequence[float],
    steps: int,
    batch: int,
    order: Generator,
) -> Iterator[int]:
    """Train K members on x (K or 1, n, d), y (n, o), each at its own peak rate; yields the step now and then.

    Every member sees the same batches, from one permutation after another.
    """
    members = len(networks.values)
    y = y.to(x)[None]
    batches = _batches(x, y, min(batch, y.shape[1]), order)
    for number in range(1, steps + 1):
        rows, labels = next(batches)
        networks.gradient(rows.expand(members, -1, -1), labels.expand(members, -1, -1))
        factor = rate_factor(number, steps)
        networks.step([rate * factor for rate in rates], number)
        if number % 100 == 0:
            yield number


def rate_factor(number: int, steps: int) -> float:
    """Of the peak rate at step `number` of `steps`: a linear rise, then half a cosine."""
    warm = max(1, round(WARMUP * steps))
    if number <= warm:
        return number / warm
    done = (number - warm) / max(1, steps - warm)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def _batches(x: Tensor, y: Tensor, size: int, order: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of x (·, n, d) and y (·, n, o), shuffled once an epoch: what does not fill a batch is left for the next."""
    n = y.shape[1]
    while True:
        permutation = torch.randperm(n, generator=order).to(x.device)
        rows, labels = x.index_select(1, permutation), y.index_select(1, permutation)
        for i in range(0, n - size + 1, size):
            yield rows[:, i : i + size], labels[:, i : i + size]
