"""Networks of linear maps in the tangent-kernel parametrisation, with a tap on every map.

A forward pass shows each map's result z (n, m) and what it read, g (n, r) in parts, to its tap. So one function is both
f(params, x) for the generic tangent kernel and, with a recording tap, the source of its factors. A part that several
maps read, as in a DenseNet, is one factor, beside the gradients of all their results.
Letters: n samples, q numbers read, m neurons, p expanded features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bfc_core.learners.tangent import Factors, widths_of

Parts = Sequence[Tensor]
"""Of what a map reads, each (n, r_i), side by side."""
Tap = Callable[[Tensor, Parts], Tensor]
"""(z (n, m), parts of g) -> z."""
Params = Mapping[str, Tensor]
CHUNK = 256
"""Samples whose passes are held at once."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    # Each with unit second moment on a standard normal, so that depth neither swells nor shrinks the signal.
    "relu": lambda z: torch.relu(z) * math.sqrt(2),
    "quadratic": lambda z: (z.square() - 1) / math.sqrt(2),
    "gelu": lambda z: torch.nn.functional.gelu(z) * 1.5335,
    "tanh": lambda z: torch.tanh(z) * 1.5927,
    "erf": lambda z: torch.erf(z) * 1.4650,
    "linear": lambda z: z,
}


def untapped(z: Tensor, parts: Parts) -> Tensor:  # noqa: ARG001
    """The tap that only passes on."""
    return z


@dataclass(frozen=True, slots=True)
class TappedMlp:
    """f = v·φ(z_L)/√m, z_1 = W_1 x/√q, z_l = W_l φ(z_{l−1})/√m: all entries N(0, 1), no biases, as the closed form."""

    read: int
    width: int
    depth: int
    activation: str = "relu"

    def initial(self, generator: Generator, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """Standard normal parameters."""
        fans = [self.read] + [self.width] * (self.depth - 1)
        shapes = {f"W{i + 1}": (self.width, fan) for i, fan in enumerate(fans)} | {"v": (1, self.width)}
        return {name: torch.randn(*shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}

    def __call__(self, params: Params, x: Tensor, tap: Tap = untapped) -> Tensor:
        """x (n, q) -> (n,)."""
        h = x
        for layer in range(1, self.depth + 1):
            h = ACTIVATIONS[self.activation](_map(params[f"W{layer}"], [h], tap))
        return _map(params["v"], [h], tap).squeeze(-1)


@dataclass(frozen=True, slots=True)
class TappedDensenet:
    """The quadratic DenseNet: z_l = W_l [u, h_j]_{j<l}/√fan-in, h_l = ((R_l z_l)² − 1)/√2, f = Σ_l v_l·h_l/√p."""

    read: int
    width: int
    levels: int

    @property
    def expanded(self) -> int:
        """p: as many random directions as there are products of neurons."""
        return self.width * (self.width + 1) // 2

    def initial(self, generator: Generator, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """Standard normal parameters, and `R_l` with unit rows, which do not train."""
        found = {}
        for level in range(self.levels):
            shapes = {"W": (self.width, self.read + level * self.expanded), "v": (1, self.expanded)}
            for name, shape in shapes.items():
                found[f"{name}{level + 2}"] = torch.randn(*shape, generator=generator, dtype=dtype)
            rows = torch.randn(self.expanded, self.width, generator=generator, dtype=dtype)
            found[f"R{level + 2}"] = rows / rows.norm(dim=1, keepdim=True)
        return found

    def __call__(self, params: Params, x: Tensor, tap: Tap = untapped) -> Tensor:
        """x (n, q) -> (n,)."""
        parts, total = [x], x.new_zeros(len(x))
        for level in range(2, self.levels + 2):
            z = _map(params[f"W{level}"], parts, tap)
            h = ((z @ params[f"R{level}"].mT).square() - 1) / math.sqrt(2)
            total = total + _map(params[f"v{level}"], [h], tap).squeeze(-1)
            parts = [*parts, h]
        return total


def trainable(params: Params) -> dict[str, Tensor]:
    """Without the fixed random rows."""
    return {name: block for name, block in params.items() if not name.startswith("R")}


def factors(network: TappedMlp | TappedDensenet, params: Params, x: Tensor) -> Factors:
    """δ and g of every map at x (n, q), as rows: one forward and one backward pass, no Jacobian; some samples at a time."""
    widths = widths_of(pairs(network, params, x[:1]))
    rows = x.new_empty(len(x), sum(map(sum, widths)))
    for some, into in zip(torch.split(x, CHUNK), torch.split(rows, CHUNK), strict=True):
        torch.cat([part for pair in pairs(network, params, some) for part in pair], dim=1, out=into)
    return Factors(rows, widths)


def pairs(network: TappedMlp | TappedDensenet, params: Params, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """δ (n, m) and g (n, r) at x (n, q) for each part g of what is read, δ of all the maps that read it side by side."""
    seen: list[tuple[Tensor, Parts]] = []

    def record(z: Tensor, parts: Parts) -> Tensor:
        seen.append((z, parts))
        return z

    with torch.enable_grad():
        # Without a graph to the inputs no z would have a gradient.
        total = network(params, x.detach().requires_grad_(), record).sum()
        deltas = torch.autograd.grad(total, [z for z, _ in seen])
    read: dict[int, Tensor] = {}
    by: dict[int, list[Tensor]] = {}
    for delta, (_, parts) in zip(deltas, seen, strict=True):
        scaled = delta / math.sqrt(sum(part.shape[1] for part in parts))
        for part in parts:
            read[id(part)] = part.detach()
            by.setdefault(id(part), []).append(scaled)
    return [
        (by[key][0] if len(by[key]) == 1 else torch.cat(by[key], dim=1), part) for key, part in read.items()
    ]


def _map(w: Tensor, parts: Parts, tap: Tap) -> Tensor:
    """W g/√fan-in, shown to the tap; the narrower of g and the result is divided."""
    g, scale = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1), 1 / math.sqrt(w.shape[1])
    return tap((g * scale) @ w.mT if w.shape[1] <= w.shape[0] else (g @ w.mT) * scale, parts)
