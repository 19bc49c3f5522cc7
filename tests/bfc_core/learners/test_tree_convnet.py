"""Convolutions along the tree of a random hierarchy: against torch's own, and learning what a flat network does not."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from bfc_core import local
from bfc_core.learners.base import Plan
from bfc_core.learners.tree_convnet import TreeStack
from bfc_core.specs import TrainSpec
from bfc_core.specs.costs import layer_parameters
from bfc_core.studies import Member

TREE = {"kind": "random_hierarchy", "vocabulary": 5, "synonyms": 2, "branching": 3, "levels": 2}
ROWS, INPUTS = 2, 5 * 3**2


def stack_of(**model: object) -> TreeStack:
    body = {"data": TREE, "model": {"kind": "tree_convnet", "width": 4, **model}}
    rows = [TrainSpec.model_validate({**body, "seed": seed}) for seed in range(ROWS)]
    return TreeStack(rows, INPUTS, 5, torch.device("cpu"), torch.float64)


def test_it_is_torchs_convolution_with_filter_and_stride_of_one_rule() -> None:
    learner = stack_of(parametrisation="standard")
    weights = learner.initial()
    weights["c1"] += 0.3
    u = torch.randn(ROWS, 7, INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = learner.forward(weights, u, Plan((1, 2), ((1, 2),) * ROWS, ("full",) * ROWS, 7))
    for row in range(ROWS):
        h = u[row].view(7, 9, 5).mT
        for layer, channels in ((1, 5), (2, 4)):
            # Ours reads a string symbol by symbol, torch's channel by channel.
            kernel = weights[f"W{layer}"][row].view(4, 3, channels).mT
            h = torch.relu(torch.conv1d(h, kernel, weights[f"c{layer}"][row], stride=3))
            flat = h.mT.flatten(1)
            torch.testing.assert_close(learner.features(weights, u)[layer][row], flat)
        torch.testing.assert_close(output[row], flat @ weights["a2"][row].T)


def test_blocks_have_the_shapes_and_the_cost_that_the_estimate_counts() -> None:
    learner = stack_of()
    spec = learner.specs[0]
    sizes = {name: torch.Size(shape).numel() for name, shape in learner.shapes().items()}
    assert layer_parameters(spec) == {1: sizes["W1"] + sizes["c1"], 2: sizes["W2"] + sizes["c2"]}
    # Layer 1 acts at 3 places, layer 2 at 1; forward, and backward twice.
    plan = Plan((1, 2), ((1, 2),), ("full",), 7)
    assert learner.flops(plan, 0) == 3 * 2 * (3 * sizes["W1"] + sizes["W2"] + sizes["a2"])


@pytest.mark.parametrize("parametrisation", ["standard", "ntk", "mean_field", "mup"])
def test_parametrisations_begin_with_the_same_hidden_features(parametrisation: str) -> None:
    u = torch.randn(ROWS, 7, INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, other = stack_of(parametrisation="standard"), stack_of(parametrisation=parametrisation)
    for layer, h in plain.features(plain.initial(), u).items():
        torch.testing.assert_close(other.features(other.initial(), u)[layer], h)


def test_other_targets_have_no_tree() -> None:
    with pytest.raises(ValidationError, match="tree_convnet follows the tree of a random_hierarchy"):
        TrainSpec.model_validate({"data": {"kind": "staircase"}, "model": {"kind": "tree_convnet"}})


def test_told_the_tree_it_learns_from_samples_on_which_a_flat_network_fails() -> None:
    tree = {"kind": "random_hierarchy", "vocabulary": 4, "synonyms": 2, "levels": 3, "samples": 150}
    models = {"tree": {"kind": "tree_convnet", "width": 32}, "flat": {"kind": "mlp", "width": 64, "depth": 3}}
    members = [
        Member(f"{name}/{seed}", "train", name, TrainSpec.model_validate(
            {"data": tree, "model": model, "seed": seed, "budget": {"steps": 500, "batch": 64}, "probes": []}
        ), {}, pack=name)
        for name, model in models.items() for seed in range(3)
    ]  # fmt: skip
    heard = local.run_members(members)
    accuracy = {key: one.end.summary["test_accuracy"] for key, one in heard.items()}
    assert min(accuracy[f"tree/{seed}"] for seed in range(3)) > 0.94
    assert max(accuracy[f"flat/{seed}"] for seed in range(3)) < 0.9
