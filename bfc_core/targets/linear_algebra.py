"""Random orthonormal rows, shared by the targets."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def orthonormal_rows(rows: int, columns: int, generator: Generator) -> Tensor:
    """O (rows, columns) float64, uniform over matrices with O Oᵀ = 1; needs rows ≤ columns."""
    if rows > columns:
        raise ValueError(f"{rows} orthonormal rows do not fit {columns} columns")
    normal = torch.randn(columns, rows, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    # The sign of R's diagonal is LAPACK's choice; fixed, the draw is uniform and the same on every machine.
    rows_of_q: Tensor = (q * r.diagonal().sign()).mT.contiguous()
    return rows_of_q
