"""Training images a second on one core: this engine against a plain torchvision-style loop, in turns.

The plain loop is what one writes first: a DataLoader over PIL pictures with torchvision's per-sample transforms (random
crop, flip, to tensor, normalise), float32, NCHW, torch.optim.SGD. Where torchvision is not installed, or not for this
torch, the calls that its transforms make are written out. Both train the same network (the default
wide_resnet) with the same optimiser, rate and number of steps; rounds are interleaved, so that a busy machine slows
both. Test accuracies stand beside the speeds. Both sides' speed is that of training alone: preparing the data and reading
the validation and test parts is on neither. What default probes and snapshots cost is told of whole runs, with the
readings that a run makes anyway on both sides. `--batch 128 --steps 2000` are a training's own defaults.

    python -m bench.images_speed [ARCHIVE_OR_NPZ] [--samples 5000] [--steps 600] [--batch 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bfc_core import specs
from bfc_core.images import formats, networks
from bfc_core.images.data import Data, prepare
from bfc_core.images.datasets import Arrays
from bfc_core.images.engine import Run
from bfc_core.images.stage import Plan
from bfc_core.records import Record, Result
from bfc_core.training.rates import rate_factor


@dataclass
class Given:
    arrays: Arrays

    def dataset(self, dataset_id: str) -> Arrays:
        del dataset_id
        return self.arrays


def spec_of(samples: int, steps: int, batch: int = 64, **changes: Any) -> specs.TrainSpec:
    body = {
        "data": {
            "kind": "cifar10",
            "dataset": "ds_0123456789abcdef",
            "samples": samples,
            "test_samples": 2000,
        },
        "budget": {"steps": steps, "batch": batch},
        **changes,
    }
    return specs.TrainSpec.model_validate(body)


class Transformed(Dataset[tuple[torch.Tensor, int]]):
    """Pictures one by one through `transform`, made from arrays as `torchvision.datasets.CIFAR10` does."""

    def __init__(self, data: Data, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.pixels, self.labels = data.train.inputs.numpy(), data.train.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def transforms(data: Data) -> tuple[str, Callable[[Image.Image], torch.Tensor]]:
    """RandomCrop, RandomHorizontalFlip, ToTensor, Normalize: torchvision's own, or the calls that they make."""
    mean, deviation = (data.mean / 255).tolist(), (1 / (255 * data.scale)).tolist()
    try:
        from torchvision import __version__  # type: ignore[import-not-found, unused-ignore]
        from torchvision import transforms as own
    except (ImportError, RuntimeError):  # the latter where its build is for another torch
        return "written out", partial(_transform, mean, deviation)
    steps = [own.RandomCrop(32, padding=2), own.RandomHorizontalFlip(), own.ToTensor()]
    return f"of torchvision {__version__}", own.Compose([*steps, own.Normalize(mean, deviation)])


def _transform(mean: list[float], deviation: list[float], picture: Image.Image) -> torch.Tensor:
    picture = ImageOps.expand(picture, border=2, fill=0)
    top, left = (int(torch.randint(0, 5, size=(1,)).item()) for _ in range(2))
    picture = picture.crop((left, top, left + 32, top + 32))
    if torch.rand(1) < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tensor = torch.from_numpy(np.array(picture, np.uint8, copy=True)).permute(2, 0, 1).contiguous()
    tensor = tensor.to(torch.float32).div(255).clone()
    middle, spread = torch.as_tensor(mean), torch.as_tensor(deviation)
    if (spread == 0).any():
        raise ValueError("a channel without spread")
    return tensor.sub_(middle.view(-1, 1, 1)).div_(spread.view(-1, 1, 1))


def plain(spec: specs.TrainSpec, data: Data) -> tuple[float, float]:
    """Images a CPU-second and test accuracy of the plain loop."""
    torch.manual_seed(0)
    network = networks.build(spec.model, data.shape)
    head = network.head(len(network.blocks), data.classes, "linear")
    networks.initialise_blocks(network, range(1, len(network.blocks) + 1), 0)
    model = nn.Sequential(network, head)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=spec.optimizer.rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    loader = DataLoader(Transformed(data, transforms(data)[1]), spec.budget.batch, shuffle=True, drop_last=True)
    step, begun = 0, time.process_time()
    while step < spec.budget.steps:
        for x, y in loader:
            for group in optimizer.param_groups:
                group["lr"] = spec.optimizer.rate * rate_factor(spec.optimizer, step, spec.budget.steps)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            step += 1
            if step == spec.budget.steps:
                break
    speed = step * spec.budget.batch / (time.process_time() - begun)
    model.eval()
    with torch.no_grad():
        x = data.normalised(data.test.inputs).contiguous()
        scores = torch.cat([model(part) for part in torch.split(x, 500)])
    return speed, float((scores.argmax(1) == data.test.labels).double().mean())


class Timed(Run):
    """A run that tells apart what its readings take."""

    reading = 0.0

    def _measure(self, plan: Plan, end: bool) -> Iterator[Record]:
        begun = time.process_time()
        records = list(super()._measure(plan, end))
        self.reading += time.process_time() - begun
        yield from records


def ours(spec: specs.TrainSpec, data: Data) -> tuple[float, float, float]:
    """Images a CPU-second of training alone, test accuracy, and the whole run's CPU-seconds."""
    begun = time.process_time()
    run = Timed(spec, data, "float32", lambda: False, None)
    ready = time.process_time()
    for _ in run.stage_records():
        pass
    trained = time.process_time() - ready - run.reading
    *_, last = run.finish()
    assert isinstance(last, Result), last
    speed = spec.budget.steps * spec.budget.batch / trained
    return speed, last.summary["test_accuracy"], time.process_time() - begun


def read(path: Path) -> Arrays:
    with path.open("rb") as file:
        return formats.read(formats.sniff(file, path.name), file)


def made(samples: int, tests: int) -> Arrays:
    """Pictures (32, 32, 3) of ten classes: a patch whose place and colour the class tells, and noise."""
    draws = np.random.default_rng(0)

    def part(n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        labels = np.arange(n) % 10
        pixels = draws.normal(110, 30, (n, 32, 32, 3))
        for i, label in enumerate(labels):
            pixels[i, 6 * (label // 2) :, 16 * (label % 2) :, label % 3][:8, :8] += 90
        return pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64)

    return Arrays(*part(samples), tuple(str(i) for i in range(10)), *part(tests))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="class folders, a CIFAR binary or an .npz; made pictures when left out",
    )
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    arrays = made(args.samples, tests=2000) if args.data is None else read(args.data)
    none: dict[str, Any] = {"probes": [], "snapshots": {"weights": None, "features": None}}
    bare = spec_of(args.samples, args.steps, args.batch, **none)
    full = spec_of(args.samples, args.steps, args.batch)
    data = prepare(bare.data, arrays, 0, torch.device("cpu"))  # type: ignore[arg-type]
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)  # its first use imports the compiler: not timed
    theirs, alone, probed = [], [], []
    for _ in range(args.rounds):
        theirs.append(plain(bare, data))
        alone.append(ours(bare, data))
        probed.append(ours(full, data))
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    print(
        f"{args.samples:,} pictures, {args.steps} steps of {args.batch}; medians of {args.rounds} interleaved rounds; "
        f"transforms {transforms(data)[0]}"
    )
    for name, rounds in {"plain loop": theirs, "engine": alone}.items():
        speed, accuracy = (statistics.median(one[i] for one in rounds) for i in (0, 1))
        print(f"{name:12} {speed:8,.0f} images a CPU-second   test accuracy {accuracy:.3f}")
    ratio = statistics.median(e[0] / p[0] for e, p in zip(alone, theirs, strict=True))
    cost = statistics.median(f[2] / e[2] - 1 for f, e in zip(probed, alone, strict=True))
    print(
        f"engine / plain: {ratio:.2f} (needed 1.7)   default probes and snapshots cost {cost:.1%} (needed 5 %)"
    )


if __name__ == "__main__":
    main()
