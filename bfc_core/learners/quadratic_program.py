"""The quadratic network's gradient by hand, for a stack, on buffers made once a stage.

Layouts are feature-major, (K, features, B), so that levels stack along the second axis and a level's rows are
contiguous. With [u, 1] (K, B, q + 1) the read numbers of a batch and r levels present:

    Z = V [u, 1]ᵀ            (K, r·m + 1, B): every level's part from u and c, and the bias b as the last row
    E_i = R_i Z_i, H_i = (E_i² − 1)/√2
    Z_{>i} += X_i H_i        X_i stacks W_{j,i} of the levels j above i, and v_i as the last row where it is trained
    F = last row (+ Σ a_l |z_l|²),  D = ∂loss/∂Z,  ∂X_i = D_{>i} H_iᵀ,  ∂V = D [u, 1]

R_i is stored times 2^(−1/4), so that its square carries the 1/√2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bfc_core.learners.base import Plan, Weights
from bfc_core.learners.quadratic_layout import Layout

if TYPE_CHECKING:
    from bfc_core.learners.quadratic_densenet import QuadraticStack


#: Samples of one forward pass outside training: some hundred kilobytes a row, so that a stack stays in the cache.
READING = 500


class Forward:
    """The forward pass on batches of one size, with its buffers and every view of them that a step needs.

    Making a view costs as much as a small sum, so they are made once.
    """

    def __init__(self, program: QuadraticProgram, batch: int) -> None:
        self.program = program
        layout, zeros = program.layout, program.zeros
        k, depth = layout.rows, len(layout.levels)
        self.z = zeros(k, depth * layout.m + 1, batch)
        self.e = [zeros(k, layout.p, batch) for _ in layout.expanding] if program.random else []
        self.h = [zeros(k, layout.p, batch) for _ in layout.expanding]
        self.t = [zeros(k, x.shape[1], batch) for x in program.x]
        self.output = zeros(k, 1, batch)
        self.squares = zeros(0) if layout.signed else zeros(k, depth * layout.m, batch)
        self.inner, self.last = self.z[:, :-1], self.z[:, -1:]
        self.own = [self.z[:, layout.own(i)] for i in range(depth)]
        self.above = [self.z[:, layout.above(i)] for i in layout.expanding]

    def run(self, u_back: Tensor) -> None:
        """u_back (K, q + 1, B), [u, 1] turned: fills Z, E, H, and `output` (K, 1, B)."""
        program = self.program
        torch.bmm(program.v, u_back, out=self.z)
        for i in program.layout.expanding:
            if program.random:
                torch.bmm(program.r[i], self.own[i], out=self.e[i])
                torch.mul(self.e[i], self.e[i], out=self.h[i]).sub_(program.shift)
            else:
                torch.mul(self.own[i], self.own[i], out=self.h[i])
            torch.bmm(program.x[i], self.h[i], out=self.t[i])
            self.above[i].add_(self.t[i])
        if program.layout.signed:
            self.output.copy_(self.last)
            return
        torch.mul(self.inner, self.inner, out=self.squares)
        torch.bmm(program.a, self.squares, out=self.output)
        self.output.add_(self.last)


class QuadraticProgram:
    """One stage's arithmetic for K quadratic networks; see the module for the algebra."""

    def __init__(self, learner: QuadraticStack, plan: Plan) -> None:
        self.learner, self.plan = learner, plan
        self.layout = Layout(
            learner.rows, plan.present, learner.width, learner.expanded, learner.read_dim, learner.signed
        )
        self.random = learner.random_expansion
        self.values = self.zeros(self.layout.size)
        self.v, self.x = self.layout.views(self.values)
        self._make_constants()
        self._kept: dict[str, Tensor] = {}
        self._forwards: dict[int, Forward] = {}
        #: trained in some row: gradients below the lowest of these are never needed
        trained = [i for i, level in enumerate(plan.present) if any(level in row for row in plan.train)]
        self.lowest = min(trained, default=len(plan.present))
        self._make_gradients()

    def zeros(self, *shape: int) -> Tensor:
        """Zeros in the learner's dtype, on its device."""
        return torch.zeros(shape, dtype=self.learner.dtype, device=self.learner.device)

    def _make_constants(self) -> None:
        """R_i scaled, its transpose with the factor of the square's derivative, a_l by row of Z."""
        learner, layout = self.learner, self.layout
        fold = 2.0**-0.25
        # Numbers as tensors: a Python number is made into one at each use.
        self.shift, self._slope = self.zeros() + math.sqrt(0.5), self.zeros() + 2 / self.plan.batch
        if self.random:
            self.r = [(learner.expansions[layout.levels[i]] * fold).contiguous() for i in layout.expanding]
            self.r_back = [(2 * r.mT).contiguous() for r in self.r]
        if not layout.signed:
            columns = [level - 2 for level in layout.levels]
            self.a = learner.readout[:, columns].repeat_interleave(layout.m, dim=1).unsqueeze(1).contiguous()
            self._a_twice = (2 * self.a).mT.contiguous()
        flows = [float(backward != "detached") for backward in self.plan.backward]
        self._cut = (
            None if all(flows) else (self.zeros(layout.rows) + self.zeros().new_tensor(flows))[:, None, None]
        )

    def _make_gradients(self) -> None:
        """Buffers of the backward pass: D, and the flat gradients with their masks."""
        layout, b = self.layout, self.plan.batch
        self.gradients, self.masks = self.zeros(layout.size), self.zeros(layout.size)
        layout.fill_masks(self.masks, self.plan.train)
        self.dv, self.dx = layout.views(self.gradients)
        pairs = zip([self.v, *self.x], [self.dv, *self.dx], strict=True)
        self.blocks = [(values.flatten(1), gradient.flatten(1)) for values, gradient in pairs]
        self.d = self.zeros(layout.rows, self.v.shape[1], b)
        self.dz = self.zeros(layout.rows, layout.m, b)
        self._d_inner, self._d_last = self.d[:, :-1], self.d[:, -1:]
        self._d_own = [self.d[:, layout.own(i)] for i in range(len(layout.levels))]
        self._d_above = [self.d[:, layout.above(i)] for i in layout.expanding]
        self._x_back = [x.mT for x in self.x]
        # Rows of V that train somewhere; products write contiguous results only.
        first = self.lowest * layout.m
        self._d_trained, self._dv_trained = self.d[:, first:], self.dv[:, first:]
        self._dv_part = self.dv if first == 0 else self.zeros(*self._dv_trained.shape)
        self._batch: Tensor | None = None

    def _look_at(self, batch: Tensor) -> None:
        """Views of a batch's inputs [u, 1] and labels; a feed hands out the same tensor again and again."""
        self._batch, q = batch, self.layout.q
        self._u, self._y = batch[:, :, : q + 1], batch[:, :, q + 1]
        self._u_back = self._u.mT
        self.forward = self._forward_of(self.plan.batch)
        self._residual = self.forward.output.squeeze(1)
        self._h_back = [h.mT for h in self.forward.h]

    def _forward_of(self, batch: int) -> Forward:
        if batch not in self._forwards:
            self._forwards[batch] = Forward(self, batch)
        return self._forwards[batch]

    @torch.no_grad()
    def gradient(self, batch: Tensor, norm: Tensor) -> None:
        if batch is not self._batch:
            self._look_at(batch)
        self.forward.run(self._u_back)
        self._residual.sub_(self._y)
        torch.linalg.vector_norm(self._residual, dim=1, out=norm)
        self._backward()
        self.gradients.mul_(self.masks)

    def _backward(self) -> None:
        """From the residual to the unmasked gradients of V and of each X_i."""
        forward = self.forward
        torch.mul(forward.output, self._slope, out=self._d_last)
        if not self.layout.signed:
            torch.mul(forward.inner, self._a_twice, out=forward.squares)
            torch.mul(forward.squares, self._d_last, out=self._d_inner)
        for i in reversed(self.layout.expanding):
            torch.bmm(self._d_above[i], self._h_back[i], out=self.dx[i])
            if i >= self.lowest:
                self._pull_back(i)
        torch.bmm(self._d_trained, self._u, out=self._dv_part)
        if self._dv_part is not self.dv:
            self._dv_trained.copy_(self._dv_part)

    def _pull_back(self, i: int) -> None:
        """Adds to D_i what reaches level i through h_i, whose buffer it uses up."""
        dh = self.forward.h[i]
        torch.bmm(self._through(i), self._d_above[i], out=dh)
        if self.random:
            dh.mul_(self.forward.e[i])
            torch.bmm(self.r_back[i], dh, out=self.dz)
        else:
            torch.mul(dh, self.forward.own[i], out=self.dz).mul_(2)
        if self.layout.signed:
            self._d_own[i].copy_(self.dz)
        else:
            self._d_own[i].add_(self.dz)

    def _through(self, i: int) -> Tensor:
        """X_iᵀ as the gradient sees it: a detached row keeps its own read-out only."""
        if self._cut is None:
            return self._x_back[i]
        through = self.x[i] * self._cut
        if self.layout.signed:
            through[:, -1] = self.x[i][:, -1]
        return through.mT

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        self._kept = {name: block.clone() for name, block in weights.items()}
        self.layout.join(weights, self.values)

    def weights(self) -> dict[str, Tensor]:
        return {**{name: block.clone() for name, block in self._kept.items()}, **self.split(self.values)}

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        return self.layout.split(flat)

    def join(self, named: Weights, flat: Tensor) -> None:
        self.layout.join(named, flat)

    @torch.no_grad()
    def outputs(self, u: Tensor) -> Tensor:
        found = u.new_empty(len(u), u.shape[1], 1)
        for part, forward in self._parts(u):
            found[:, part, 0] = forward.output.squeeze(1)
        return found

    @torch.no_grad()
    def features(self, u: Tensor) -> dict[int, Tensor]:
        """u (K, n, q) -> level -> z (K, n, m) of the present levels."""
        found = {level: u.new_empty(len(u), u.shape[1], self.layout.m) for level in self.layout.levels}
        for part, forward in self._parts(u):
            for level, z in zip(self.layout.levels, forward.own, strict=True):
                found[level][:, part] = z.mT
        return found

    def _parts(self, u: Tensor) -> Iterator[tuple[slice, Forward]]:
        """Runs the forward pass over u (K, n, q), a part at a time."""
        for start in range(0, u.shape[1], READING):
            part = u[:, start : start + READING]
            forward = self._forward_of(part.shape[1])
            forward.run(torch.nn.functional.pad(part, (0, 1), value=1.0).mT)
            yield slice(start, start + READING), forward
