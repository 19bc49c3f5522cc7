"""The gradient by hand is the gradient."""

from __future__ import annotations

import itertools

import pytest
import torch

from bfc_core.learners.autograd_program import AutogradProgram
from bfc_core.learners.base import Plan
from bfc_core.learners.quadratic_densenet import QuadraticStack
from bfc_core.specs import TrainSpec

ROWS, BATCH = 4, 7
CASES = list(itertools.product(("fixed", "signed"), ("random", "none"), (2, 3, 4)))


def stack_of(readout: str, expansion: str, levels: int, **model: object) -> QuadraticStack:
    data = {"kind": "hierarchical", "input_dim": 5, "width": 2, "levels": levels}
    body = {"kind": "quadratic_densenet", "width": 3, "readout": readout, "expansion": expansion, **model}
    rows = [TrainSpec.model_validate({"data": data, "model": body, "seed": seed}) for seed in range(ROWS)]
    return QuadraticStack(rows, 10, torch.device("cpu"), torch.float64)


def batch_for(learner: QuadraticStack) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(ROWS, BATCH, learner.read_dim + 2, generator=generator, dtype=torch.float64)
    rows[:, :, learner.read_dim] = 1
    return rows


def some_weights(learner: QuadraticStack) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        name: block + 0.3 * torch.randn(block.shape, generator=generator, dtype=torch.float64)
        for name, block in learner.initial().items()
    }


def mixed_plan(levels: int, depth: int) -> Plan:
    """Rows that train everything, the lowest level, the highest level, and nothing; one of them detached."""
    present = tuple(range(2, depth + 1))
    train = (present, present[:1], present[-1:], ())
    return Plan(present, train, ("full", "full", "detached", "full"), BATCH)


@pytest.mark.parametrize(("readout", "expansion", "levels"), CASES)
def test_the_gradient_by_hand_is_autograds(readout: str, expansion: str, levels: int) -> None:
    learner = stack_of(readout, expansion, levels)
    weights = some_weights(learner)
    for depth in range(2, levels + 1):
        for backward in (("full",) * ROWS, ("detached",) * ROWS, ("full", "detached", "detached", "full")):
            plan = Plan(**{**vars_of(mixed_plan(levels, depth)), "backward": backward})
            by_hand, by_autograd = learner.program(plan), AutogradProgram(learner, plan)
            assert by_hand is not None
            losses = []
            for program in (by_hand, by_autograd):
                program.load(weights)
                loss = torch.zeros(ROWS, dtype=torch.float64)
                program.gradient(batch_for(learner), loss)
                losses.append(loss)
            torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
            found, wanted = by_hand.split(by_hand.gradients), by_autograd.split(by_autograd.gradients)
            for name in wanted:
                torch.testing.assert_close(found[name], wanted[name], rtol=1e-10, atol=1e-12, msg=name)


def vars_of(plan: Plan) -> dict[str, object]:
    return {name: getattr(plan, name) for name in ("present", "train", "backward", "batch")}


@pytest.mark.parametrize(("readout", "expansion", "levels"), CASES)
def test_a_program_gives_back_the_weights_it_was_given(readout: str, expansion: str, levels: int) -> None:
    learner = stack_of(readout, expansion, levels)
    weights = some_weights(learner)
    plan = mixed_plan(levels, levels)
    program = learner.program(plan)
    assert program is not None
    program.load(weights)
    for name, block in program.weights().items():
        assert torch.equal(block, weights[name]), name


def test_absent_layers_keep_what_was_loaded() -> None:
    learner = stack_of("signed", "random", 4)
    weights = some_weights(learner)
    program = learner.program(mixed_plan(4, 2))
    assert program is not None
    program.load(weights)
    kept = program.weights()
    assert torch.equal(kept["W4"], weights["W4"])
    assert torch.equal(kept["v3"], weights["v3"])


def test_frozen_blocks_have_a_gradient_of_exactly_zero() -> None:
    learner = stack_of("signed", "random", 3)
    plan = Plan((2, 3), ((), (2,), (3,), (2, 3)), ("full",) * ROWS, BATCH)
    program = learner.program(plan)
    assert program is not None
    program.load(some_weights(learner))
    program.gradient(batch_for(learner), torch.zeros(ROWS, dtype=torch.float64))
    gradient = program.split(program.gradients)
    for row, train in enumerate(plan.train):
        for name, block in gradient.items():
            owner = learner.owner(name)
            moves = owner is None or owner in train
            assert bool((block[row] != 0).any()) == moves, (row, name)


def test_random_rows_span_every_quadratic_of_the_neurons() -> None:
    learner = stack_of("fixed", "random", 2)
    r = learner.expansions[2][0]
    products = torch.einsum("pi,pj->pij", r, r).flatten(1)
    assert int(torch.linalg.matrix_rank(products)) == learner.expanded == 6
    torch.testing.assert_close(r.norm(dim=1), torch.ones(6, dtype=torch.float64))
