"""The empirical tangent kernel Θ(x, x') = Σ_p ∂f(x)/∂p ∂f(x')/∂p of any f(params, x), and of networks of maps.

Three ways, equal to rounding. `jacobian_kernel` contracts blocks of Jacobians: any f, memory of two blocks.
`tangent_products` multiplies by Θ with one backward and one forward pass: any f, no kernel at all. For a network whose
weights W_l each meet a sample once, as z_l = W_l g_l, the gradient is the outer product δ_l g_lᵀ, and Θ is
Σ_l (δ_l·δ_l')(g_l·g_l'): `Factors` hold δ and g, a kernel of their own with arithmetic that has no weights in it.
Letters: n samples, q numbers read, P parameters, m neurons, r numbers a layer reads.
Source: Jacot et al. arXiv 1806.07572; Novak et al. arXiv 2206.08720.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vmap

Params = Mapping[str, Tensor]
Network = Callable[[Params, Tensor], Tensor]
"""f(params, x (n, q)) -> (n,)."""

BLOCK_NUMBERS = 1 << 24
"""Numbers that one block of Jacobians may hold, 128 MiB of doubles; two blocks are held."""


def jacobian(f: Network, params: Params, x: Tensor) -> Tensor:
    """Gradients of f at each x (n, q) with respect to all parameters, joined: (n, P)."""

    def value(p: Params, one: Tensor) -> Tensor:
        return f(p, one[None])[0]

    found = vmap(grad(value), in_dims=(None, 0))(dict(params), x)
    return torch.cat([found[name].flatten(1) for name in params], dim=1)


def jacobian_kernel(
    f: Network, params: Params, x: Tensor, y: Tensor | None = None, *, block: int | None = None
) -> Tensor:
    """Θ (n, n') of x (n, q) with y (n', q), or with itself: then each pair of blocks is contracted once.

    Holds two blocks of Jacobians, 2 · block · P numbers, beside the kernel (`block` samples each, by default as
    many as `BLOCK_NUMBERS` hold); Jacobians of the columns are made anew for each row of blocks.
    """
    size = sum(part.numel() for part in params.values())
    block = max(1, BLOCK_NUMBERS // size) if block is None else block
    symmetric = y is None
    columns = x if y is None else y
    kernel = x.new_empty(len(x), len(columns))
    for i in range(0, len(x), block):
        rows = jacobian(f, params, x[i : i + block])
        for j in range(i if symmetric else 0, len(columns), block):
            across = rows if symmetric and i == j else jacobian(f, params, columns[j : j + block])
            tile = rows @ across.mT
            kernel[i : i + block, j : j + block] = tile
            if symmetric and j > i:
                kernel[j : j + block, i : i + block] = tile.mT
    return kernel


def tangent_products(f: Network, params: Params, x: Tensor, v: Tensor) -> Tensor:
    """Θ v for v (n,) or (n, s): the gradient along v, pushed forward; memory of a few passes, no kernel.

    Forward products come from differentiating the backward pass, which is linear in what is pulled back.
    """
    leaves = {name: block.detach().requires_grad_() for name, block in params.items()}
    with torch.enable_grad():
        output = f(leaves, x)
        pulled = torch.zeros_like(output, requires_grad=True)
        gradient = torch.autograd.grad(output, list(leaves.values()), pulled, create_graph=True)

    def once(column: Tensor) -> Tensor:
        direction = torch.autograd.grad(output, list(leaves.values()), column, retain_graph=True)
        return torch.autograd.grad(gradient, pulled, direction, retain_graph=True)[0]

    return once(v) if v.ndim == 1 else torch.stack([once(column) for column in v.unbind(1)], dim=1)


@dataclass(frozen=True, slots=True)
class Factors:
    """Rows (n, Σ m_l + r_l) of every δ_l and g_l, and the widths that tell them apart; a kernel of such rows."""

    rows: Tensor
    widths: tuple[tuple[int, int], ...]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Θ (a, b) of rows x (a, Σ), y (b, Σ): Σ_l (δ_l·δ_l')(g_l·g_l')."""
        (delta, read), *rest = self._slices()
        found = torch.mm(x[:, delta], y[:, delta].mT).mul_(torch.mm(x[:, read], y[:, read].mT))
        for delta, read in rest:
            found.addcmul_(torch.mm(x[:, delta], y[:, delta].mT), torch.mm(x[:, read], y[:, read].mT))
        return found

    def weights(self, points: Tensor, coefficients: Tensor) -> Tensor:
        """The change of all maps, Σ_j α_j δ_l g_lᵀ, that Σ_j α_j Θ(·, x_j) linearises: (P, o)."""
        columns = []
        for alpha in coefficients.unbind(1):
            maps = [(points[:, d] * alpha[:, None]).mT @ points[:, r] for d, r in self._slices()]
            columns.append(torch.cat([change.flatten() for change in maps]))
        return torch.stack(columns, dim=1)

    def apply(self, x: Tensor, weights: Tensor) -> Tensor:
        """Σ_l δ_lᵀ ΔW_l g_l of rows x (a, Σ): (a, o)."""
        return self.apply_pairs([(x[:, d], x[:, g]) for d, g in self._slices()], weights)

    def apply_pairs(self, pairs: Sequence[tuple[Tensor, Tensor]], weights: Tensor) -> Tensor:
        """The same of δ_l (a, m) and g_l (a, r) by themselves."""
        sizes = [m * r for m, r in self.widths]
        columns = []
        for column in weights.unbind(1):
            total = torch.zeros_like(pairs[0][0][:, 0])
            for change, (delta, read) in zip(torch.split(column, sizes), pairs, strict=True):
                block = change.view(delta.shape[1], read.shape[1])
                # Either side first: the narrower product is the quicker one to weigh by the other side.
                wide = read.shape[1] > delta.shape[1]
                total += (delta * (read @ block.mT) if wide else (delta @ block) * read).sum(1)
            columns.append(total)
        return torch.stack(columns, dim=1)

    def _slices(self) -> list[tuple[slice, slice]]:
        """The columns of each layer's δ and g."""
        found, start = [], 0
        for m, r in self.widths:
            found.append((slice(start, start + m), slice(start + m, start + m + r)))
            start += m + r
        return found


def widths_of(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[tuple[int, int], ...]:
    """m and r of each layer's δ_l (n, m) and g_l (n, r)."""
    return tuple((delta.shape[1], read.shape[1]) for delta, read in pairs)
