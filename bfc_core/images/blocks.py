"""The pieces that image networks are made of: activations, convolutions, blocks and heads.

Shapes: pictures x (n, c, h, w); vectors x (n, d).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class Quadratic(nn.Module):
    """(z² − 1)/√2: unit variance on standard Gaussian input, which the normalisation before it provides."""

    def forward(self, z: Tensor) -> Tensor:
        return (z * z - 1) * math.sqrt(0.5)


class Erf(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.erf(z)


def activation(name: str) -> nn.Module:
    """The module of an activation's word; ReLU works in place, since what feeds it is never read again."""
    if name == "relu":
        return nn.ReLU(inplace=True)
    modules: dict[str, type[nn.Module]] = {
        "quadratic": Quadratic,
        "gelu": nn.GELU,
        "tanh": nn.Tanh,
        "erf": Erf,
        "linear": nn.Identity,
    }
    return modules[name]()


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation, activation and, where asked, 2×2 max pooling."""

    def __init__(
        self, inputs: int, outputs: int, act: str, size: int = 3, stride: int = 1, pool: bool = False
    ) -> None:
        last = [nn.MaxPool2d(2)] if pool else []
        super().__init__(conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs), activation(act), *last)


class DenseBlock(nn.Sequential):
    """Flatten, linear map, batch normalisation, activation."""

    def __init__(self, inputs: int, outputs: int, act: str) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation(act)
        )


class PostActivation(nn.Module):
    """ResNet's basic block; a change of shape is bridged by slicing and zero channels (its option A).

    Squares of sums of squares would run away with depth, so a quadratic block normalises the sum first.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, act: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        summed = [nn.BatchNorm2d(outputs)] if act == "quadratic" else []
        self.act, self.last = activation(act), nn.Sequential(*summed, activation(act))
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        if self.stride > 1 or self.extra:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return self.last(z + x)  # type: ignore[no-any-return]


class PreActivation(nn.Module):
    """WideResNet's block: normalise, activate, convolve, twice; the sum is left as it is.

    Its bridge picks every `stride`-th position and then maps channels. As a strided 1×1 convolution, which is the same,
    oneDNN's gradient writes past the end of its buffer where there are few channels (3.12, channels last, AVX2).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, act: str) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs)
        self.act1, self.act2 = activation(act), activation(act)
        self.bridge = conv(inputs, outputs, 1) if stride > 1 or inputs != outputs else None
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        z = self.act1(self.norm1(x))
        past = x if self.bridge is None else self.bridge(z[:, :, :: self.stride, :: self.stride])
        return self.conv2(self.act2(self.norm2(self.conv1(z)))) + past  # type: ignore[no-any-return]


class DenseLayer(nn.Module):
    """DenseNet's layer: what it reads, with `growth` new channels behind; a transition may come first."""

    def __init__(self, inputs: int, growth: int, act: str, halve: bool) -> None:
        super().__init__()
        kept = inputs // 2 if halve else inputs
        self.transition = (
            nn.Sequential(nn.BatchNorm2d(inputs), activation(act), conv(inputs, kept, 1), nn.AvgPool2d(2))
            if halve
            else None
        )
        self.norm, self.act, self.conv = nn.BatchNorm2d(kept), activation(act), conv(kept, growth)
        self.outputs = kept + growth

    def forward(self, x: Tensor) -> Tensor:
        if self.transition is not None:
            x = self.transition(x)
        return torch.cat([x, self.conv(self.act(self.norm(x)))], 1)


class Pool(nn.Module):
    """Mean over positions; vectors pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.ndim == 4 else x


class Head(nn.Module):
    """Class scores from a block's output (n, c, h, w) or (n, d).

    `linear` is linear on pooled features; `convolutional` puts two 3×3 convolutions before it (on
    vectors: two dense layers). After a block that ends in a sum, normalisation and activation come first.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        kind: Literal["linear", "convolutional"],
        act: str,
        normalise: bool,
    ) -> None:
        super().__init__()
        width = shape[0]
        steps: list[nn.Module] = []
        if normalise:
            steps += [nn.BatchNorm2d(width), activation(act)]
        if kind == "convolutional":
            body = ConvBlock if len(shape) == 3 else DenseBlock
            steps += [body(width, width, act), body(width, width, act)]
        self.body = nn.Sequential(*steps)
        self.pool = Pool()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(self.body(x)))  # type: ignore[no-any-return]
