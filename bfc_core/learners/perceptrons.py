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
        self._moments = (torch.zeros_like(self.values), torch.zeros_like(self.values))
        self._layers, self._slopes = shape.split(self.values), shape.split(self.gradients)

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
        for w, b in self._layers:
            zs.append(torch.baddbmm(b, reads[-1], w))
            reads.append(self._activate(zs[-1]))
        delta = (zs[-1] - y).mul_(2 / x.shape[1])
        for layer in range(len(zs) - 1, -1, -1):
            slope, bias = self._slopes[layer]
            torch.bmm(reads[layer].mT, delta, out=slope)
            bias.copy_(delta.sum(1, keepdim=True))
            if layer:
                delta = torch.bmm(delta, self._layers[layer][0].mT)
                delta.mul_(self._derivative(zs[layer - 1]))

    def step(self, rates: Tensor, number: int) -> None:
        """Adam with each member's own rate (K, 1), its gradient clipped to norm `CLIP`; `number` counts from 1."""
        g = self.gradients
        g.mul_(CLIP / g.norm(dim=1, keepdim=True).clamp_min(CLIP))
        first, second = self._moments
        first.lerp_(g, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
        scale = rates / (1 - BETAS[0] ** number)
        size = (second / (1 - BETAS[1] ** number)).sqrt_().add_(EPSILON)
        self.values.sub_(scale * first / size)

    def _activate(self, z: Tensor) -> Tensor:
        if self.shape.activation == "relu":
            return z.clamp_min(0)
        return (z.square() - 1).div_(math.sqrt(2))

    def _derivative(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype) if self.shape.activation == "relu" else z * math.sqrt(2)


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
    n = len(y)
    size = min(batch, n)
    peak = torch.tensor(rates, dtype=x.dtype, device=x.device)[:, None]
    batches = _batches(n, size, order)
    for number in range(1, steps + 1):
        index = next(batches).to(x.device)
        rows = x[:, index].expand(len(networks.values), -1, -1)
        networks.gradient(rows, y[index].expand(len(networks.values), -1, -1))
        networks.step(peak * rate_factor(number, steps), number)
        if number % 100 == 0:
            yield number


def rate_factor(number: int, steps: int) -> float:
    """Of the peak rate at step `number` of `steps`: a linear rise, then half a cosine."""
    warm = max(1, round(WARMUP * steps))
    if number <= warm:
        return number / warm
    done = (number - warm) / max(1, steps - warm)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def _batches(n: int, size: int, order: Generator) -> Iterator[Tensor]:
    while True:
        permutation = torch.randperm(n, generator=order)
        for i in range(0, n - size + 1, size):
            yield permutation[i : i + size]
