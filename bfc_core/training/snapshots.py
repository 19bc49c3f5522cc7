"""What is kept of a run: weights, and features on fixed inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from bfc_core import specs
from bfc_core.records import Snapshot
from bfc_core.training.checkpoints import pack
from bfc_core.training.plan import Node
from bfc_core.training.points import Points


def snapshots(node: Node, points: Points, done: int, weights: Mapping[str, Tensor],
              features: Mapping[str, Tensor]) -> Iterator[Snapshot]:  # fmt: skip
    """The snapshots due after `done` updates of the node's stage, from one row's weights and features."""
    step = node.offset + done
    meta = {
        "stage": node.depth + 1,
        "present": list(node.stage.present),
        "end_of_stage": done == points.steps,
    }
    if points.keeps_weights(done):
        tensors = {name: pack(block) for name, block in weights.items()}
        yield Snapshot(step, "weights", tensors, {**meta, "spec": specs.dump(node.spec)})
    if points.keeps_features(done):
        tensors = {name: pack(block) for name, block in features.items()}
        yield Snapshot(step, "features", tensors, {**meta, "inputs": "the first test inputs"})
