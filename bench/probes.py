"""Linear probes against scikit-learn, and similarity of all pairs of layers against pairwise Gram matrices.

Ours and theirs see the same features, split and grid, on one thread, and take turns; medians of CPU seconds and
accuracies are printed side by side. scikit-learn is not a dependency: without it its half is skipped with a line.

    python -m bench.probes [--samples 10000] [--rounds 5] [--seed 0]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from bfc_core.measures import Sums, cka_of_grams
from bfc_core.probes.logistic import choose_logistic

SPEED_NEEDED, POINTS_ALLOWED, PAIRS_NEEDED = 5.0, 0.2, 50.0
CLASSES, TESTS = 10, 5000
WIDTHS = (48, 64, 64, 64, 128, 128, 128, 256, 256, 256)
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
LAYERS, LAYER_WIDTH = 20, 64

Layer = tuple[torch.Tensor, torch.Tensor]


def layers(samples: int, seed: int) -> list[Layer]:
    """Rectified features of ten layers, ever easier to tell apart, of very unequal sizes; and labels."""
    found, first = [], 1000 * seed
    labels = torch.randint(0, CLASSES, (samples + TESTS,), generator=torch.Generator().manual_seed(first + 1))
    for i, width in enumerate(WIDTHS):
        generator = torch.Generator().manual_seed(first + i)
        centres = torch.randn(CLASSES, width, generator=generator) * (1 + 0.27 * i) / width**0.5
        mixing = torch.randn(width, width, generator=generator) / width**0.5
        noise = torch.randn(samples + TESTS, width, generator=generator)
        z = ((centres[labels] + noise) @ mixing + 0.3).clamp_min(0)
        found.append((3 * z * torch.rand(width, generator=generator), labels))
    return found


def ours(found: list[Layer], n: int) -> float:
    """Mean test accuracy, each layer's penalty chosen on the last fifth of the training part."""
    scores = [choose_logistic(z[:n], y[:n], CLASSES, PENALTIES).accuracy(z[n:], y[n:]) for z, y in found]
    return 100 * sum(scores) / len(scores)


def theirs(found: list[Layer], n: int) -> float:
    """The same by scikit-learn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def score(fit: slice, test: slice, z: np.ndarray, y: np.ndarray, penalty: float) -> float:  # type: ignore[type-arg]
        scaler = StandardScaler().fit(z[fit])
        model = LogisticRegression(C=1 / (penalty * len(y[fit])), max_iter=100)
        model.fit(scaler.transform(z[fit]), y[fit])
        return float(model.score(scaler.transform(z[test]), y[test]))

    scores, split = [], n - n // 5
    for features, labels in found:
        z, y = features.numpy(), labels.numpy()
        best = max(PENALTIES, key=lambda p: score(slice(0, split), slice(split, n), z, y, p))
        scores.append(score(slice(0, n), slice(n, None), z, y, best))
    return 100 * sum(scores) / len(scores)


def timed(fit: Callable[[list[Layer], int], float], found: list[Layer], n: int) -> tuple[float, float]:
    """CPU seconds of one side, and its accuracy in %."""
    started = time.process_time()
    accuracy = fit(found, n)
    return time.process_time() - started, accuracy


def probes(samples: int, rounds: int, seed: int) -> bool:
    found, head = layers(samples, seed), f"linear probes of {len(WIDTHS)} layers, {len(PENALTIES)} penalties"
    try:
        import sklearn
    except ImportError:
        mine, accuracy = timed(ours, found, samples)
        print(f"{head}, n = {samples:,}: {mine:.2f} s, {accuracy:.2f} %")
        print("  scikit-learn is not installed: nothing to compare with")
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turns = [(timed(ours, found, samples), timed(theirs, found, samples)) for _ in range(rounds)]
    (_, accuracy), (_, other) = turns[0]
    mine, taken = (statistics.median(turn[side][0] for turn in turns) for side in (0, 1))
    ratios = sorted(turn[1][0] / turn[0][0] for turn in turns)
    ratio = statistics.median(ratios)
    print(f"{head}, n = {samples:,}: {mine:.2f} s, {accuracy:.2f} %")
    print(
        f"  scikit-learn {sklearn.__version__}: {taken:.2f} s, {other:.2f} %:"
        f" × {ratio:.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f} in {rounds} rounds)"
    )
    return ratio >= SPEED_NEEDED and abs(accuracy - other) <= POINTS_ALLOWED


def pairs(samples: int) -> bool:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(samples, LAYER_WIDTH))
    found = [
        np.maximum(first @ generator.normal(size=(LAYER_WIDTH, LAYER_WIDTH)) * 0.2, 0) for _ in range(LAYERS)
    ]
    started = time.process_time()
    sums = Sums.start([z[:1000] for z in found])
    for i in range(0, samples, 1000):
        sums = sums.plus([z[i : i + 1000] for z in found])
    similar = sums.cka()
    mine = time.process_time() - started
    started = time.process_time()
    expected = cka_of_grams(found[0] @ found[0].T, found[1] @ found[1].T)
    pair = time.process_time() - started
    whole = pair * LAYERS * (LAYERS - 1) / 2
    apart = abs(float(similar[0][1]) - float(expected))  # type: ignore[arg-type]
    print(f"debiased CKA of all pairs of {LAYERS} layers, n = {samples:,}: {mine:.2f} s")
    print(
        f"  Gram matrices: {pair:.1f} s a pair, {whole:.0f} s for all: × {whole / mine:.0f}, apart by {apart:.1e}"
    )
    return whole >= PAIRS_NEEDED * mine and apart < 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    passed = [probes(given.samples, given.rounds, given.seed), pairs(given.samples)]
    raise SystemExit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
