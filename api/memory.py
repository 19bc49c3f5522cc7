"""The memory of the process: which blocks the heap keeps for the next reply, and what goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress

#: of glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
#: blocks up to this size are taken from the heap and used again: a page fault for each 4 KiB of a tensor's chunk
#: (1 MiB) costs three times what reading it does
HEAP_BLOCK_BYTES = 2 << 20
HEAP_SPARE_BYTES = 8 << 20
PERIOD_SECONDS = 1.0


def settle() -> None:
    """Called once all modules are loaded, before the first request."""
    with suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        # glibc would learn to keep ever larger blocks.
        mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_BYTES)
        mallopt(M_TRIM_THRESHOLD, HEAP_SPARE_BYTES)
        mallopt(M_ARENA_MAX, 2)
    # Modules live for ever: without them a full collection is short, and comes before much has gathered.
    gc.collect()
    gc.freeze()


async def giving_back() -> None:
    """For ever: pages that are free between blocks in use go back to the system, which takes a millisecond or two.

    glibc by itself gives back only what is free at the heap's end: the windows of a hundred downloads would stay.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # not glibc
        return
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        trim(0)
