"""What every baseline is given: the same labels as the deep learner, split once, and errors in units of Var y."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bfc_core.specs import BaselineSpec, seeds
from bfc_core.specs.data import Synthetic
from bfc_core.targets.samples import teacher_of, test_set, training_set

VALIDATION_SHARE = 0.2
"""Of the N labels that every learner gets; hyper-parameters see nothing else (docs/science.md)."""
FRESH_SAMPLES = 4000
"""N where the deep learner draws new inputs at each step, so that no number of labels is given."""


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
    teacher = teacher_of(spec)
    dtype = torch.float64 if spec.dtype == "float64" else torch.float32
    parts = [*training_set(spec, teacher), *test_set(spec, teacher)]
    if spec.inputs_as == "x_and_h1":
        parts[0], parts[2] = teacher.embed(parts[0]), teacher.embed(parts[2])
    x, y, x_test, y_test = (part.to(device, dtype) for part in parts)
    return Problem(x, y, x_test, y_test, teacher.variance, seeds(spec.seed).init)
