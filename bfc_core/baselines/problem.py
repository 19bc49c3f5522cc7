"""What every baseline is given: the same labels as the deep learner, split once, and errors in units of Var y."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from bfc_core.specs import BaselineSpec, seeds
from bfc_core.specs.data import Synthetic
from bfc_core.targets.base import Teacher
from bfc_core.targets.samples import teacher_of, test_set, training_set

VALIDATION_SHARE = 0.2
"""Of the N labels that every learner gets; hyper-parameters see nothing else (docs/science.md)."""
FRESH_SAMPLES = 4000
"""N where the deep learner draws new inputs at each step, so that no number of labels is given."""
KEPT_BYTES = 1 << 25
"""Of test sets that stay for the next learner: 24 seeds of a default target."""


@dataclass(frozen=True, slots=True)
class Problem:
    """N labelled inputs x (N, d), y (N, o), and test inputs with noise-free labels; `variance` is Var y.

    Samples are iid, so the last fifth of them is the validation part.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    variance: float
    init_seed: int = 0

    @property
    def split(self) -> int:
        """How many samples hyper-parameters are fitted on; the rest validate them."""
        return len(self.x) - max(1, round(VALIDATION_SHARE * len(self.x)))

    def fit_part(self) -> tuple[Tensor, Tensor]:
        return self.x[: self.split], self.y[: self.split]

    def validation_part(self) -> tuple[Tensor, Tensor]:
        return self.x[self.split :], self.y[self.split :]

    def validation_error(self, predicted: Tensor) -> Tensor:
        """Relative error (…) of predictions (…, v, o) of the validation part."""
        return self._relative(predicted, self.y[self.split :])

    def training_error(self, predicted: Tensor) -> float:
        """Relative error of predictions (n, o) of all samples."""
        return float(self._relative(predicted, self.y))

    def test_error(self, predicted: Tensor) -> float:
        """Relative test error of predictions (t, o)."""
        return float(self._relative(predicted, self.y_test))

    def _relative(self, predicted: Tensor, y: Tensor) -> Tensor:
        return (predicted.double() - y.double()).square().sum(-1).mean(-1) / self.variance


def problem_of(spec: BaselineSpec, device: torch.device) -> Problem:
    """The problem that `spec` describes, drawn from the same streams as a train spec of the same data and seed."""
    data = spec.data
    if not isinstance(data, Synthetic):
        raise ValueError(f"baselines run on synthetic targets; got {data.kind}")
    if data.samples == "fresh":
        spec = spec.model_copy(update={"data": data.model_copy(update={"samples": FRESH_SAMPLES})})
    asked = RECENT.asked(spec)
    teacher = asked.teacher
    dtype = torch.float64 if spec.dtype == "float64" else torch.float32
    parts = [*training_set(spec, teacher), asked.x_test, asked.y_test]
    if spec.inputs_as == "x_and_h1":
        parts[0], parts[2] = teacher.embed(parts[0]), teacher.embed(parts[2])
    x, y, x_test, y_test = (part.to(device, dtype) for part in parts)
    return Problem(x, y, x_test, y_test, teacher.variance, seeds(spec.seed).init)


@dataclass(frozen=True, slots=True)
class Asked:
    """A target with its test inputs and labels in float64: the same for every learner, N and label noise."""

    teacher: Teacher
    x_test: Tensor
    y_test: Tensor

    @property
    def bytes(self) -> int:
        return self.x_test.nbytes + self.y_test.nbytes


class Recent:
    """The targets asked for last, as many as `KEPT_BYTES` of test sets: learners of one study ask for them in turn."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Asked] = {}

    def asked(self, spec: BaselineSpec) -> Asked:
        """Kept or drawn; nobody may write into its tensors."""
        assert isinstance(spec.data, Synthetic)
        roles = seeds(spec.seed)
        key = (spec.data.model_copy(update={"samples": 1, "label_noise": 0.0}), roles.target, roles.data)
        found = self._kept.pop(key, None)
        if found is None:
            teacher = teacher_of(spec)
            found = Asked(teacher, *test_set(spec, teacher))
        self._kept[key] = found
        while sum(one.bytes for one in self._kept.values()) > KEPT_BYTES:
            del self._kept[next(iter(self._kept))]
        return found


RECENT = Recent()
