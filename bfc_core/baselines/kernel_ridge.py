"""Kernel ridge regression with bandwidth and penalty chosen by validation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from bfc_core.baselines import kernels
from bfc_core.baselines.fitted import Fit, Fitted
from bfc_core.baselines.kernels import Kernel
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.ridge import Square, fit_square, ridge_path
from bfc_core.baselines.selection import Axis, Cell, Search, descend, grid_cells, most_regular
from bfc_core.records import Progress
from bfc_core.registry import deed
from bfc_core.specs import baseline as words
from bfc_core.specs.baseline import SCREEN_SAMPLES

FINE = 1e-3
"""Relative error below which what an estimate leaves out would show in it."""


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
    search, scorer = Search(axes), Scorer(family, problem)
    start = yield from screen(search, scorer)
    yield from descend(search, start, problem.split, scorer.error)
    error, on_edge = search.error, search.on_edge
    machine, values = None, search.chosen()
    while machine is None:
        values = search.chosen()
        machine = fit_square(scorer.square(values), problem.y, values["penalty"])
        # More samples bring kernels closer to singular: what four fifths of them allowed all may not.
        if machine is None and not search.regularise():
            return None
    return Fitted(machine, error, on_edge, values, search.table())


class Scorer:
    """Validation errors of cells, fitted on all of the fitting part.

    One kernel matrix of all samples serves every penalty, its validation, and the fit on all samples after it.
    """

    def __init__(self, family: Callable[[dict[str, float]], Kernel], problem: Problem) -> None:
        self.family, self.problem = family, problem
        self._square: Square | None = None
        self._held: dict[str, float] = {}

    def square(self, values: dict[str, float]) -> Square:
        """The kernel matrix at hyper-parameters `values`; the last one's memory is taken for it."""
        others = {name: value for name, value in values.items() if name != "penalty"}
        if self._square is None or others != self._held:
            storage = None if self._square is None else self._square.rows
            self._square, self._held = Square(self.family(values), self.problem.x, storage), others
        return self._square

    def error(self, values: dict[str, float]) -> float:
        """Relative validation error at hyper-parameters `values`; infinite where there is no fit."""
        square, (_, y) = self.square(values), self.problem.fit_part()
        mean, error = y.mean(0), float("inf")
        for solved in (square.estimate, square.solve):
            coefficients = solved(values["penalty"], y - mean)
            if coefficients is None:
                return float("inf")
            error = float(self.problem.validation_error(square.others(coefficients) + mean))
            if not error < FINE:
                break
        return error

    def screened(self, values: dict[str, float], penalties: Sequence[float]) -> list[float]:
        """Relative validation errors of all penalties, fitted on the first `SCREEN_SAMPLES`; NaN where there is no fit."""
        x, y = (part[:SCREEN_SAMPLES] for part in self.problem.fit_part())
        if set(values) == {"penalty"}:
            # The one kernel that there is serves the descent too.
            rows = self.square(values).rows
            k, across = rows[: len(x), : len(x)], rows[self.problem.split :, : len(x)]
        else:
            kernel = self.family(values)
            k, across = kernel(x, x), kernel(self.problem.validation_part()[0], x)
        predicted = across @ ridge_path(k, y, penalties) + y.mean(0)
        return list(self.problem.validation_error(predicted).tolist())


def screen(search: Search, scorer: Scorer) -> Generator[Progress, None, Cell]:
    """Score the whole stated grid on the first `SCREEN_SAMPLES`; the best cell."""
    whole = scorer.problem.split
    *others, penalty = search.axes
    found: dict[Cell, float] = {}
    for place in grid_cells(others):
        values = search.values((*place, 0))
        assert values is not None
        for step, error in enumerate(scorer.screened(values, penalty.values)):
            found[(*place, step)] = error if error == error else float("inf")
            search.record((*place, step), min(whole, SCREEN_SAMPLES), error, final=whole <= SCREEN_SAMPLES)
        yield Progress(len(search.rows), len(search.rows) + 1, "fit")
    return most_regular(found)
