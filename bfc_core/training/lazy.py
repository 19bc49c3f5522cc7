"""Lazy training: gradient flow by full batches on the network linearised where it starts, run to its end.

With f₀ and J = ∂f/∂θ at the start, the flow on |f₀ + JΔ − y|² from Δ = 0 ends at the least-squares solution of least
norm, Δ = J⁺(y − f₀), which predicts f₀(x) + K(x, X) K(X, X)⁺ (y − f₀(X)) with K = JJᵀ; with a ridge r on |Δ|² at
(K + r)⁻¹. Letters: N samples, o outputs, P parameters. Source: Jacot et al. arXiv 1806.07572.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from bfc_core.learners.autograd_program import directional_derivative
from bfc_core.learners.linearised_program import LinearisedProgram
from bfc_core.records import Log, Metric, Record
from bfc_core.training.members import Audience, Clock
from bfc_core.training.stage_run import StageRun

#: Up to here the Jacobian is held and the problem solved at once; beyond, by conjugate gradients without it.
DENSE_SIDE, DENSE_BYTES = 3000, 1 << 30
#: Relative size of the normal equations' residual at which the flow has ended.
TOLERANCE = 1e-10
#: Relative size of the residual at which every sample is fitted.
FITTED = 1e-9
#: Samples whose Jacobian is made in one call.
BLOCK = 250


def jacobian(program: LinearisedProgram, u: Tensor) -> Tensor:
    """J (n · o, P) at the anchors, columns as the values are laid out, for u (n, q)."""

    def one(named: dict[str, Tensor], v: Tensor) -> Tensor:
        return program.value(named, v[None])[0]

    anchors = program.anchors()
    parts = []
    for start in range(0, len(u), BLOCK):
        block = u[start : start + BLOCK]
        found = torch.func.vmap(torch.func.jacrev(one), in_dims=(None, 0))(anchors, block)
        rows = len(block) * program.learner.output_dim
        parts.append(torch.cat([found[name].reshape(rows, -1) for name in anchors], dim=1))
    return torch.cat(parts)


def solved(j: Tensor, residual: Tensor, ridge: float) -> Tensor:
    """Δ (P,) of least |JΔ − residual|² + ridge·|Δ|², of least norm where ridge is 0; in float64."""
    if ridge == 0:
        least: Tensor = torch.linalg.lstsq(j.cpu(), residual[:, None].cpu(), driver="gelsd").solution
        return least[:, 0].to(j.device)
    tall = j.shape[0] >= j.shape[1]
    gram = j.mT @ j if tall else j @ j.mT
    gram.diagonal().add_(ridge)
    right = j.mT @ residual if tall else residual
    solution: Tensor = torch.linalg.solve(gram, right)
    return solution if tall else j.mT @ solution


class Flow:
    """Conjugate gradients on the normal equations (CGLS), by products with J and Jᵀ alone.

    Its iterates lie in the span of Jᵀ, as gradient flow's do, so that it ends at the same point.
    """

    def __init__(self, program: LinearisedProgram, u: Tensor, residual: Tensor, ridge: float) -> None:
        self.program, self.u, self.ridge = program, u, ridge
        self.residual = residual.clone()
        self.change = torch.zeros_like(program.values)
        self._slope = self._back(self.residual)
        self._way = self._slope.clone()
        self._size = self._first = float(self._slope.square().sum())
        self._fitted = FITTED**2 * float(residual.square().sum())

    def ended(self) -> bool:
        """Whether nothing is left to descend: no slope, or no residual."""
        if self._size <= TOLERANCE**2 * self._first:
            return True
        return self.ridge == 0 and float(self.residual.square().sum()) <= self._fitted

    def step(self) -> None:
        """One iteration: one product with J, one with Jᵀ."""
        ahead = self._forth(self._way)
        curve = float(ahead.square().sum()) + self.ridge * float(self._way.square().sum())
        length = self._size / curve
        self.change.add_(self._way, alpha=length)
        self.residual.sub_(ahead, alpha=length)
        self._slope = self._back(self.residual) - self.ridge * self.change
        size = float(self._slope.square().sum())
        self._way = self._slope + self._way * (size / self._size)
        self._size = size

    def _named(self, flat: Tensor) -> dict[str, Tensor]:
        return {name: block[0] for name, block in self.program.split(flat).items()}

    def _back(self, v: Tensor) -> Tensor:
        """Jᵀ v (P,) for v (N · o,)."""
        anchors = {name: block.clone().requires_grad_() for name, block in self.program.anchors().items()}
        with torch.enable_grad():
            value = self.program.value(anchors, self.u).flatten()
            found = torch.autograd.grad(value, list(anchors.values()), v, materialize_grads=True)
        return torch.cat([block.flatten() for block in found])

    def _forth(self, change: Tensor) -> Tensor:
        """J change (N · o,): what the linearised network adds to its value at the anchors."""
        anchors, ways = self.program.anchors(), self._named(change)
        return linear_part(self.program, anchors, ways, self.u).flatten()


def linear_part(
    program: LinearisedProgram, anchors: Mapping[str, Tensor], ways: Mapping[str, Tensor], u: Tensor
) -> Tensor:
    """J·ways (n, o) at u (n, q)."""
    points = {name: block.detach().clone().requires_grad_() for name, block in anchors.items()}
    with torch.enable_grad():
        value = program.value(points, u)
        found = directional_derivative(value, list(points.values()), [ways[name] for name in points])
    return found.detach()


class LazyRun(StageRun):
    """The lazy stage of one network: solved, then told as any stage's end."""

    def run(self, clock: Clock, audience: Audience) -> Iterator[tuple[int, Record]]:
        if self.stack.first == 0:
            yield from self._tell_start()
        if not self._heard():
            return
        program = self.stack.program
        assert isinstance(program, LinearisedProgram)
        ridge = float(self.stack.stage.option("ridge") or 0.0)
        u, residual = self._problem(program)
        rows = len(residual)
        small = min(rows, program.values.numel()) <= DENSE_SIDE
        if small and rows * program.values.numel() * 8 <= DENSE_BYTES:
            change = solved(jacobian(program, u), residual, ridge)
        else:
            flow = Flow(program, u, residual, ridge)
            for iteration in range(self.steps):
                if flow.ended():
                    break
                flow.step()
                if clock.progress_due():
                    audience.leave(self.members)
                    if not self._heard():
                        return
                    yield from self._tell_progress(iteration)
            if not flow.ended():
                yield from self._tell_unfinished()
            change = flow.change
        program.move(change)
        self._loss = self._mean_square(program)
        self.stack.tail[:] = self._loss * self.stack.tail_count
        yield from self._tell_point(self.steps)
        yield from self._finish(clock)

    def _problem(self, program: LinearisedProgram) -> tuple[Tensor, Tensor]:
        """u (N, q) of the training set, and y − f₀ (N · o,)."""
        tables, _ = self.evaluation.training_tables(self.stack.specs)
        q = self.stack.teachers[0].read_dim
        u, y = tables[:, :q], tables[:, q + 1 :]
        with torch.no_grad():
            return u, (y - program.value(program.anchors(), u)).flatten()

    def _mean_square(self, program: LinearisedProgram) -> float:
        """Training error of the linearised network: mean over samples, summed over outputs."""
        tables, _ = self.evaluation.training_tables(self.stack.specs)
        q = self.stack.teachers[0].read_dim
        errors = program.outputs(tables[None, :, :q])[0] - tables[:, q + 1 :]
        return float(errors.double().square().sum(dim=1).mean())

    def _train_loss(self, row: int, done: int) -> Metric:
        return Metric(self.rows[row].node.offset + done, "train_loss", self._loss, unit="mean square")

    def _tell_unfinished(self) -> Iterator[tuple[int, Record]]:
        said = (
            f"the flow had not ended after {self.steps} iterations (budget.steps); raise it, or give a ridge"
        )
        for member in self.members:
            if member.live:
                yield member.slot, Log("warning", said)


__all__ = ["Flow", "LazyRun", "jacobian", "solved"]
