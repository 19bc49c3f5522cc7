"""A job's threads hold in every library that computes for it."""

from __future__ import annotations

import pytest
import torch
from threadpoolctl import threadpool_info

from bfc_core.threads import use_threads


@pytest.mark.parametrize("count", [2, 1])
def test_a_jobs_threads_hold_in_torch_and_in_every_blas(count: int) -> None:
    use_threads(count)
    pools = {one["filepath"]: one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
    assert pools
    assert set(pools.values()) == {count}
    assert torch.get_num_threads() == count
