"""Probes of all blocks, and what snapshots keep of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bfc_core import measures, specs
from bfc_core.images import taps, trainee
from bfc_core.images.engine import train
from bfc_core.images.taps import WIDEST, Taps, pooled
from bfc_core.records import Metric, Snapshot
from tests.bfc_core.images.conftest import Given

Make = Callable[..., specs.TrainSpec]


def test_pooled_features_are_means_over_a_grid_of_bounded_width() -> None:
    x = torch.randn(3, 16, 8, 8)
    assert pooled(x).shape == (3, 256)
    torch.testing.assert_close(pooled(x).view(3, 16, 4, 4)[0, 5, 1, 2], x[0, 5, 2:4, 4:6].mean())
    wide = torch.randn(2, 2 * WIDEST, 4, 4)
    torch.testing.assert_close(pooled(wide), wide.mean((2, 3)))


def test_taps_take_the_first_inputs_only() -> None:
    taken = Taps([2], 5)
    for start in (0, 4, 8):
        taken.take(2, torch.arange(start, start + 4)[:, None].float(), start)
        taken.take(1, torch.zeros(4, 1), start)
    assert taken.features()[2][:, 0].tolist() == [0, 1, 2, 3, 4]


def test_every_general_probe_reads_image_networks(tiny: Make, given: Given) -> None:
    kinds = [
        "cka",
        "svcca",
        "procrustes",
        "effective_rank",
        "movement",
        "weight_correlation",
        "information_gap",
    ]
    spec = tiny(
        schedule={"kind": "window", "train_up_to": 2, "free": 1},
        probes=[{"kind": kind, "inputs": 100} if kind != "movement" else {"kind": kind} for kind in kinds],
    )
    found = [record for record in train(spec, inputs=given) if isinstance(record, Metric)]
    last = {(r.key, r.layer): r.value for r in found if r.step == 12}
    for block in (1, 2, 3):
        assert 0 < last["procrustes", block] <= 1
        assert ("information_gap", block) in last
    assert last["movement_stage", 1] == 0
    assert last["movement", 1] > 0
    assert last["movement_stage", 2] > 0
    assert last["raw_cosine/before_after", 1] == pytest.approx(1)
    assert last["effective_rank", 3] > 1


def snapshots(spec: specs.TrainSpec, given: Given) -> list[Snapshot]:
    return [record for record in train(spec, inputs=given) if isinstance(record, Snapshot)]


def test_feature_snapshots_keep_features_or_the_smaller_gram(tiny: Make, given: Given) -> None:
    kept = {"weights": None, "features": {"every": 100, "inputs": 40}}
    first, *_, last = snapshots(tiny(snapshots=kept), given)
    assert last.meta["samples"] == 40
    assert last.meta["anchors"] == first.meta["anchors"]
    assert last.tensors["gram/1"].shape == (40, 40)
    assert last.tensors["sum/1"].shape == (256,)
    wide = snapshots(tiny(snapshots=kept, model={"kind": "mlp", "width": 24, "depth": 2}), given)[-1]
    features, other = wide.tensors["z1"].numpy(), wide.tensors["z2"].numpy()
    assert features.shape == (40, 24)
    gram = measures.cka_of_grams(features @ features.T, other @ other.T)
    assert gram == pytest.approx(measures.cka(features, other), abs=1e-6)


@pytest.mark.parametrize("inputs", [32, 40])
def test_features_of_the_test_pass_are_those_of_a_pass_of_their_own(
    tiny: Make, given: Given, monkeypatch: pytest.MonkeyPatch, inputs: int
) -> None:
    for module in (taps, trainee):
        monkeypatch.setattr(module, "BATCH", 32)
    kept = {"weights": None, "features": {"every": 4, "inputs": inputs}}
    probe = {"kind": "linear", "inputs": 100, "streaming": True}
    shared = snapshots(tiny(snapshots=kept, probes=[probe]), given)
    alone = snapshots(tiny(snapshots=kept), given)
    assert [one.step for one in shared] == [0, 4, 6]
    for a, b in zip(shared, alone, strict=True):
        assert {name: one.data for name, one in a.tensors.items()} == {
            name: one.data for name, one in b.tensors.items()
        }


def test_frozen_blocks_leave_equal_bytes_so_that_sharing_saves_two_thirds(tiny: Make, given: Given) -> None:
    kept = {"weights": {"every": 100}, "features": {"every": 100, "inputs": 64}}
    model = {"kind": "wide_resnet", "groups": [2, 2, 2], "widths": [4, 4, 4], "stem_size": 3}
    spec = tiny(model=model, schedule={"kind": "layerwise"}, snapshots=kept, budget={"steps": 2, "batch": 16})
    tensors = [tensor for snapshot in snapshots(spec, given) for tensor in snapshot.tensors.values()]
    whole = sum(len(tensor.data) for tensor in tensors)
    once = {(tensor.dtype, tensor.shape, tensor.data) for tensor in tensors}
    shared = sum(len(data) for _, _, data in once)
    assert shared <= whole / 3


def test_probes_can_be_asked_for_at_some_blocks_and_steps(tiny: Make, given: Given) -> None:
    spec = tiny(probes=[{"kind": "linear", "layers": [2], "every": 4, "inputs": 100, "penalties": [0.01]}])
    found = [r for r in train(spec, inputs=given) if isinstance(r, Metric) and r.key == "linear_accuracy"]
    assert [(r.step, r.layer) for r in found] == [(0, 2), (4, 2), (6, 2)]
    assert all(0 <= r.value <= 1 for r in found)
    assert np.isfinite([r.value for r in found]).all()
