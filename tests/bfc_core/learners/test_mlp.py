"""Fully connected stacks: rows are separate networks, cut at a layer they end in its head."""

from __future__ import annotations

import pytest
import torch

from bfc_core.learners.autograd_program import AutogradProgram
from bfc_core.learners.base import Plan
from bfc_core.learners.mlp import ACTIVATIONS, MlpStack
from bfc_core.specs import TrainSpec

ROWS = 3


def stack_of(outputs: int = 1, width: int = 8, **model: object) -> MlpStack:
    body = {"kind": "mlp", "width": width, "depth": 3, **model}
    rows = [TrainSpec.model_validate({"model": body, "seed": seed}) for seed in range(ROWS)]
    return MlpStack(rows, 10, outputs, torch.device("cpu"), torch.float64)


def plan_of(present: tuple[int, ...], backward: str = "full") -> Plan:
    return Plan(present, (present,) * ROWS, (backward,) * ROWS, 5)  # type: ignore[arg-type]


def inputs(count: int = 5) -> torch.Tensor:
    return torch.randn(ROWS, count, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_keep_the_size_of_the_signal(activation: str) -> None:
    learner = stack_of(width=512, activation=activation)
    features = learner.features(learner.initial(), inputs(200))
    act, gain = ACTIVATIONS[activation]
    t = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    density = torch.exp(-t.square() / 2)
    second = float((act(t).square() * density).sum() / density.sum())
    assert second * gain**2 == pytest.approx(1.0, rel=0.01)
    if activation != "quadratic":  # squares of squares are heavy-tailed
        last = float(features[3].square().mean()) * gain**2
        assert last == pytest.approx(1.0, rel=0.35)


@pytest.mark.parametrize("parametrisation", ["standard", "ntk", "mean_field", "mup"])
def test_parametrisations_begin_with_the_same_hidden_features(parametrisation: str) -> None:
    plain, other = stack_of(), stack_of(parametrisation=parametrisation)
    for layer, h in plain.features(plain.initial(), inputs()).items():
        torch.testing.assert_close(other.features(other.initial(), inputs())[layer], h)
    ratio = other.forward(other.initial(), inputs(), plan_of((1, 2, 3))).std()
    ratio = ratio / plain.forward(plain.initial(), inputs(), plan_of((1, 2, 3))).std()
    wanted = 1.0 if parametrisation in ("standard", "ntk") else 8**-0.5
    assert float(ratio) == pytest.approx(wanted)


def test_a_cut_network_ends_in_its_own_head() -> None:
    learner = stack_of(outputs=4)
    weights = learner.initial()
    output = learner.forward(weights, inputs(), plan_of((1, 2)))
    h = learner.features(weights, inputs())[2]
    torch.testing.assert_close(output, h @ weights["a2"].mT)
    assert output.shape == (ROWS, 5, 4)


@pytest.mark.parametrize(
    ("backward", "moving"), [("full", {1, 2, 3}), ("detached", {3}), ("local", {1, 2, 3})]
)
def test_gradients_reach_the_layers_that_the_backward_mode_says(backward: str, moving: set[int]) -> None:
    learner = stack_of()
    program = AutogradProgram(learner, plan_of((1, 2, 3), backward))
    program.load(learner.initial())
    batch = torch.cat([inputs(), torch.ones(ROWS, 5, 1), torch.randn(ROWS, 5, 1)], dim=2)
    program.gradient(batch, torch.zeros(ROWS, dtype=torch.float64))
    gradient = program.split(program.gradients)
    found = {layer for layer in (1, 2, 3) if float(gradient[f"W{layer}"].abs().max()) > 0}
    assert found == moving


def test_local_losses_do_not_pull_on_lower_layers() -> None:
    """The gradient of layer 1 under local training is that of the network cut at layer 1."""
    learner = stack_of()
    batch = torch.cat([inputs(), torch.ones(ROWS, 5, 1), torch.randn(ROWS, 5, 1)], dim=2)
    found = []
    for plan in (plan_of((1, 2, 3), "local"), plan_of((1,))):
        program = AutogradProgram(learner, plan)
        program.load(learner.initial())
        program.gradient(batch, torch.zeros(ROWS, dtype=torch.float64))
        found.append(program.split(program.gradients)["W1"].clone())
    torch.testing.assert_close(found[0], found[1])
