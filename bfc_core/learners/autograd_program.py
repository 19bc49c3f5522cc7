"""Any learner's gradient by differentiating its forward pass: the general case beside the one by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bfc_core.learners.base import Learner, Plan, Weights


class AutogradProgram:
    """One stage's arithmetic for a stack of any learner; its leaves share the memory of one flat buffer.

    A hold changes what trains: with a rank, held `W` become W_before + B A (`B2` (m, r), `A2` (r, fan-in));
    lazily, the network is linearised at W_before in the change of the held `W`.
    """

    def __init__(self, learner: Learner, plan: Plan) -> None:
        self.learner, self.plan = learner, plan
        self.held = self._held_blocks()
        self.shapes = self._leaf_shapes()
        sizes = [learner.rows * math.prod(shape) for shape in self.shapes.values()]
        self.values = torch.zeros(sum(sizes), dtype=learner.dtype, device=learner.device)
        self.gradients = torch.zeros_like(self.values)
        self._leaves = {
            name: view.detach().requires_grad_() for name, view in self.split(self.values).items()
        }
        self._gradients = self.split(self.gradients)
        self.blocks = [(self._rows_of(leaf.detach()), self._rows_of(self._gradients[name]))
                       for name, leaf in self._leaves.items()]  # fmt: skip
        self._masks = {name: self._mask(name) for name in self.shapes}
        self._local = torch.tensor([flow == "local" for flow in plan.backward], device=learner.device)
        self._any_local = "local" in plan.backward
        self._kept: dict[str, Tensor] = {}

    def gradient(self, batch: Tensor, norm: Tensor) -> None:
        read = batch.shape[2] - self.learner.output_dim
        u, y = batch[:, :, : read - 1], batch[:, :, read:]
        errors, objective = self._objective(u, y)
        leaves = list(self._leaves.values())
        found = torch.autograd.grad(objective, leaves, allow_unused=True, materialize_grads=True)
        torch.sqrt(errors.detach() * batch.shape[1], out=norm)
        for name, gradient in zip(self._leaves, found, strict=True):
            torch.mul(gradient, self._masks[name], out=self._gradients[name])

    def _objective(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared errors (K,), and the number whose gradient trains every row."""
        scale = self.learner.output_scale**-2
        errors = _mean_square(self._output(self._leaves, u) - y)
        added = self.learner.penalty(self._effective(self._leaves), self.plan)
        if added is not None:
            return errors, (scale * errors + added).sum()
        if not self._any_local:
            return errors, scale * errors.sum()
        outputs = self.learner.local_outputs(self._effective(self._leaves), u, self.plan)
        local = torch.stack([_mean_square(output - y) for output in outputs]).sum(dim=0)
        return errors, scale * torch.where(self._local, local, errors).sum()

    def _output(self, leaves: Mapping[str, Tensor], u: Tensor) -> Tensor:
        if not self._linear:
            return self.learner.forward(self._effective(leaves), u, self.plan)
        anchors = [self._kept[name].detach().requires_grad_() for name in self.held]
        changes = [leaves[name] - self._kept[name] for name in self.held]
        weights = {**self._effective(leaves), **dict(zip(self.held, anchors, strict=True))}
        with torch.enable_grad():
            value = self.learner.forward(weights, u, self.plan)
            return value + directional_derivative(value, anchors, changes)

    def _effective(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The learner's weights that the leaves stand for; those of absent layers as loaded."""
        weights: dict[str, Tensor] = {**self._kept, **leaves}
        if self._ranked:
            for name in self.held:
                layer = name[1:]
                weights[name] = self._kept[name] + weights.pop(f"B{layer}") @ weights.pop(f"A{layer}")
        return weights

    @property
    def _linear(self) -> bool:
        return self.plan.hold is not None and self.plan.hold.lazy

    @property
    def _ranked(self) -> bool:
        return self.plan.hold is not None and self.plan.hold.rank is not None

    def _held_blocks(self) -> list[str]:
        hold = self.plan.hold
        if hold is None or hold.penalty is not None:
            return []
        return [
            name
            for name in self.learner.shapes()
            if name[0] == "W" and self.learner.owner(name) in hold.layers
        ]

    def _leaf_shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for name, shape in self.learner.shapes().items():
            owner = self.learner.owner(name)
            if owner is not None and owner not in self.plan.present:
                continue
            if self._ranked and name in self.held:
                assert self.plan.hold is not None
                rank = min(self.plan.hold.rank or 1, *shape)
                found |= {f"B{owner}": (shape[0], rank), f"A{owner}": (rank, shape[1])}
            else:
                found[name] = shape
        return found

    def _mask(self, name: str) -> Tensor:
        """(K, 1, …): 1 where the row trains the block."""
        owner = int(name[1:]) if name[0] in "AB" and self._ranked else self.learner.owner(name)
        trains = [float(owner is None or owner in row) for row in self.plan.train]
        mask = torch.tensor(trains, dtype=self.learner.dtype, device=self.learner.device)
        return mask.view(-1, *(1 for _ in self.shapes[name]))

    def load(self, weights: Weights) -> None:
        self._kept = {name: block.clone() for name, block in weights.items()}
        with torch.no_grad():
            if self._ranked:
                weights = {**weights, **self._first_factors(weights)}
            self.join({name: weights[name] for name in self.shapes}, self.values)

    def _first_factors(self, weights: Weights) -> dict[str, Tensor]:
        """B = 0, so that nothing has changed yet; A the leading right singular vectors of W_before."""
        found = {}
        for name in self.held:
            layer = name[1:]
            rank = self.shapes[f"B{layer}"][1]
            w = weights[name]
            found[f"B{layer}"] = w.new_zeros(w.shape[0], w.shape[1], rank)
            found[f"A{layer}"] = torch.linalg.svd(w.double(), full_matrices=False).Vh[:, :rank].to(w)
        return found

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        found = self._effective({name: leaf.detach().clone() for name, leaf in self._leaves.items()})
        return {name: found[name].clone() for name in self.learner.shapes()}

    @torch.no_grad()
    def outputs(self, u: Tensor) -> Tensor:
        return self._output({name: leaf.detach() for name, leaf in self._leaves.items()}, u).detach()

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [self.learner.rows * math.prod(shape) for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), torch.split(flat, sizes), strict=True)
        return {name: part.view(self.learner.rows, *shape) for (name, shape), part in parts}

    @torch.no_grad()
    def join(self, named: Weights, flat: Tensor) -> None:
        for name, view in self.split(flat).items():
            view.copy_(named[name])

    def _rows_of(self, block: Tensor) -> Tensor:
        return block.reshape(self.learner.rows, -1)


def directional_derivative(value: Tensor, points: Sequence[Tensor], directions: Sequence[Tensor]) -> Tensor:
    """Σ ∂value/∂points · directions, shaped as `value` and differentiable.

    Two backward passes: Jᵀv is linear in v, so its own derivative is J. (Forward mode would load torch.jit.)
    """
    v = torch.zeros_like(value, requires_grad=True)
    pulled = torch.autograd.grad(value, list(points), v, create_graph=True, materialize_grads=True)
    (pushed,) = torch.autograd.grad(pulled, v, list(directions), create_graph=True)
    return pushed


def _mean_square(residual: Tensor) -> Tensor:
    """residual (K, n, o) -> (K,): summed over outputs, mean over samples."""
    return residual.square().sum(dim=2).mean(dim=1)
