"""Affine least squares in float64, batched over the members of a stack.

Letters: K members, n samples, m features, k regressands.
"""

from __future__ import annotations

import torch
from torch import Tensor


def affine_fit(z: Tensor, t: Tensor) -> Tensor:
    """Least squares of t on [1, z] in float64: z (K, n, m), t (n, k) or (K, n, k) -> beta (K, 1 + m, k).

    One Householder QR of ``[1, z, t]`` without its Q, then the pseudo-inverse of the small triangle: the
    conditioning is that of z, not of z'z, and dependent columns get the smallest coefficients.
    """
    members, n, m = z.shape
    design = torch.cat(
        [z.new_ones(members, n, 1, dtype=torch.float64), z.double(), _members(t, members)], dim=2
    )
    triangle = torch.linalg.qr(design, mode="r").R
    a, b = triangle[:, : m + 1, : m + 1], triangle[:, : m + 1, m + 1 :]
    # Columns of very different size are all features: scaling keeps the cut-off from eating the small ones.
    size = a.norm(dim=1, keepdim=True)
    # A neuron that is dead on these samples has no coefficient: rounding over nought would be felt where it lives.
    alive = size > torch.finfo(torch.float64).tiny
    size = torch.where(alive, size, 1.0)
    beta: Tensor = torch.linalg.pinv(a / size, rtol=n * torch.finfo(torch.float64).eps) @ b
    return torch.where(alive.mT, beta / size.mT, 0.0)


def affine_ridge(z: Tensor, t: Tensor, share: float) -> Tensor:
    """As `affine_fit` with the penalty ``share · tr Cov(z)/m`` on the slopes; the intercept is free."""
    members, n, m = z.shape
    z, t = z.double(), _members(t, members)
    z_mean, t_mean = z.mean(1, keepdim=True), t.mean(1, keepdim=True)
    zc = z - z_mean
    cov = zc.mT @ zc / n
    penalty = share * cov.diagonal(dim1=1, dim2=2).mean(1)
    # A layer without any variance has no penalty either: the identity there keeps the system regular.
    penalty = torch.where(penalty > 0, penalty, torch.ones_like(penalty))
    eye = torch.eye(m, dtype=z.dtype, device=z.device)
    slope = torch.linalg.solve(cov + penalty[:, None, None] * eye, zc.mT @ (t - t_mean) / n)
    return torch.cat([t_mean - z_mean @ slope, slope], dim=1)


def residual(z: Tensor, t: Tensor, beta: Tensor) -> Tensor:
    """``t − [1, z] beta`` (K, n, k) in float64."""
    return _members(t, len(z)) - beta[:, :1] - z.double() @ beta[:, 1:]


def _members(t: Tensor, members: int) -> Tensor:
    t = t.double()
    return t.expand(members, *t.shape) if t.ndim == 2 else t
