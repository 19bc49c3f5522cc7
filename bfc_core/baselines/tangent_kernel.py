"""Ridge regression with the empirical tangent kernel of a network at its initialisation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bfc_core.baselines.fitted import Fit, Fitted
from bfc_core.baselines.kernel_ridge import select_and_refit
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.ridge import PrimalMachine
from bfc_core.baselines.selection import Axis
from bfc_core.learners.tapped import CHUNK, TappedDensenet, TappedMlp, factors, pairs
from bfc_core.registry import deed
from bfc_core.specs import baseline as words
from bfc_core.streams import stream


@deed(words.TangentKernelRidge)
def fit_tangent_kernel(spec: words.TangentKernelRidge, problem: Problem) -> Fit:
    """The linearised network of `spec`, trained to convergence under a penalty chosen by validation.

    What it predicts is the function learnt beyond the initial one, as of a network whose output starts at 0.
    """
    network = network_of(spec, problem.x.shape[1])
    drawn = network.initial(stream("init", problem.init_seed, "tangent kernel"))
    params = {name: block.to(problem.x) for name, block in drawn.items()}
    found = factors(network, params, problem.x)
    inner = replace(problem, x=found.rows)
    penalty = Axis("penalty", tuple(sorted(spec.penalties)))
    fitted = yield from select_and_refit(lambda _: found, [penalty], inner)
    if fitted is None:
        return None

    machine = fitted.predict
    assert isinstance(machine, PrimalMachine)

    def predict(x: Tensor) -> Tensor:
        return torch.cat(
            [
                found.apply_pairs(pairs(network, params, part), machine.weights)
                for part in torch.split(x, CHUNK)
            ]
        ).add_(machine.mean)

    return Fitted(predict, fitted.validation_error, fitted.grid_edge, fitted.chosen, fitted.grid)


def network_of(spec: words.TangentKernelRidge, read: int) -> TappedMlp | TappedDensenet:
    """The network that `spec` names, for inputs of `read` numbers."""
    if spec.network == "mlp":
        return TappedMlp(read, spec.width, spec.depth, spec.activation)
    return TappedDensenet(read, spec.width, spec.depth)
