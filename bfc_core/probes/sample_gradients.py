"""Gradients of a stack's outputs sample by sample, in blocks: what tangent kernels and outer products are made of.

Letters: K members, n samples, P parameters of one member. An output of several numbers counts by their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import grad, vmap

from bfc_core.probes.base import View, When

BLOCK_NUMBERS = 1 << 24
"""Numbers that one block of gradients may hold: 64 MiB of float32."""


def gradients(
    view: View, x: Tensor, when: When, names: Sequence[str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Block after block of x (n, …): name -> gradients (B, K, …) of each member's own output."""
    weights = view.weights(when)
    chosen = {name: block for name, block in weights.items() if names is None or name in names}
    held = {name: block for name, block in weights.items() if name not in chosen}
    size = sum(block.numel() for block in chosen.values())

    def value(moving: Mapping[str, Tensor], one: Tensor) -> Tensor:
        # Members do not see each other, so the gradient of their sum is each one's own.
        return view.forward({**held, **moving}, one[None]).sum()

    each = vmap(grad(value), in_dims=(None, 0))
    for part in torch.split(x, max(1, BLOCK_NUMBERS // max(1, size))):
        yield each(chosen, part)


def tangent_kernels(view: View, x: Tensor, when: When) -> Tensor:
    """Θ (K, n, n) of every member at x (n, …), two blocks of gradients at a time; each pair of blocks once."""
    n = len(x)
    kernel = torch.zeros(view.members, n, n, dtype=torch.float64, device=x.device)
    start = 0
    for rows in gradients(view, x, when):
        left = _joined(rows)
        end = start + left.shape[1]
        at = start
        for columns in gradients(view, x[start:], when):
            right = _joined(columns)
            tile = torch.bmm(left, right.mT).double()
            kernel[:, start:end, at : at + right.shape[1]] = tile
            kernel[:, at : at + right.shape[1], start:end] = tile.mT
            at += right.shape[1]
        start = end
    return kernel


def _joined(block: Mapping[str, Tensor]) -> Tensor:
    """(B, K, …) by name -> (K, B, P)."""
    return torch.cat([part.reshape(*part.shape[:2], -1) for part in block.values()], dim=2).transpose(0, 1)
