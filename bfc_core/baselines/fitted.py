"""What a baseline's deed gives back, and how it becomes a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bfc_core.baselines.problem import problem_of
from bfc_core.records import Failure, Metric, Progress, Record, Result, Table
from bfc_core.registry import deed_of
from bfc_core.specs import BaselineSpec, baseline_name


@dataclass(frozen=True, slots=True)
class Fitted:
    """A predictor x (t, d) -> (t, o) refitted on all N samples, with how its hyper-parameters were found."""

    predict: Callable[[Tensor], Tensor]
    validation_error: float
    grid_edge: bool
    chosen: dict[str, float]
    grid: Table


Fit = Generator[Progress, None, Fitted | None]
"""A deed of a baseline: progress while it works, then the fitted learner; None when no cell could be fitted."""


def _to_its_end(deed: Fit) -> Fit:
    """The deed, and when it has fitted a learner its progress at its total: how much is left is only guessed before."""
    last: Progress | None = None
    try:
        while True:
            yield (last := next(deed))
    except StopIteration as end:
        if last is not None and end.value is not None:
            yield replace(last, done=last.total)
        return end.value  # type: ignore[no-any-return]


def run_baseline(spec: BaselineSpec, *, device: str = "cpu") -> Iterator[Record]:
    """Records of one baseline job: progress, then a result with errors relative to Var y and the grid's table."""
    started = time.process_time()
    problem = problem_of(spec, torch.device(device))
    fitted: Fitted | None = yield from _to_its_end(deed_of(spec.baseline)(spec.baseline, problem))
    if fitted is None:
        hint = "raise the smallest penalty or add samples"
        yield Failure("diverged", "no cell of the grid gave finite predictions", hint=hint)
        return
    predicted = fitted.predict(problem.x_test)
    error = problem.test_error(predicted)
    if not error < float("inf"):
        yield Failure(
            "diverged", "the refitted learner's predictions are not finite", hint="raise the penalty"
        )
        return
    yield Metric(0, "test_error", error)
    summary = {
        "learner": baseline_name(spec.baseline),
        "inputs_as": spec.inputs_as,
        "samples": len(problem.x),
        "relative_test_error": error,
        "validation_error": fitted.validation_error,
        "grid_edge": fitted.grid_edge,
        **{f"chosen_{name}": value for name, value in fitted.chosen.items()},
        "cpu_seconds": time.process_time() - started,
    }
    if problem.y.shape[1] > 1:
        agreed = predicted.argmax(1) == problem.y_test.argmax(1)
        summary["test_accuracy"] = float(agreed.double().mean())
    yield Result(summary, {"grid": fitted.grid})
