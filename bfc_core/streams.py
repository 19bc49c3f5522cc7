"""Named streams of random numbers: one seed a role, hashed with what it draws.

A stream depends on its name alone, never on what was drawn before, so that a resumed run, another arm and another
pack draw the same numbers. Draws are made on the CPU and moved, so that every device sees the same.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import torch

Role = Literal["target", "data", "init", "order"]


def stream(role: Role, seed: int, *names: str | int) -> torch.Generator:
    """The CPU generator of `role` under `seed`, at the place that `names` spell (stage, epoch, layer …)."""
    text = "/".join(str(part) for part in (role, seed, *names))
    digest = blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
