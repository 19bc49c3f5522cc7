"""LAPACK where torch has no function for it: a factorisation within a larger array, and ridges without eigenvectors.

Letters: n and m rows of a square, o outputs, P penalties. Everything here computes on the CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import cython_lapack, get_lapack_funcs, lapack
from torch import Tensor

PANEL = 64
"""Columns that LAPACK reduces at once; its own tuning takes as many or fewer."""


def cholesky_(block: Tensor) -> bool:
    """The lower triangle of a column-major block (m, m) becomes its factor, the upper one stays; False if indefinite.

    The block may be part of a larger array: it is factored where it lies.
    """
    if block.stride(0) != 1 or block.stride(1) < len(block):
        raise ValueError(f"column-major blocks only; these strides are {block.stride()}")
    rows, leading, info = ctypes.c_int(len(block)), ctypes.c_int(block.stride(1)), ctypes.c_int()
    potrf = _POTRF[block.dtype]
    potrf(b"L", ctypes.byref(rows), block.data_ptr(), ctypes.byref(leading), ctypes.byref(info))
    return info.value == 0


def cholesky_solved(block: Tensor, y: Tensor) -> Tensor:
    """(L Lᵀ)⁻¹ y (m, o), L the lower triangle of a block (m, m) as `cholesky_` leaves it.

    Torch's own would copy a block of a larger array at each call.
    """
    found = y.mT.clone(memory_format=torch.contiguous_format)
    rows, columns, leading = ctypes.c_int(len(block)), ctypes.c_int(len(found)), ctypes.c_int(block.stride(1))
    info, by = ctypes.c_int(), ctypes.byref
    potrs = _POTRS[block.dtype]
    potrs(b"L", by(rows), by(columns), block.data_ptr(), by(leading), found.data_ptr(), by(rows), by(info))
    return found.mT


def ridges(k: Tensor, y: Tensor, added: Sequence[float]) -> Tensor:
    """(k + a·I)⁻¹ y (P, n, o) for every a of `added` (P,); NaN where that is not positive definite to rounding.

    k (n, n) symmetric, n > 1, y (n, o). One reduction Qᵀ k Q = T to three diagonals serves all: a third of the time of an
    eigendecomposition, and each (T + a·I) is solved in float64.
    """
    a = k.cpu().numpy().T
    n = len(a)
    reduce, turn = get_lapack_funcs(("sytrd", "ormqr"), (a,))
    packed, diagonal, beside, scales, _ = reduce(a, lower=1, lwork=PANEL * n)
    reflectors = np.asfortranarray(packed[1:, : n - 1])

    def turned(rows: np.ndarray, transposed: bytes) -> np.ndarray:
        """Q or Qᵀ times `rows`: the reflectors leave the first one alone."""
        found = np.array(rows, dtype=a.dtype, order="F")
        found[1:] = turn(b"L", transposed, reflectors, scales, found[1:], PANEL * rows.shape[1])[0]
        return found

    right = turned(y.cpu().numpy(), b"T").astype(np.float64)
    diagonal, beside = diagonal.astype(np.float64), beside.astype(np.float64)
    solved = np.full((len(added), *right.shape), np.nan)
    for row, ridge in zip(solved, added, strict=True):
        _, _, found, failed = lapack.dptsv(diagonal + ridge, beside, right)
        if failed == 0:
            row[:] = found
    whole = turned(np.concatenate(solved, axis=1), b"N").reshape(n, len(added), -1)
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(1, 0, 2))).to(y)


def _routine(name: str, arguments: int) -> Callable[..., None]:
    """A routine of so many arguments, the first a letter, from where scipy publishes its LAPACK for compiled code.

    `scipy.linalg.lapack` has no argument for the leading dimension and would copy a block of a larger array.
    """
    api, capsule = ctypes.pythonapi, cython_lapack.__pyx_capi__[name]
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    kinds = (ctypes.c_char_p, *[ctypes.c_void_p] * (arguments - 1))
    return ctypes.CFUNCTYPE(None, *kinds)(pointer_of(capsule, name_of(capsule)))


_POTRF = {torch.float32: _routine("spotrf", 5), torch.float64: _routine("dpotrf", 5)}
_POTRS = {torch.float32: _routine("spotrs", 8), torch.float64: _routine("dpotrs", 8)}
