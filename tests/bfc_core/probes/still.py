"""A view of networks at their initialisation, in float64: what probes see, without any training."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

import bfc_core.learners
import bfc_core.targets  # noqa: F401  registers what deed_of finds
from bfc_core.learners.base import Plan
from bfc_core.registry import deed_of
from bfc_core.specs import TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.base import Teacher
from bfc_core.targets.samples import teacher_of
from bfc_core.training.view import When


def _readout(model: str, data: dict[str, object] | None) -> dict[str, object]:
    """A fixed read-out needs a hierarchical target."""
    signed = model == "quadratic_densenet" and data is not None and data["kind"] != "hierarchical"
    return {"readout": "signed"} if signed else {}


class StillView:
    """`members` networks of a small shape; every time is initialisation."""

    step = stage = 0

    def __init__(self, model: str, members: int, data: dict[str, object] | None = None) -> None:
        body = {
            "data": data or {"kind": "hierarchical", "input_dim": 6, "width": 2, "samples": 100},
            "model": {"kind": model, "width": 4} | _readout(model, data),
        }
        rows = [
            TrainSpec.model_validate({**body, "seed": {"target": 0, "data": 0, "init": i}})
            for i in range(members)
        ]
        self.specs = tuple(rows)
        self.teacher: Teacher = teacher_of(rows[0])
        outputs = getattr(self.teacher, "output_dim", 1)
        make = deed_of(rows[0].model)
        self.learner = make(rows, self.teacher.read_dim, outputs, torch.device("cpu"), torch.float64)
        self.layers: tuple[int, ...] = self.learner.layers
        self._weights = self.learner.initial()
        self._plan = Plan(self.layers, (self.layers,) * members, ("full",) * members, 1)

    @property
    def members(self) -> int:
        return len(self.specs)

    def inputs(self, role: str, count: int) -> Tensor:
        return self.teacher.inputs(count, stream("data", 0, role)).double()

    def features(self, x: Tensor, when: When = "now") -> dict[int, Tensor]:
        found: dict[int, Tensor] = self.learner.features(self.weights(when), self._read(x))
        return found

    def outputs(self, x: Tensor, when: When = "now") -> Tensor:
        return self.forward(self.weights(when), x)

    def weights(self, when: When = "now") -> Mapping[str, Tensor]:
        return self._weights

    def forward(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = self.learner.forward(weights, self._read(x), self._plan)
        return output.squeeze(2) if output.shape[2] == 1 else output

    def generator(self, name: str) -> Generator:
        return stream("data", 0, "probe", name)

    def _read(self, x: Tensor) -> Tensor:
        return self.teacher.embed(x).expand(self.members, -1, -1)
