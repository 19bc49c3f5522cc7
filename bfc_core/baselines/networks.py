"""Trained networks that are not told the target's architecture: one hidden layer, or several.

They train in float32 whatever the job's dtype, on targets of unit variance; the rate is chosen by validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bfc_core.baselines.fitted import Fit, Fitted
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.selection import Axis, Cell, Search
from bfc_core.learners.perceptrons import Perceptrons, Shape, train
from bfc_core.records import Progress
from bfc_core.registry import deed
from bfc_core.specs import baseline as words
from bfc_core.streams import stream

BROKEN = 1.5
"""Training error of a refitted network, in units of its rate's validation error, from which on its training broke."""

PLATEAU = 0.02
"""Validation errors closer than this share are one: less than the noise of some hundred held-out samples, and of two rates
that do as well the smaller is farther from where training breaks."""


@deed(words.TwoLayerNetwork)
def fit_two_layer(spec: words.TwoLayerNetwork, problem: Problem) -> Fit:
    """A network with one hidden layer."""
    return _fit(spec, (spec.width,), problem)


@deed(words.MlpBaseline)
def fit_mlp(spec: words.MlpBaseline, problem: Problem) -> Fit:
    """A network with `depth` hidden layers."""
    return _fit(spec, (spec.width,) * spec.depth, problem)


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains one shape on standardised targets; draws depend on the problem's `init` seed alone."""

    spec: words.TwoLayerNetwork | words.MlpBaseline
    hidden: tuple[int, ...]
    problem: Problem

    def fit(
        self, x: Tensor, y: Tensor, rates: Sequence[float]
    ) -> Generator[Progress, None, Callable[[Tensor], Tensor]]:
        """Networks of all `rates` at once, as x (t, d) -> predictions (K, t, o)."""
        seed, spec = self.problem.init_seed, self.spec
        # Of every fit, the last on all samples too: a rate goes with its number of steps.
        steps, batch = words.fit_length(spec, self.problem.split)
        shape = Shape((x.shape[1], *self.hidden, y.shape[1]), spec.activation)
        networks = Perceptrons(shape, len(rates), stream("init", seed, spec.kind), x.device)
        mean, deviation = y.mean(0), y.var(0, correction=0).sum().sqrt().clamp_min(1e-12)
        target = ((y - mean) / deviation).float()
        order = stream("order", seed, spec.kind)
        for step in train(networks, x.float()[None], target, rates, steps, batch, order):
            yield Progress(step, steps, "step")

        def predict(new: Tensor) -> Tensor:
            parts = [networks(part.float()) for part in torch.split(new, 4096)]
            return torch.cat(parts, dim=1).to(y) * deviation + mean

        return predict


def _fit(spec: words.TwoLayerNetwork | words.MlpBaseline, hidden: tuple[int, ...], problem: Problem) -> Fit:
    trainer = Trainer(spec, hidden, problem)
    search = Search([Axis("rate", tuple(sorted(spec.rates)))])
    x, y = problem.fit_part()
    errors = yield from _validated(trainer, x, y, search.axes[0].values)
    for step, error in enumerate(errors):
        search.record((step,), len(x), error, final=True)
    while (cell := _next(search)) is not None:
        values = search.values(cell)
        assert values is not None
        (error,) = yield from _validated(trainer, x, y, [values["rate"]])
        search.record(cell, len(x), error, final=True)
    if math.isinf(search.error):
        return None
    predict = yield from _refitted(trainer, search)
    return Fitted(lambda new: predict(new)[0], search.error, search.on_edge, search.chosen(), search.table())


def _refitted(
    trainer: Trainer, search: Search
) -> Generator[Progress, None, Callable[[Tensor], Tensor]]:
    """The network of the best rate, trained on all samples.

    The largest rates lie where training is about to break, and what held on four fifths of the samples may break on
    all. A network much further from its own training labels than the validated one was from labels that it had not seen
    has broken: the next smaller rate then takes its place.
    """
    problem = trainer.problem
    while True:
        predict = yield from trainer.fit(problem.x, problem.y, [search.chosen()["rate"]])
        smaller = (search.best[0] - 1,)
        broken = not problem.training_error(predict(problem.x)[0]) <= BROKEN * search.error
        if not broken or smaller not in search.scores:
            return predict
        search.best = smaller


def _next(search: Search) -> Cell | None:
    """The rate beyond the edge on which the best one lies; None when it lies inside, or nothing is beyond.

    The best is the smallest of those within `PLATEAU` of the lowest error.
    """
    lowest = min(search.scores.values())
    search.best = min(cell for cell, error in search.scores.items() if error <= lowest * (1 + PLATEAU))
    (step,) = search.best
    tried = [cell[0] for cell in search.scores]
    for edge, beyond in ((min(tried), step - 1), (max(tried), step + 1)):
        if step == edge and search.values((beyond,)) is not None and not math.isinf(search.error):
            return (beyond,)
    return None


def _validated(
    trainer: Trainer, x: Tensor, y: Tensor, rates: Sequence[float]
) -> Generator[Progress, None, list[float]]:
    """Relative validation error of each rate."""
    predict = yield from trainer.fit(x, y, rates)
    predicted = predict(trainer.problem.validation_part()[0])
    found: list[float] = trainer.problem.validation_error(predicted).tolist()
    return found
