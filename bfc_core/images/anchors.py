"""Snapshots: weights, and features on fixed anchor inputs that answer later questions without a forward pass.

A feature snapshot keeps for each block b `z<b>` (n, d), or `gram/<b>` (n, n) and `sum/<b>` (d,) where that is
smaller, and `labels` (n,). Equal tensors (a frozen block's, or a shared stage's) have equal bytes,
which the store keeps once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bfc_core import records
from bfc_core.records import Snapshot

from .stage import Plan
from .trainee import Trainee


def _meta(plan: Plan, step: int, end: bool) -> dict[str, Any]:
    """Where in the schedule a snapshot was taken: stages from 1, the initialisation before the first."""
    return {"stage": plan.index + 1, "present": list(plan.stage.present), "end_of_stage": end and step > 0}


def weight_snapshot(trainee: Trainee, plan: Plan, step: int, end: bool) -> Snapshot:
    """Weights and normalisation statistics of all blocks and of the stage's heads."""
    names = ("network.", "heads.")
    kept = {name: pack(value) for name, value in trainee.tensors().items() if name.startswith(names)}
    blocks = [
        {"block": number, "name": name, "convs": convs, "trains": number in plan.stage.train}
        for number, (name, convs) in enumerate(
            zip(trainee.network.names, trainee.network.convs, strict=True), 1
        )
    ]
    meta = {**_meta(plan, step, end), "blocks": blocks, "precision": trainee.precision}
    return Snapshot(step, "weights", kept, meta)


def feature_snapshot(
    trainee: Trainee, plan: Plan, step: int, end: bool, found: Mapping[int, Tensor]
) -> Snapshot:
    """What is kept of `found`: features (n, d) of the blocks that are present, on the first n test inputs."""
    test = trainee.data.test
    n = len(next(iter(found.values())))
    anchors, labels = test.inputs[:n], test.labels[:n]
    tensors = {"labels": pack(labels)}
    for block, features in found.items():
        d = features.shape[1]
        if d <= n:
            tensors[f"z{block}"] = pack(features)
        else:
            tensors[f"gram/{block}"] = pack(features @ features.T)
            tensors[f"sum/{block}"] = pack(features.double().sum(0))
    names = {str(block): trainee.network.names[block - 1] for block in plan.stage.present}
    told = {
        "samples": len(anchors),
        "anchors": _name_of(anchors),
        "layers": names,
        "classes": trainee.data.classes,
    }
    return Snapshot(step, "features", tensors, {**_meta(plan, step, end), **told})


def _name_of(anchors: Tensor) -> str:
    """A hash of the anchor inputs: only snapshots on equal inputs may be compared."""
    return "sha256:" + hashlib.sha256(anchors.cpu().contiguous().numpy().tobytes()).hexdigest()


def pack(tensor: Tensor) -> records.Tensor:
    """A torch tensor as a record keeps it."""
    return records.Tensor.of(tensor.detach().cpu().contiguous().numpy())


def unpack(tensor: records.Tensor) -> Tensor:
    """The torch tensor that `pack` kept."""
    return torch.from_numpy(tensor.numpy().copy())
