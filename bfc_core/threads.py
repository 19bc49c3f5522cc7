"""How many threads a job computes with: torch's own, and those of the BLAS that scipy and numpy bring along."""

from __future__ import annotations

import scipy.linalg  # noqa: F401  # its BLAS must be loaded to be found below
import torch
from threadpoolctl import ThreadpoolController

# Found once: looking for the libraries takes longer than setting them.
_BLAS = ThreadpoolController()


def use_threads(count: int) -> None:
    """`count` threads for everything that a job computes in this process.

    A factorisation by scipy would otherwise take a thread a core whatever torch was told; on a busy machine they then
    wait for each other.
    """
    torch.set_num_threads(count)
    _BLAS.limit(limits=count, user_api="blas")
