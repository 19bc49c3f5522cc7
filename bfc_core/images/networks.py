"""Networks with named, ordered blocks (the stem is block 1), cut at any block by a fresh head.

A network knows nothing of training; `engine` decides which blocks stand, which train and what is
fed to them. Every block draws its weights from its own stream, so that a block's initialisation
depends on the seed and its number alone, whatever stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from bfc_core.registry import deed, deed_of
from bfc_core.specs import model as words
from bfc_core.specs.resolution import HeadKind
from bfc_core.streams import stream

from .blocks import ConvBlock, DenseBlock, DenseLayer, Head, PostActivation, PreActivation, Quadratic

Shape = tuple[int, ...]
Named = list[tuple[str, nn.Module]]

#: Scale and shift with which a norm before a square starts. Around 0 a square has no linear part, and squares of squares
#: have ever heavier tails (kurtosis 60 after eight layers, 200 and more after sums of them): batches are ruled by a few
#: inputs, and nothing is learnt at any rate. Around 1, at a scale of ¼, 32 parts of 33 of its variance are linear at
#: first; how much is squared is learnt.
SQUARED = (0.25, 1.0)
#: The scale where the sum itself is squared, once a block.
_SQUARED_SUM = 1 / 16


class Network(nn.Module):
    """Ordered blocks over inputs of one shape; heads are made by `head`, not kept here."""

    def __init__(self, blocks: Named, shape: Shape, act: str, ends_in_sum: bool = False) -> None:
        """`shape` is one input's, (c, h, w) or (d,)."""
        super().__init__()
        self.names = tuple(name for name, _ in blocks)
        self.blocks = nn.ModuleList(block for _, block in blocks)
        self.act = act
        self.ends_in_sum = ends_in_sum
        self.shape = shape
        self.shapes = _output_shapes(self.blocks, shape)
        self.convs = tuple(_running_count(self.blocks))

    def forward(self, x: Tensor, first: int = 1, last: int | None = None) -> Tensor:
        """The output of block `last` from the input of block `first`."""
        for block in self.blocks[first - 1 : last]:
            x = block(x)
        return x

    def head(self, block: int, classes: int, kind: HeadKind) -> Head:
        """A head on the output of `block`, not yet initialised from a seed."""
        return Head(self.shapes[block - 1], classes, kind, self.act, self.ends_in_sum)


def build(spec: words.ModelSpec, shape: Shape) -> Network:
    """The network of `spec` for inputs of `shape`; raises ValueError where the picture is too small."""
    builder: Callable[[words.ModelSpec, Shape], Network] = (
        mlp if isinstance(spec, words.Mlp) else deed_of(spec)  # type: ignore[assignment]
    )
    if not isinstance(spec, words.Mlp) and len(shape) != 3:
        raise ValueError(
            f"{spec.kind} reads pictures, the data set holds vectors of {shape[0]} numbers; use mlp"
        )
    try:
        return builder(spec, shape)
    except RuntimeError as error:
        raise ValueError(f"{spec.kind} does not fit pictures of {shape[1]}×{shape[2]}: {error}") from error


@deed(words.WideResnet)
def wide_resnet(spec: words.WideResnet, shape: Shape) -> Network:
    channels = spec.widths[0]
    blocks: Named = [("stem", conv_stem(shape[0], channels, spec.stem_size, spec.stem_stride))]
    for g, (count, width) in enumerate(zip(spec.groups, spec.widths, strict=True), 1):
        for i in range(count):
            stride = 2 if g > 1 and i == 0 else 1
            blocks.append((f"group{g}.{i + 1}", PreActivation(channels, width, stride, spec.activation)))
            channels = width
    return Network(blocks, shape, spec.activation, ends_in_sum=True)


@deed(words.Resnet)
def resnet(spec: words.Resnet, shape: Shape) -> Network:
    channels = spec.width
    blocks: Named = [("stem", ConvBlock(shape[0], channels, spec.activation))]
    for g in (1, 2, 3):
        width = spec.width * 2 ** (g - 1)
        for i in range((spec.depth - 2) // 6):
            stride = 2 if g > 1 and i == 0 else 1
            blocks.append((f"group{g}.{i + 1}", PostActivation(channels, width, stride, spec.activation)))
            channels = width
    return Network(blocks, shape, spec.activation)


_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@deed(words.Vgg)
def vgg(spec: words.Vgg, shape: Shape) -> Network:
    channels, blocks = shape[0], []
    for g, count in enumerate(_VGG[spec.depth], 1):
        width = spec.width * min(8, 2 ** (g - 1))
        for i in range(count):
            block = ConvBlock(channels, width, spec.activation, pool=i == count - 1)
            blocks.append((f"group{g}.{i + 1}", block))
            channels = width
    return Network(list(blocks), shape, spec.activation)


@deed(words.Densenet)
def densenet(spec: words.Densenet, shape: Shape) -> Network:
    channels = 2 * spec.growth
    blocks: Named = [("stem", conv_stem(shape[0], channels, 3, 1))]
    for g, count in enumerate(spec.groups, 1):
        for i in range(count):
            layer = DenseLayer(channels, spec.growth, spec.activation, halve=g > 1 and i == 0)
            blocks.append((f"group{g}.{i + 1}", layer))
            channels = layer.outputs
    return Network(blocks, shape, spec.activation, ends_in_sum=True)


@deed(words.Alexnet)
def alexnet(spec: words.Alexnet, shape: Shape) -> Network:
    """AlexNet's five convolutions and two dense layers at the size of small pictures, batch-normalised."""
    w, act = spec.width, spec.activation
    plan = [(shape[0], w, 5, True), (w, 3 * w, 5, True), (3 * w, 6 * w, 3, False)]
    plan += [(6 * w, 4 * w, 3, False), (4 * w, 4 * w, 3, True)]
    blocks: Named = [
        (f"conv{i}", ConvBlock(a, b, act, size, pool=pool)) for i, (a, b, size, pool) in enumerate(plan, 1)
    ]
    flat = 4 * w * (shape[1] // 8) * (shape[2] // 8)
    blocks += [("dense6", DenseBlock(flat, 16 * w, act)), ("dense7", DenseBlock(16 * w, 16 * w, act))]
    return Network(blocks, shape, act)


def mlp(spec: words.Mlp, shape: Shape) -> Network:
    """A multilayer perceptron on flattened pictures or vectors, batch-normalised so that squares stay bounded."""
    sizes = [math.prod(shape)] + [spec.width] * spec.depth
    blocks: Named = [
        (f"dense{i}", DenseBlock(a, b, spec.activation)) for i, (a, b) in enumerate(pairwise(sizes), 1)
    ]
    return Network(blocks, shape, spec.activation)


def conv_stem(inputs: int, outputs: int, size: int, stride: int) -> nn.Module:
    """A bare convolution: the blocks behind it normalise first."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def initialise(module: nn.Module, draws: torch.Generator, dirac: bool = False) -> None:
    """Draw a block's or a head's weights: He normal by fan-out, heads by fan-in, norms at 1 and 0.

    `dirac` starts the first square part of every 3×3 convolution as the identity (for plain networks;
    Jordan, arXiv 2404.00498). Norms of what squares start at `SQUARED`.
    """
    squares = any(isinstance(part, Quadratic) for part in module.modules())
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels * part.kernel_size[0] * part.kernel_size[1]
            part.weight.data.normal_(0, math.sqrt(2 / fan_out), generator=draws)
            if dirac and part.kernel_size[0] == 3:
                square = min(part.out_channels, part.in_channels)
                nn.init.dirac_(part.weight.data[:square])
        elif isinstance(part, nn.Linear):
            biased = "bias" in dict(part.named_parameters())
            gain = 1.0 if biased else math.sqrt(2)
            part.weight.data.normal_(0, gain / math.sqrt(part.in_features), generator=draws)
            if biased:
                part.bias.data.zero_()
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
            if squares:
                part.weight.data.fill_(SQUARED[0])
                part.bias.data.fill_(SQUARED[1])
    for part in module.modules():
        if isinstance(part, PostActivation) and squares:
            for norm in (part.norm2, *(one for one in part.last if isinstance(one, nn.BatchNorm2d))):
                norm.weight.data.fill_(_SQUARED_SUM)


def initialise_blocks(
    network: Network, blocks: Sequence[int], seed: int, again: int = 0, dirac: bool = False
) -> None:
    """Draw `blocks` anew, each from its own stream; `again` tells a redraw from the first draw."""
    for block in blocks:
        first = block == 1
        draws = stream("init", seed, "block", block, again)
        initialise(network.blocks[block - 1], draws, dirac and not first)


def forward_flops(module: nn.Module, shape: Shape) -> int:
    """Floating-point operations of one input's forward pass: two a multiplication in convolutions and maps."""
    total = 0

    def count(part: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(part, nn.Conv2d):
            taps = part.in_channels * part.kernel_size[0] * part.kernel_size[1]
            total += 2 * taps * output[0].numel()
        elif isinstance(part, nn.Linear):
            total += 2 * part.in_features * output[0].numel()

    hooks = [part.register_forward_hook(count) for part in module.modules()]
    try:
        _dry_run(module, shape)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _dry_run(module: nn.Module, shape: Shape) -> Tensor:
    training = module.training
    module.eval()
    with torch.no_grad():
        output: Tensor = module(torch.zeros(1, *shape))
    module.train(training)
    return output


def _output_shapes(blocks: nn.ModuleList, shape: Shape) -> tuple[Shape, ...]:
    shapes = []
    for block in blocks:
        shape = tuple(_dry_run(block, shape).shape[1:])
        shapes.append(shape)
    return tuple(shapes)


def _running_count(blocks: nn.ModuleList) -> list[int]:
    """Convolutions (or dense maps) on the main path up to each block; bridges do not count."""
    counts, total = [], 0
    for block in blocks:
        for name, part in block.named_modules():
            counted = isinstance(part, nn.Conv2d | nn.Linear)
            total += counted and not name.endswith("bridge")
        counts.append(total)
    return counts
