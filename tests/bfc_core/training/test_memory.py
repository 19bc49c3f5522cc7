"""What is held does not grow with the steps of fresh samples, nor beyond the solver's one N × N array."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bfc_core.baselines.kernels import rbf
from bfc_core.baselines.ridge import kernel_ridge
from bfc_core.specs import TrainSpec
from bfc_core.targets.samples import teacher_of
from bfc_core.training.feeds import AHEAD, FreshFeed


def held_bytes() -> int:
    """Bytes of all storages that live tensors hold."""
    tensors = [one for one in gc.get_objects() if type(one) is Tensor]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


def test_a_fresh_feed_holds_no_more_after_ten_times_the_steps() -> None:
    data = {"samples": "fresh", "test_samples": 100, "input_dim": 6, "width": 2}
    spec = TrainSpec.model_validate({"data": data, "model": {"width": 4}})
    feed = FreshFeed([spec], [teacher_of(spec)], 0, 64, torch.device("cpu"), torch.float32)
    held = []
    for step in range(10 * AHEAD):
        feed.batch(step)
        if step % AHEAD == AHEAD - 1:
            held.append(held_bytes())
    assert max(held) == held[0]


class Squares(TorchDispatchMode):
    """Notes every storage of n² numbers or more that an operation returns."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.numbers, self.found = n * n, set[int]()
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor) and one.untyped_storage().nbytes() >= self.numbers * one.element_size():
                self.found.add(one.untyped_storage().data_ptr())
                self.kept.append(one)
        return out


def test_kernel_ridge_has_one_square_array() -> None:
    x = torch.randn(600, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x.square().sum(1, keepdim=True)
    with Squares(len(x)) as squares:
        machine = kernel_ridge(rbf(1.0), x, y, 1e-6)
        assert machine is not None
        left = machine(x) - y
    assert float(left.square().mean() / y.var()) < 1e-3
    assert len(squares.found) == 1
