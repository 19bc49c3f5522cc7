"""Networks have the blocks their specs count, the sizes their papers state, and weights that depend on the seed alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from bfc_core import specs
from bfc_core.images import networks
from bfc_core.images.data import prepare
from bfc_core.images.datasets import Arrays
from bfc_core.images.recipes import FAST
from bfc_core.images.stage import plans
from bfc_core.images.trainee import Trainee
from bfc_core.specs import model as words
from bfc_core.specs.costs import convolutions
from bfc_core.streams import stream

SHAPE = (3, 32, 32)
KINDS = [
    words.WideResnet(groups=(1, 2), widths=(4, 8)),
    words.Resnet(depth=14, width=4),
    words.Vgg(depth=11, width=4),
    words.Densenet(groups=(2, 2), growth=4),
    words.Alexnet(width=4),
    words.Mlp(depth=3, width=16),
]


def counted(spec: specs.ModelSpec) -> int:
    network = networks.build(spec, SHAPE)
    head = network.head(len(network.blocks), 10, "linear")
    return sum(p.numel() for module in (network, head) for p in module.parameters())


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("activation", ["relu", "quadratic"])
def test_every_kind_has_named_blocks_and_a_head_at_each(spec: specs.ModelSpec, activation: str) -> None:
    spec = spec.model_copy(update={"activation": activation})
    network = networks.build(spec, SHAPE)
    count = spec.depth if isinstance(spec, words.Mlp) else spec.blocks
    assert len(network.blocks) == len(set(network.names)) == count
    assert list(network.convs) == sorted(network.convs)
    networks.initialise_blocks(network, range(1, count + 1), seed=0)
    x = torch.randn(8, *SHAPE)
    for block in range(1, count + 1):
        x = network(x, block, block)
        assert tuple(x.shape[1:]) == network.shapes[block - 1]
        for kind in ("linear", "convolutional"):
            head = network.head(block, 10, kind)
            assert head(x).shape == (8, 10)
            assert torch.isfinite(head(x)).all()


def test_sizes_are_those_of_the_papers() -> None:
    assert counted(words.Resnet(depth=20)) == 269_722
    assert counted(words.Resnet(depth=110)) == 1_727_962
    assert counted(words.WideResnet()) == 273_050
    assert counted(words.Vgg(depth=16)) == 14_724_042


def test_a_blocks_weights_depend_on_seed_and_number_alone() -> None:
    long, short = (
        networks.build(words.WideResnet(groups=groups), SHAPE) for groups in ((2, 1, 1), (2, 2, 2))
    )
    networks.initialise_blocks(long, range(1, 6), seed=3)
    networks.initialise_blocks(short, [3], seed=3)
    assert torch.equal(long.blocks[2].conv1.weight, short.blocks[2].conv1.weight)
    networks.initialise_blocks(short, [3], seed=4)
    assert not torch.equal(long.blocks[2].conv1.weight, short.blocks[2].conv1.weight)


def test_redrawing_a_block_is_not_its_first_draw() -> None:
    network = networks.build(words.Resnet(depth=8, width=4), SHAPE)
    networks.initialise_blocks(network, [2], seed=0)
    first = network.blocks[1].conv1.weight.clone()
    networks.initialise_blocks(network, [2], seed=0, again=1)
    assert not torch.equal(first, network.blocks[1].conv1.weight)


def test_dirac_convolutions_pass_their_input_on() -> None:
    assert FAST.dirac
    network = networks.build(words.Vgg(depth=11, width=8), SHAPE)
    block = network.blocks[1]
    networks.initialise(block, stream("init", 0, "test"), dirac=True)
    x = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(block[0](x)[:, :8], x)


def test_flops_are_two_a_multiplication() -> None:
    stem = networks.build(words.WideResnet(), SHAPE).blocks[0]
    assert networks.forward_flops(stem, SHAPE) == 2 * (3 * 5 * 5) * 16 * 16 * 16


SCHEDULES = [
    {"kind": "layerwise"},
    {"kind": "window", "train_up_to": 3, "free": 2},
    {"kind": "upper_frozen"},
    {"kind": "stages", "stages": [{"present": [1, 2, 3], "train": [1, 2, 3], "backward": "local"}]},
    {"kind": "stages", "stages": [{"present": [1, 2, 3], "train": [2], "head": "convolutional"}]},
]


@pytest.mark.parametrize("kind", KINDS[:-1], ids=lambda one: one.kind)
def test_the_arithmetic_of_a_spec_is_what_a_run_counts(kind: specs.ModelSpec) -> None:
    pixels, labels = np.zeros((40, 32, 32, 3), np.uint8), np.arange(40) % 10
    arrays = Arrays(pixels, labels, tuple("abcdefghij"), pixels, labels)
    trainee = None
    for auxiliary, schedule, radius in product(("convolutional", "linear"), SCHEDULES, (0.0, 0.25)):
        data = {"kind": "cifar10", "dataset": "ds_0123456789abcdef", "samples": 40, "test_samples": 40}
        model = {**specs.dump(kind), "auxiliary": auxiliary}
        body = {"data": data, "model": model, "schedule": schedule, "budget": {"steps": 1, "batch": 1}, "probes": [],
                "adversarial_radius": radius}  # fmt: skip
        spec = specs.TrainSpec.model_validate(body)
        if trainee is None or trainee.spec.adversarial_radius != radius:
            prepared = prepare(spec.data, arrays, 0, torch.device("cpu"))  # type: ignore[arg-type]
            trainee = Trainee(spec, prepared, torch.float32, "float32")
        counted = sum(plan.stage.steps * trainee.step_flops(plan) for plan in plans(spec))
        assert specs.estimate(spec).flops == counted, (auxiliary, schedule, radius)


@pytest.mark.parametrize("kind", KINDS[:-1], ids=lambda one: one.kind)
def test_the_parameters_of_a_spec_are_those_of_its_blocks(kind: specs.ModelSpec) -> None:
    blocks = networks.build(kind, SHAPE).blocks
    exact = sum(p.numel() for block in blocks for p in block.parameters())
    assert sum(block.parameters for block in convolutions(kind)) == pytest.approx(exact, rel=0.05)


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit pictures of 8×8"):
        networks.build(words.Vgg(), (3, 8, 8))
    with pytest.raises(ValueError, match="holds vectors of 7 numbers"):
        networks.build(words.Resnet(), (7,))


DEEP = [words.WideResnet(widths=(4, 8, 16)), words.Resnet(depth=20, width=4), words.Vgg(depth=11, width=4)]


@pytest.mark.parametrize("spec", DEEP, ids=lambda spec: spec.kind)
def test_squares_of_squares_begin_without_heavy_tails(spec: words.ModelSpec) -> None:
    """A Gaussian's kurtosis is 3; that of a deep network's last features is near, and not in the hundreds."""
    network = networks.build(spec.model_copy(update={"activation": "quadratic"}), SHAPE)
    networks.initialise_blocks(network, range(1, len(network.blocks) + 1), seed=0)
    with torch.no_grad():
        x = network(torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(1)))
    z = x.transpose(0, 1).flatten(1)
    z = z - z.mean(1, keepdim=True)
    assert (z.pow(4).mean(1) / z.square().mean(1).square()).median() < 8
