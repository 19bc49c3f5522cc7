"""A refused network is told which ones its data accept."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from bfc_core import specs

SYNTHETIC = ["hierarchical", "staircase", "parity", "random_hierarchy", "multi_index"]
UPLOADED = ["cifar10", "cifar100", "images", "arrays"]
MODELS = ["quadratic_densenet", "mlp", "tree_convnet", "resnet", "wide_resnet", "vgg", "densenet", "alexnet"]


def faults(data: str, model: str) -> str:
    body: dict[str, Any] = {"kind": data} | ({"dataset": "ds_0123456789abcdef"} if data in UPLOADED else {})
    readout = {"readout": "signed"} if model == "quadratic_densenet" else {}
    try:
        specs.TrainSpec.model_validate({"data": body, "model": {"kind": model, **readout}})
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("data", SYNTHETIC + UPLOADED)
def test_what_a_refusal_says_is_accepted_is_and_nothing_else(data: str) -> None:
    told = {model: faults(data, model) for model in MODELS}
    accepted = {model for model, says in told.items() if not says}
    assert accepted
    for model in set(MODELS) - accepted:
        says = re.search(r"accepted: ([a-z_, ]+)", told[model])
        assert says, told[model]
        networks = {"resnet", "wide_resnet", "vgg", "densenet", "alexnet"}
        named = {one for one in MODELS if re.search(rf"\b{one}\b", says[1])}
        named |= networks if "convolutional network" in says[1] else set()
        assert named == accepted, told[model]


@pytest.mark.parametrize(
    ("model", "clip"),
    [
        ({"kind": "wide_resnet"}, None),
        ({"kind": "wide_resnet", "activation": "quadratic"}, 1.0),
        ({"kind": "resnet", "activation": "quadratic"}, 0.3),
        ({"kind": "resnet"}, None),
    ],
)
def test_networks_of_squares_are_clipped_where_nothing_is_said_of_the_optimiser(
    model: dict[str, Any], clip: float | None
) -> None:
    body: dict[str, Any] = {"data": {"kind": "cifar10", "dataset": "ds_0123456789abcdef"}, "model": model}
    assert specs.TrainSpec.model_validate(body).optimizer.clip == clip
    said = {"kind": "sgd", "rate": 0.1, "clip": 5.0}
    assert specs.TrainSpec.model_validate({**body, "optimizer": said}).optimizer.clip == 5.0
