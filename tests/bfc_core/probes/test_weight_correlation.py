"""Laws of the chance-corrected correlation, λ and the cosines beside them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.probes.weight_correlation import (
    aligned_cosine,
    change_share,
    corrected,
    feature_correlation,
    gram_correlation,
    matched_cosine,
    raw_cosine,
)

seeds = st.integers(0, 10_000)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(n: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(draw(n, n, seed=seed)).Q


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_layer_correlates_fully_with_any_rotation_and_scaling_of_itself(seed: int) -> None:
    a, z = draw(2, 4, 9, seed=seed), draw(2, 50, 4, seed=seed)
    q = rotation(4, seed + 1)
    ones = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(gram_correlation(a, 3 * q @ a), ones)
    torch.testing.assert_close(feature_correlation(z, -2 * z @ q + 1), ones)


def test_gram_chance_is_the_mean_over_random_rotations() -> None:
    a, b = draw(1, 4, 12), draw(1, 4, 12, seed=1)

    def gram(m: torch.Tensor) -> torch.Tensor:
        return m.mT @ m

    turned = torch.stack([gram(a)[0].flatten() @ gram(b @ rotation(12, s))[0].flatten() for s in range(200)])
    norms = gram(a).norm() * gram(b).norm()
    value = (gram(a) * gram(b)).sum() / norms
    sampled = corrected(value, turned.mean() / norms)
    assert gram_correlation(a, b).item() == pytest.approx(sampled.item(), abs=0.02)


def test_feature_chance_is_the_mean_over_permutations_of_the_samples() -> None:
    y = draw(1, 60, 5)
    z = y @ draw(5, 4, seed=1) + draw(1, 60, 4, seed=2)

    def cka(b: torch.Tensor) -> torch.Tensor:
        yc, bc = y[0] - y[0].mean(0), b - b.mean(0)
        return (yc.mT @ bc).square().sum() / ((yc.mT @ yc).norm() * (bc.mT @ bc).norm())

    generator = torch.Generator().manual_seed(3)
    chance = torch.stack([cka(z[0, torch.randperm(60, generator=generator)]) for _ in range(200)]).mean()
    expected = corrected(cka(z[0]), chance)
    assert feature_correlation(y, z).item() == pytest.approx(expected.item(), abs=0.01)


def test_unrelated_layers_correlate_by_chance_only() -> None:
    found = gram_correlation(draw(300, 4, 20), draw(300, 4, 20, seed=1))
    assert found.mean().abs() < 0.01


def test_lambda_is_nought_for_no_change_and_one_for_a_change_as_large_as_training() -> None:
    init, after = draw(1, 4, 12), draw(1, 4, 12, seed=1)
    since_init = gram_correlation(init, after)
    assert change_share(gram_correlation(after, after), since_init).item() == pytest.approx(0, abs=1e-12)
    assert change_share(gram_correlation(init, after), since_init).item() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_each_cosine_sees_only_what_it_should(seed: int) -> None:
    a = draw(1, 5, 7, seed=seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    swapped = -a[:, order]
    assert raw_cosine(a, 2 * a).item() == pytest.approx(1)
    assert matched_cosine(a, swapped).item() == pytest.approx(1)
    assert aligned_cosine(a, rotation(5, seed + 1) @ a).item() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_more_freedom_never_lowers_a_cosine(seed: int) -> None:
    a, b = draw(2, 5, 7, seed=seed), draw(2, 5, 7, seed=seed + 1)
    raw, matched, aligned = raw_cosine(a, b).abs(), matched_cosine(a, b), aligned_cosine(a, b)
    assert torch.all(raw <= matched + 1e-9)
    assert torch.all(matched <= aligned + 1e-9)
