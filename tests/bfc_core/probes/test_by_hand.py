"""Measures against what a few lines of numpy, or a whole enumeration, say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from bfc_core.probes.chosen import ROLE
from bfc_core.probes.degrees import split_shares
from bfc_core.probes.linear import read_information_gap
from bfc_core.probes.sensitivity import fourier_coefficients, synonym_sensitivity
from bfc_core.specs import probe as words
from bfc_core.specs.data import RandomHierarchy, Staircase
from bfc_core.streams import stream
from bfc_core.targets.monomials import products, staircase
from bfc_core.targets.random_hierarchy import random_hierarchy
from tests.bfc_core.probes.still import StillView


def cube(d: int) -> np.ndarray:
    """Every point of {−1, 1}^d: (2^d, d)."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=d)))


def test_fourier_coefficients_over_the_whole_cube_are_the_target_s_own() -> None:
    """f̂(S) = 2^−d Σ_x f(x) Π_{i ∈ S} x_i, for every S; outside of the target's monomials all are 0."""
    d, monomials, coefficients = 5, ((0,), (1, 3), (0, 2, 4)), (2.0, -1.0, 0.5)
    x = cube(d)
    teacher = staircase(Staircase(input_dim=d, monomials=monomials, coefficients=coefficients), 0)
    f = teacher.labels(torch.from_numpy(x))
    subsets = [s for size in range(1, d + 1) for s in itertools.combinations(range(d), size)]
    found = fourier_coefficients(f[None], products(torch.from_numpy(x), subsets))[0]
    by_hand = [float(np.mean(f.numpy() * x[:, list(s)].prod(1))) for s in subsets]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-12)
    wanted = dict(zip(monomials, (c / math.sqrt(3) for c in coefficients), strict=True))
    assert by_hand == pytest.approx([wanted.get(s, 0.0) for s in subsets], abs=1e-12)


def test_synonyms_do_not_matter_to_the_class_and_matter_to_a_single_symbol() -> None:
    """Exchanging synonyms keeps the class; a function of one leaf moves as often as enumeration says."""
    teacher = random_hierarchy(RandomHierarchy(vocabulary=3, synonyms=2, branching=2, levels=2), 1)
    x = teacher.inputs(4000, stream("data", 0, "x"))
    other = teacher.with_other_synonyms(x, 1, stream("data", 0, "synonyms"))
    label, again = teacher.labels(x)[None], teacher.labels(other)[None]
    assert synonym_sensitivity(label, again).item() == 0
    leaf, moved = x[None, :, :3], other[None, :, :3]
    by_hand = np.square((leaf - moved)[0].numpy()).sum(1).mean() / (2 * leaf[0].double().numpy().var(0, ddof=1).sum())
    found = synonym_sensitivity(leaf, moved).item()
    assert found == pytest.approx(by_hand, rel=1e-6)
    assert found > 0.2


def test_the_split_is_what_brute_force_says() -> None:
    """‖P_a (A'A − B'B) P_b‖² over the four pairs of projectors, and over blocks of x and h_1, entry by entry."""
    generator = np.random.default_rng(3)
    m, k, d = 5, 2, 4
    a, b = generator.normal(size=(m, 2 * d)), generator.normal(size=(k, 2 * d))
    apart = sum(np.outer(row, row) for row in a) - sum(np.outer(row, row) for row in b)
    whole = float((sum(np.outer(row, row) for row in b) ** 2).sum())
    inside = b.T @ np.linalg.inv(b @ b.T) @ b
    outside = np.eye(2 * d) - inside
    squares = {
        (i, j): float(((p @ apart @ q) ** 2).sum()) / whole
        for (i, p), (j, q) in itertools.product(enumerate((inside, outside)), repeat=2)
    }
    degree = {2: 0.0, 3: 0.0, 4: 0.0}
    for i, j in itertools.product(range(2 * d), repeat=2):
        degree[2 + (i >= d) + (j >= d)] += apart[i, j] ** 2 / whole
    found = {n: float(v) for n, v in split_shares(torch.tensor(a)[None], torch.tensor(b), d).items()}
    assert found["span"] == pytest.approx(squares[0, 0])
    assert found["cross"] == pytest.approx(squares[0, 1] + squares[1, 0])
    assert found["orthogonal"] == pytest.approx(squares[1, 1])
    assert [found[f"degree_{j}"] for j in (2, 3, 4)] == pytest.approx(list(degree.values()))


def explained(z: np.ndarray, y: np.ndarray) -> float:
    """1 − error/variance on the second half of an affine fit to the first."""
    half = len(y) // 2
    design = np.column_stack([np.ones(len(y)), z])
    fit = np.linalg.lstsq(design[:half], y[:half], rcond=None)[0]
    left = design[half:] @ fit - y[half:]
    return 1 - float((left**2).mean() / y[half:].var())


def test_an_information_gap_is_what_a_layer_explains_beyond_the_best_below() -> None:
    view = StillView("mlp", 1)
    x = view.inputs(ROLE, 600)
    y = view.teacher.labels(x).numpy()
    features = {layer: z[0].numpy() for layer, z in view.features(x).items()}
    best, wanted = explained(view.teacher.embed(x).numpy(), y), {}
    for layer, z in features.items():
        wanted[layer] = explained(z, y) - best
        best = max(best, explained(z, y))
    spec = words.InformationGap(inputs=600, ridge=1e-12)
    found = {one.layer: one.values.item() for one in read_information_gap(spec, view)}
    assert found == pytest.approx(wanted, abs=1e-6)
    (alone,) = read_information_gap(words.InformationGap(inputs=600, ridge=1e-12, layers=(3,)), view)
    assert alone.values.item() == pytest.approx(wanted[3], abs=1e-6)
