"""Steps·models a second on one CPU thread: a stack of K quadratic networks against one by one in plain PyTorch.

Both train the same architecture on data of the same shape with Adam, warm-up and cosine, a gradient clip per model
and batches drawn by permutation. Rounds are interleaved, so that a busy machine slows both; medians are printed,
with the part of the rate that the stack's own matrix products reach when they run alone.

    python -m bench.packed_speed [--models 32] [--rounds 5] [--sizes quick standard] [--readout fixed]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bfc_core.learners.quadratic_program import QuadraticProgram
from bfc_core.specs import TrainSpec
from bfc_core.training.checkpoints import Place
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.plan import nodes_by_depth
from bfc_core.training.stack import Entry, Stack

SIZES = {
    "quick": {"input_dim": 20, "width": 4, "samples": 4000, "steps": 2000, "batch": 128, "needed": 15.0},
    "standard": {"input_dim": 30, "width": 6, "samples": 10_000, "steps": 4000, "batch": 256, "needed": 4.0},
}


class PlainNetwork(nn.Module):
    """The quadratic DenseNet of three levels as one would write it."""

    def __init__(self, read_dim: int, k: int, readout: str) -> None:
        super().__init__()
        m, p = 2 * k, k * (2 * k + 1)
        self.w2 = nn.Parameter(torch.randn(m, read_dim) * math.sqrt(k / (m * read_dim)))
        self.w3 = nn.Parameter(torch.randn(m, read_dim + p) * math.sqrt(k / (m * (read_dim + p))))
        self.c3 = nn.Parameter(torch.zeros(m))
        self.b = nn.Parameter(torch.zeros(()))
        self.signed = readout == "signed"
        if self.signed:
            self.v2, self.v3 = (nn.Parameter(torch.randn(p) * 0.1 / math.sqrt(p)) for _ in range(2))
        rows = [nn.functional.normalize(torch.randn(p, m), dim=1) for _ in range(2)]
        self.r2, self.r3 = (nn.Buffer(one) for one in rows)
        self.a = [alpha / math.sqrt(2 * k) for alpha in (1.0, -0.7)]

    def forward(self, u: Tensor) -> Tensor:
        z2 = u @ self.w2.T
        h2 = ((z2 @ self.r2.T).square() - 1) / math.sqrt(2)
        z3 = torch.cat([u, h2], dim=1) @ self.w3.T + self.c3
        if self.signed:
            h3 = ((z3 @ self.r3.T).square() - 1) / math.sqrt(2)
            return self.b + h2 @ self.v2 + h3 @ self.v3
        return self.b + self.a[0] * z2.square().sum(1) + self.a[1] * z3.square().sum(1)


class OneByOne:
    """The plain loop for one model; each call makes some steps."""

    def __init__(self, spec: TrainSpec, table: Tensor) -> None:
        assert spec.data.kind == "hierarchical"
        self.u, self.y = table[:, :-2].contiguous(), table[:, -1].contiguous()
        self.model = PlainNetwork(self.u.shape[1], spec.data.width, spec.model.readout)  # type: ignore[union-attr]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01, betas=(0.9, 0.99), fused=True)
        total = spec.budget.steps
        warm = 100
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda i: (
                min(1.0, (i + 1) / warm) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, i / total))))
            ),
        )
        self.batch = spec.budget.batch
        self.order = torch.randperm(len(self.y))
        self.at = 0

    def steps(self, count: int) -> None:
        for _ in range(count):
            if self.at + self.batch > len(self.y):
                self.order, self.at = torch.randperm(len(self.y)), 0
            chosen = self.order[self.at : self.at + self.batch]
            self.at += self.batch
            loss = (self.model(self.u[chosen]) - self.y[chosen]).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.scheduler.step()


class Products:
    """The stack's matrix products alone, on its own buffers."""

    def __init__(self, program: QuadraticProgram, batch: Tensor) -> None:
        layout, forward = program.layout, program.forward
        u = batch[:, :, : layout.q + 1]
        self.products = [(program.v, u.mT, forward.z), (program.d, u, program.dv)]
        for i in layout.expanding:
            above = program.d[:, layout.above(i)]
            self.products += [
                (program.r[i], forward.own[i], forward.e[i]),
                (program.x[i], forward.h[i], forward.t[i]),
                (program.x[i].mT, above, forward.h[i]),
                (program.r_back[i], forward.h[i], program.dz),
                (above, forward.h[i].mT, program.dx[i]),
            ]

    def steps(self, count: int) -> None:
        for _ in range(count):
            for one, other, found in self.products:
                torch.bmm(one, other, out=found)


@dataclass
class Rates:
    plain: list[float]
    stack: list[float]
    products: list[float]


def spec_of(size: str, seed: int, readout: str) -> TrainSpec:
    shape = SIZES[size]
    data = {
        "kind": "hierarchical",
        "input_dim": shape["input_dim"],
        "width": shape["width"],
        "samples": shape["samples"],
    }
    model = {"kind": "quadratic_densenet", "width": 2 * int(shape["width"]), "readout": readout}
    budget = {"steps": shape["steps"], "batch": shape["batch"]}
    return TrainSpec.model_validate({"data": data, "model": model, "budget": budget, "seed": seed})


def stack_of(specs: list[TrainSpec], evaluation: Evaluation) -> Stack:
    nodes = nodes_by_depth(specs)[0]
    return Stack(nodes, [Entry(0, Place()) for _ in nodes], evaluation)


def measure(size: str, models: int, rounds: int, readout: str) -> Rates:
    """Steps·models a second of each way, round by round."""
    specs = [spec_of(size, seed, readout) for seed in range(models)]
    evaluation = Evaluation(torch.device("cpu"), torch.float32)
    stack = stack_of(specs, evaluation)
    plain = OneByOne(specs[0], evaluation.training_tables(specs[:1])[0])
    evaluation.training_tables(specs)
    steps = 160 if size == "quick" else 48
    rates = Rates([], [], [])
    plain.steps(50)
    for step in range(10):
        stack.update(step)
    assert isinstance(stack.program, QuadraticProgram)
    products = Products(stack.program, stack.feed.batch(0))
    position = 10
    for _ in range(rounds):
        rates.plain.append(4 * steps / _seconds(partial(plain.steps, 4 * steps)))
        rates.stack.append(models * steps / _seconds(partial(_updates, stack, position, steps)))
        position += steps
        rates.products.append(models * steps / _seconds(partial(products.steps, steps)))
    return rates


def _updates(stack: Stack, first: int, steps: int) -> None:
    for step in range(first, first + steps):
        stack.update(step)


def _seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--readout", choices=("fixed", "signed"), default="fixed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for size in arguments.sizes:
        rates = measure(size, arguments.models, arguments.rounds, arguments.readout)
        plain, stack, products = (
            statistics.median(one) for one in (rates.plain, rates.stack, rates.products)
        )
        ratios = [ours / theirs for ours, theirs in zip(rates.stack, rates.plain, strict=True)]
        print(
            f"{size:9s} {arguments.readout}: one by one {plain:.0f}, stack of {arguments.models} {stack:.0f} steps·models/s "
            f"×{statistics.median(ratios):.1f} (needed ×{SIZES[size]['needed']:g}; rounds "
            f"{', '.join(f'{ratio:.1f}' for ratio in ratios)}); {stack / products:.0%} of the products alone"
        )


if __name__ == "__main__":
    main()
