"""Kernel ridge at N = 10,000 against LAPACK's Cholesky alone, and the tangent kernel against a loop over samples.

Rounds are interleaved; medians of CPU seconds on one thread, and the largest growth of resident memory, are printed.

    python -m bench.kernels [--samples 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import torch
from scipy.linalg import lapack

from bfc_core.baselines.kernels import rbf
from bfc_core.baselines.ridge import Square, kernel_ridge
from bfc_core.learners.tangent import Network, Params, jacobian_kernel
from bfc_core.learners.tapped import TappedDensenet, TappedMlp, factors

RIDGE_NEEDED, KERNEL_SPEED_NEEDED, KERNEL_MEMORY_NEEDED = 1.5, 5.0, 0.1
DIMENSIONS = 40


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(work: Callable[[], object]) -> tuple[float, int]:
    """CPU seconds and growth of resident bytes of `work`, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        torch.set_num_threads(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        work()
        taken = time.process_time() - started
        sender.send((taken, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))

    process = context.Process(target=child)
    process.start()
    found: tuple[float, int] = receiver.recv()
    process.join()
    return found


def interleaved(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, int]]:
    """Medians by name of CPU seconds, and the largest growth of memory."""
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(measured(work))
    return {
        name: (statistics.median(t for t, _ in runs), max(m for _, m in runs)) for name, runs in found.items()
    }


def cholesky_alone(x: torch.Tensor) -> Callable[[], object]:
    """LAPACK's factorisation of the same matrix, which it is given."""
    k = rbf(1.0)(x, x)
    k.diagonal().add_(0.1)
    array = k.numpy().T
    return lambda: lapack.dpotrf(array, lower=1, clean=0, overwrite_a=1)


def ridge(samples: int, rounds: int) -> bool:
    x, y = draw(samples, DIMENSIONS), draw(samples, 1, seed=1)
    works = {"cholesky": cholesky_alone(x), "ridge": lambda: kernel_ridge(rbf(1.0), x, y, 0.1)}
    found = interleaved(works, rounds)
    (alone, _), (whole, memory) = found["cholesky"], found["ridge"]
    square = 8 * samples**2
    print(
        f"kernel ridge, N = {samples:,}: {whole:.2f} s against {alone:.2f} s of Cholesky alone: × {whole / alone:.2f}"
    )
    print(f"  memory {memory / square:.2f} of one N × N array ({square / 2**20:.0f} MiB)")
    return whole <= RIDGE_NEEDED * alone


def looped(f: Network, params: Params, x: torch.Tensor) -> torch.Tensor:
    """The Jacobian sample by sample, then its product with itself."""
    leaves = {name: block.clone().requires_grad_() for name, block in params.items()}
    rows = []
    for one in x:
        found = torch.autograd.grad(f(leaves, one[None])[0], list(leaves.values()))
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.mT


def tangent(network: TappedMlp | TappedDensenet, name: str, samples: int, rounds: int) -> bool:
    drawn = network.initial(torch.Generator().manual_seed(1))
    fixed = {key: block for key, block in drawn.items() if key.startswith("R")}
    params = {key: block for key, block in drawn.items() if not key.startswith("R")}
    x = draw(samples, DIMENSIONS)

    def f(p: Params, points: torch.Tensor) -> torch.Tensor:
        return network({**p, **fixed}, points)

    def by_factors() -> torch.Tensor:
        found = factors(network, drawn, x)
        return Square(found, found.rows).rows

    found = interleaved(
        {
            "loop": lambda: looped(f, params, x),
            "blocks": lambda: jacobian_kernel(f, params, x),
            "factors": by_factors,
        },
        rounds,
    )
    slow, most = found["loop"]
    size = sum(block.numel() for block in params.values())
    print(
        f"tangent kernel of {name}, n = {samples:,}, P = {size:,}: loop {slow:.2f} s, {most / 2**20:.0f} MiB"
    )
    for way in ("blocks", "factors"):
        seconds, memory = found[way]
        print(f"  {way}: {seconds:.2f} s, × {slow / seconds:.1f}; memory {memory / most:.3f} of the loop's")
    seconds, memory = found["factors"]
    return slow >= KERNEL_SPEED_NEEDED * seconds and memory <= KERNEL_MEMORY_NEEDED * most


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    passed = [
        ridge(given.samples, given.rounds),
        tangent(TappedMlp(DIMENSIONS, 256, 3), "mlp", 1000, given.rounds),
        tangent(TappedDensenet(DIMENSIONS, 32, 3), "quadratic_densenet", 1000, given.rounds),
    ]
    raise SystemExit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
