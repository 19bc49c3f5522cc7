"""l2-adversarial examples by projected gradient ascent (Madry et al., arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 3


def perturbed(x: Tensor, loss: Callable[[Tensor], Tensor], radius: Tensor) -> Tensor:
    """x (n, …) moved to raise `loss` by at most an l2 ball, `radius` of each channel's own units.

    radius broadcasts against x and gives one pixel-range unit in x's units, times the ball's size; the ball is
    round in pixels. Each of `STEPS` ascent steps goes 2.5/STEPS of the radius.
    """
    shift = torch.zeros_like(x)
    for _ in range(STEPS):
        shift.requires_grad_()
        gradient = torch.autograd.grad(loss(x + shift * radius), shift)[0]
        size = _norm(gradient).clamp_min(1e-12)
        shift = shift.detach() + gradient / size * (2.5 / STEPS)
        shift = shift / _norm(shift).clamp_min(1.0)
    return x + shift * radius


def _norm(x: Tensor) -> Tensor:
    """The l2 norm of each sample, (n, 1, …)."""
    size: Tensor = x.flatten(1).norm(dim=1)
    return size.view(-1, *[1] * (x.ndim - 1))
