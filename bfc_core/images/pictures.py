"""What a network looks for: first-layer filters, and inputs that excite a channel most.

Activation maximisation climbs in the Fourier basis with decorrelated colours, under jitter (Olah, Mordvintsev,
Schubert, *Feature visualization*, Distill 2017; whitening of colours by the data's own covariance). Channels of a
block climb together, each in its own picture.
Letters: k channels, h × w pixels, c colours.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bfc_core import specs
from bfc_core.registry import deed
from bfc_core.specs import probe as words
from bfc_core.streams import stream
from bfc_core.training.view import When

from .optimizers import Optimizer
from .view import ImageView

JITTER = 2
RATE = 0.03
#: Root mean square of a picture before the sigmoid: pixels then vary by about .24 of their range, as photographs do.
#: Unbounded, a channel that is nearly linear is excited most by pixels that are all black or full.
CONTRAST = 1.2


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels (h, w, c) uint8 of one channel of a block at a time."""

    block: int
    channel: int
    kind: Literal["filter", "excites"]
    when: When
    pixels: np.ndarray[Any, Any]

    def url(self) -> str:
        """The picture as a data URL of PNG bytes."""
        from PIL import Image

        out = io.BytesIO()
        pixels = self.pixels[..., 0] if self.pixels.shape[2] == 1 else self.pixels
        Image.fromarray(pixels).save(out, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


@deed(words.Pictures)
def paint(spec: words.Pictures, view: ImageView) -> Iterator[Picture]:
    """Filters of the first block, and what excites chosen blocks, before the last stage and after it."""
    if not view.trainee.data.pictures:
        return
    times: tuple[When, ...] = ("before", "now")
    for when in times:
        yield from filters(view, spec.channels, when)
    blocks = spec.layers or tuple(sorted({view.layers[(len(view.layers) - 1) // 2], view.layers[-1]}))
    for block in blocks:
        if block not in view.layers or len(view.trainee.network.shapes[block - 1]) != 3:
            continue
        count = min(spec.channels, view.trainee.network.shapes[block - 1][0])
        for when in times:
            for channel, pixels in enumerate(exciting(view, block, count, spec.steps, when)):
                yield Picture(block, channel, "excites", when, pixels)


def filters(view: ImageView, count: int, when: When) -> Iterator[Picture]:
    """The first convolution's kernels as pictures, each stretched over the grey levels, grey being nought."""
    block = view.trainee.network.blocks[0]
    names = [name for name, part in block.named_parameters() if part.ndim == 4]
    if not names:
        return
    kernels = view.values(when)[f"blocks.0.{names[0]}"].detach().float()
    if kernels.shape[1] not in (1, 3):
        return
    for channel, kernel in enumerate(kernels[:count]):
        grey = 127.5 * (1 + kernel / kernel.abs().max().clamp_min(1e-12))
        yield Picture(1, channel, "filter", when, _bytes(grey))


def exciting(view: ImageView, block: int, count: int, steps: int, when: When) -> list[np.ndarray[Any, Any]]:
    """Pictures (h, w, c) that most excite the first `count` channels of `block`."""
    trainee = view.trainee
    channels, height, width = trainee.data.shape
    draws = stream("data", specs.seeds(trainee.spec.seed).data, "pictures", block)
    scale = _frequency_scale(height, width)
    start = torch.randn(count, channels, height, width // 2 + 1, 2, generator=draws) * 0.01
    spectrum = nn.Parameter(start.to(trainee.device))
    colours, values = colour_root(trainee.data.train.inputs).to(trainee.device), view.values(when)
    optimizer = Optimizer(specs.Adam(rate=RATE, betas=(0.9, 0.999), weight_decay=0.0), {"spectrum": spectrum})
    own = torch.arange(count, device=trainee.device)
    with trainee.evaluation(), trainee.autocast():
        for _ in range(steps):
            pixels = render(spectrum, scale.to(trainee.device), colours, (height, width))
            down, across = torch.randint(-JITTER, JITTER + 1, (2,), generator=draws).tolist()
            moved = torch.roll(pixels, (down, across), (2, 3))
            features = view.block_output(block, values, trainee.inputs_of((255 * moved).permute(0, 2, 3, 1)))
            excitement = features.float().mean((2, 3))[own, own].sum()
            optimizer.clear()
            (spectrum.grad,) = torch.autograd.grad(-excitement, spectrum)
            optimizer.step(RATE)
        final = render(spectrum, scale.to(trainee.device), colours, (height, width))
    return [_bytes(255 * one) for one in final.detach()]


def render(spectrum: Tensor, scale: Tensor, colours: Tensor, size: tuple[int, int]) -> Tensor:
    """spectrum (k, c, h, w/2 + 1, 2) -> pixels (k, c, h, w) in [0, 1], each picture of the same contrast."""
    plain = torch.fft.irfft2(torch.view_as_complex(spectrum * scale[..., None]), s=size, norm="ortho")
    mixed = torch.einsum("dc,kchw->kdhw", colours, plain)
    spread = mixed.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    return torch.sigmoid(CONTRAST * mixed / spread)


def _frequency_scale(height: int, width: int) -> Tensor:
    """1/frequency (h, w/2 + 1): every scale of detail is as easy to move as in natural pictures."""
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    radius = (rows**2 + columns**2).sqrt().clamp_min(1 / max(height, width))
    scale: Tensor = math.sqrt(height * width) / radius / 16
    return scale


def colour_root(inputs: Tensor) -> Tensor:
    """A root (c, c) of the colours' correlations over training pictures (n, h, w, c), largest row norm 1."""
    pixels = inputs[:1000].reshape(-1, inputs.shape[-1]).double()
    covariance = torch.cov(pixels.T).reshape(inputs.shape[-1], -1)
    values, vectors = torch.linalg.eigh(covariance + 1e-6 * torch.eye(len(covariance), dtype=torch.float64))
    root: Tensor = vectors * values.clamp_min(0).sqrt()
    widest: Tensor = root.norm(dim=1).max()
    return (root / widest).float()


def _bytes(pixels: Tensor) -> np.ndarray[Any, Any]:
    """(c, h, w) in 0…255 -> (h, w, c) uint8."""
    found: np.ndarray[Any, Any] = pixels.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return found
