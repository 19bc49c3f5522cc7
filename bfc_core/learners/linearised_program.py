"""A network linearised in all its weights where it starts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bfc_core.learners.autograd_program import AutogradProgram


class LinearisedProgram(AutogradProgram):
    """The network linearised in the change of all its present weights; one row."""

    _linear = True

    def _held_blocks(self) -> list[str]:
        present = self.plan.present
        owners = {name: self.learner.owner(name) for name in self.learner.shapes()}
        return [name for name, owner in owners.items() if owner is None or owner in present]

    def anchors(self) -> dict[str, Tensor]:
        """Where the network is linearised: name -> (…)."""
        return {name: self._kept[name][0] for name in self.held}

    def value(self, named: Mapping[str, Tensor], u: Tensor) -> Tensor:
        """The network itself at one row's weights: u (n, q) -> (n, o)."""
        weights = {**self._kept, **{name: block[None] for name, block in named.items()}}
        return self.learner.forward(weights, u[None], self.plan)[0]

    def move(self, change: Tensor) -> None:
        """Sets the weights to the anchors plus `change` (P,), laid out as the values."""
        with torch.no_grad():
            self.values.add_(change.to(self.values))
