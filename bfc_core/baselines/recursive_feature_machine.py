"""The recursive feature machine: a Laplace kernel whose metric is its own average gradient outer product.

k_M(x, y) = exp(−|x − y|_M/(σ√d)), M ← (1/n) Σ_i ∇f(x_i) ∇f(x_i)ᵀ scaled to trace d, a few times over. With R = √M
everything happens in u = x R, where the kernel is the plain one.
Source: Radhakrishnan et al. arXiv 2212.13881, algorithm 1. Letters: n samples, d inputs, o outputs.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from bfc_core.baselines.fitted import Fit, Fitted
from bfc_core.baselines.kernel_ridge import select_and_refit
from bfc_core.baselines.kernels import laplace, square_distances
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.ridge import KernelMachine, kernel_ridge, ridge_path
from bfc_core.baselines.selection import Axis
from bfc_core.records import Progress
from bfc_core.registry import deed
from bfc_core.specs import baseline as words
from bfc_core.specs.baseline import SCREEN_SAMPLES

GRADIENT_SAMPLES = 1000
"""Points whose gradients are averaged: the mean of so many outer products is M to a few per cent."""


@deed(words.RecursiveFeatureMachine)
def fit_recursive_feature_machine(spec: words.RecursiveFeatureMachine, problem: Problem) -> Fit:
    """The metric by recursion at the bandwidth and penalty that promise most, then ridge in it as for any kernel.

    Promise is validation error on a part of the samples; the number of iterations is chosen by validation too, none
    included, so that the machine is never worse there than the plain kernel. Metrics see the fitting part alone.
    """
    bandwidth, penalty = yield from _promising(spec, problem)
    x, y = problem.fit_part()
    x_valid, _ = problem.validation_part()
    best, root, chosen = math.inf, torch.eye(x.shape[1], dtype=x.dtype, device=x.device), 0
    for iteration, (candidate, machine) in enumerate(recursion(x, y, bandwidth, penalty, spec.iterations)):
        error = float(problem.validation_error(machine(x_valid @ candidate)))
        if error < best:
            best, root, chosen = error, candidate, iteration
        yield Progress(iteration, spec.iterations + 1, "fit")
    bandwidths, penalties = tuple(sorted(spec.bandwidths)), tuple(sorted(spec.penalties))
    axes = [Axis("bandwidth", bandwidths), Axis("penalty", penalties)]
    inner = replace(problem, x=problem.x @ root)
    fitted = yield from select_and_refit(lambda values: laplace(values["bandwidth"]), axes, inner)
    if fitted is None:
        return None
    return Fitted(
        lambda new: fitted.predict(new @ root),
        fitted.validation_error,
        fitted.grid_edge,
        {**fitted.chosen, "iterations": float(chosen)},
        fitted.grid,
    )


def _promising(
    spec: words.RecursiveFeatureMachine, problem: Problem
) -> Generator[Progress, None, tuple[float, float]]:
    """Bandwidth and penalty of the lowest validation error after any number of iterations on a few samples."""
    x, y = (part[:SCREEN_SAMPLES] for part in problem.fit_part())
    x_valid, _ = problem.validation_part()
    penalties, mean = sorted(spec.penalties), y.mean(0)
    best = (math.inf, sorted(spec.bandwidths)[0], penalties[-1])
    for bandwidth in sorted(spec.bandwidths):
        kernel, root = laplace(bandwidth), torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        for _ in range(spec.iterations + 1):
            u = x @ root
            path = ridge_path(kernel(u, u), y, penalties)
            errors = problem.validation_error(kernel(x_valid @ root, u) @ path + mean)
            lowest = int(errors.nan_to_num(math.inf).argmin())
            if not float(errors[lowest]) < math.inf:
                break
            best = min(best, (float(errors[lowest]), bandwidth, penalties[lowest]))
            root = square_root(gradient_metric(KernelMachine(kernel, u, path[lowest], mean), root, bandwidth))
        yield Progress(0, spec.iterations + 1, "fit")
    return best[1], best[2]


def recursion(
    x: Tensor, y: Tensor, bandwidth: float, penalty: float, iterations: int
) -> Iterator[tuple[Tensor, KernelMachine]]:
    """√M (d, d) and the machine fitted in x √M, for M = I and after each of `iterations` recursions."""
    root = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for _ in range(iterations + 1):
        machine = kernel_ridge(laplace(bandwidth), x @ root, y, penalty)
        if not isinstance(machine, KernelMachine):
            return
        yield root, machine
        root = square_root(gradient_metric(machine, root, bandwidth))


def gradient_metric(machine: KernelMachine, root: Tensor, bandwidth: float) -> Tensor:
    """Average gradient outer product (d, d) with respect to x of a Laplace machine on u = x √M, at its own points.

    ∇_u f(u_i) = −Σ_j A_ij (u_i − u_j), A_ij = α_j k_ij/(s |u_i − u_j|), s = σ√d, and ∇_x = √M ∇_u.
    """
    u, d = machine.points, machine.points.shape[1]
    some = u[:GRADIENT_SAMPLES]
    scale = bandwidth * math.sqrt(d)
    distance = square_distances(some, u).sqrt_()
    # A point has no gradient at itself: the cone's tip, left out as by the authors.
    near = distance < 1e-6 * scale
    share = (distance * (-1 / scale)).exp_().div_(distance * scale).masked_fill_(near, 0)
    total = u.new_zeros(d, d)
    for alpha in machine.coefficients.unbind(1):
        weighted = share * alpha
        gradients = weighted @ u - weighted.sum(1, keepdim=True) * some
        total += gradients.mT @ gradients
    return root @ total @ root / len(some)


def square_root(metric: Tensor) -> Tensor:
    """√M (d, d), symmetric, of M scaled to trace d; the identity where nothing has a gradient."""
    trace = metric.trace()
    if not float(trace) > 0:
        return torch.eye(len(metric), dtype=metric.dtype, device=metric.device)
    values, vectors = torch.linalg.eigh(metric * (len(metric) / trace))
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    return root
