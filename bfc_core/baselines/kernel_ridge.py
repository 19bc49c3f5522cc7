"""Kernel ridge regression with bandwidth and penalty chosen by validation."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch

from bfc_core.baselines import kernels
from bfc_core.baselines.fitted import Fit, Fitted
from bfc_core.baselines.kernels import Kernel
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.ridge import Square, fit_square, kernel_ridge, ridge_path
from bfc_core.baselines.selection import Axis, Cell, Search, descend, grid_cells, most_regular
from bfc_core.records import Progress
from bfc_core.registry import deed
from bfc_core.specs import baseline as words
from bfc_core.specs.baseline import SCREEN_SAMPLES


@deed(words.KernelRidge)
def fit_kernel_ridge(spec: words.KernelRidge, problem: Problem) -> Fit:
    """Kernel ridge with the kernel that `spec` names."""
    penalty = Axis("penalty", tuple(sorted(spec.penalties)))
    if spec.kernel in ("arc_cosine", "ntk"):
        kernel = kernels.arc_cosine(spec.depth) if spec.kernel == "arc_cosine" else kernels.ntk(spec.depth)
        return select_and_refit(lambda _: kernel, [penalty], problem)
    if spec.kernel == "polynomial":
        offset = Axis("offset", tuple(sorted(spec.bandwidths)))
        degree = spec.degree
        return select_and_refit(
            lambda values: kernels.polynomial(degree, values["offset"]), [offset, penalty], problem
        )
    family = kernels.rbf if spec.kernel == "rbf" else kernels.laplace
    bandwidth = Axis("bandwidth", tuple(sorted(spec.bandwidths)))
    return select_and_refit(lambda values: family(values["bandwidth"]), [bandwidth, penalty], problem)


def select_and_refit(family: Callable[[dict[str, float]], Kernel], axes: list[Axis], problem: Problem) -> Fit:
    """Choose a cell of `axes` (the penalty last) on validation, then fit all samples with it."""
    search = Search(axes)
    start = yield from screen(search, family, problem)
    yield from descend(search, start, problem.split, Scorer(family, problem).error)
    error, on_edge = search.error, search.on_edge
    machine, values = None, search.chosen()
    while machine is None:
        values = search.chosen()
        machine = kernel_ridge(family(values), problem.x, problem.y, values["penalty"])
        # More samples bring kernels closer to singular: what four fifths of them allowed all may not.
        if machine is None and not search.regularise():
            return None
    return Fitted(machine, error, on_edge, values, search.table())


class Scorer:
    """Validation errors of cells, on all of the fitting part; one kernel matrix serves all of its penalties."""

    def __init__(self, family: Callable[[dict[str, float]], Kernel], problem: Problem) -> None:
        self.family, self.problem = family, problem
        self._square: Square | None = None
        self._held: dict[str, float] = {}

    def error(self, values: dict[str, float]) -> float:
        """Relative validation error at hyper-parameters `values`; infinite where there is no fit."""
        others = {name: value for name, value in values.items() if name != "penalty"}
        x, y = self.problem.fit_part()
        if self._square is None or others != self._held:
            storage = None if self._square is None else self._square.rows
            self._square, self._held = Square(self.family(values), x, storage), others
        machine = fit_square(self._square, y, values["penalty"])
        if machine is None:
            return float("inf")
        return float(self.problem.validation_error(machine(self.problem.validation_part()[0])))


def screen(
    search: Search, family: Callable[[dict[str, float]], Kernel], problem: Problem
) -> Generator[Progress, None, Cell]:
    """Score the whole stated grid on the first `SCREEN_SAMPLES`; the best cell."""
    x, y = problem.fit_part()
    final = len(x) <= SCREEN_SAMPLES
    x, y = x[:SCREEN_SAMPLES], y[:SCREEN_SAMPLES]
    x_valid, _ = problem.validation_part()
    *others, penalty = search.axes
    penalties = torch.tensor(penalty.values, dtype=x.dtype, device=x.device)
    found: dict[Cell, float] = {}
    for place in grid_cells(others):
        values = search.values((*place, 0))
        assert values is not None
        kernel = family(values)
        predicted = ridge_path(kernel(x, x), y, kernel(x_valid, x), penalties)
        for step, error in enumerate(problem.validation_error(predicted).tolist()):
            found[(*place, step)] = error if error == error else float("inf")
            search.record((*place, step), len(x), error, final=final)
        yield Progress(len(search.rows), len(search.rows) + 1, "fit")
    return most_regular(found)
