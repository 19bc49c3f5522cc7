"""LAPACK where torch has no function for it: a factorisation within a larger array, and ridges without eigenvectors.

Letters: n and m rows of a square, o outputs, P penalties. Everything here computes on the CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import cython_blas, cython_lapack, get_lapack_funcs, lapack
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

    Torch would copy a block of a larger array at each call; LAPACK's `potrs` takes seven times as long for one column.
    """
    found = y.mT.clone(memory_format=torch.contiguous_format)
    rows, leading, step, by = (
        ctypes.c_int(len(block)),
        ctypes.c_int(block.stride(1)),
        ctypes.c_int(1),
        ctypes.byref,
    )
    trsv = _TRSV[block.dtype]
    for column in found:
        for transposed in (b"N", b"T"):
            trsv(b"L", transposed, b"N", by(rows), block.data_ptr(), by(leading), column.data_ptr(), by(step))
    return found.mT


def symmetric_product(block: Tensor, diagonal: Tensor, v: Tensor) -> Tensor:
    """S v (m,), S (m, m) symmetric with this diagonal (m,) and, above it, the triangle that `cholesky_` leaves."""
    found = torch.empty_like(v)
    rows, leading, step = ctypes.c_int(len(block)), ctypes.c_int(block.stride(1)), ctypes.c_int(1)
    scalar, by = _SCALARS[block.dtype], ctypes.byref
    one, none = scalar(1), scalar(0)
    _SYMV[block.dtype](
        b"U", by(rows), by(one), block.data_ptr(), by(leading), v.data_ptr(), by(step),
        by(none), found.data_ptr(), by(step),
    )  # fmt: skip
    return found.addcmul_(diagonal - block.diagonal(), v)


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


def _routine(capsule: object, letters: int, pointers: int) -> Callable[..., None]:
    """A routine of so many letters and then pointers, from where scipy publishes its BLAS and LAPACK for compiled code.

    `scipy.linalg.lapack` has no argument for the leading dimension and would copy a block of a larger array.
    """
    api = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    kinds = (*[ctypes.c_char_p] * letters, *[ctypes.c_void_p] * pointers)
    return ctypes.CFUNCTYPE(None, *kinds)(pointer_of(capsule, name_of(capsule)))


_SCALARS: dict[torch.dtype, type[ctypes.c_float | ctypes.c_double]] = {
    torch.float32: ctypes.c_float,
    torch.float64: ctypes.c_double,
}
_LETTERS = {torch.float32: "s", torch.float64: "d"}
_POTRF = {kind: _routine(cython_lapack.__pyx_capi__[f"{one}potrf"], 1, 4) for kind, one in _LETTERS.items()}
_TRSV = {kind: _routine(cython_blas.__pyx_capi__[f"{one}trsv"], 3, 5) for kind, one in _LETTERS.items()}
_SYMV = {kind: _routine(cython_blas.__pyx_capi__[f"{one}symv"], 1, 9) for kind, one in _LETTERS.items()}
