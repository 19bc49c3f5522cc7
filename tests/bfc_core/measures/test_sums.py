"""One pass of sums gives what all features at once give; ridge from sums gives what least squares gives."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.measures import RidgeSums, Sums, Undefined, cka, compare, moments, ridge_accuracy, ridge_error
from bfc_core.measures.alignment import procrustes_of_moments
from bfc_core.measures.cca import pwcca_of_moments, svcca_of_moments

Array = np.ndarray


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def network(n: int = 90, seed: int = 0, offset: float = 3.0) -> list[Array]:
    x = draw(n, 8, seed=seed)
    h = np.maximum(x @ draw(8, 6, seed=seed + 1), 0) + offset
    return [x, h, h @ draw(6, 5, seed=seed + 2) ** 2]


def summed(layers: list[Array], batch: int) -> Sums:
    sums = Sums.start([layer[:batch] for layer in layers])
    for i in range(0, len(layers[0]), batch):
        sums = sums.plus([layer[i : i + batch] for layer in layers])
    return sums


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([7, 30, 90]))
def test_cka_of_all_pairs_from_one_pass_is_that_of_each_pair(seed: int, batch: int) -> None:
    layers = network(seed=seed)
    sums = summed(layers, batch)
    for debiased in (True, False):
        found = sums.cka(debiased=debiased)
        for i, x in enumerate(layers):
            for j, y in enumerate(layers):
                assert found[i][j] == pytest.approx(cka(x, y, debiased=debiased), abs=1e-10)


def test_other_measures_follow_from_the_same_sums() -> None:
    layers = network()
    sums = summed(layers, 20)
    for i, j in ((0, 1), (2, 0)):
        direct, pair = moments(layers[i], layers[j]), sums.moments(i, j)
        for measure in (svcca_of_moments, pwcca_of_moments, procrustes_of_moments):
            assert measure(pair) == pytest.approx(measure(direct), abs=1e-9)


def test_batches_are_added_not_averaged() -> None:
    """A known fault elsewhere: averaging over batches (or layers) what is not linear in them."""
    layers = network()
    assert summed(layers, 15).cka()[0][2] == pytest.approx(summed(layers, 90).cka()[0][2], abs=1e-10)


def test_a_large_mean_does_not_cancel_the_sums() -> None:
    layers = network(offset=1e5)
    assert summed(layers, 10).cka()[0][1] == pytest.approx(cka(layers[0], layers[1]), abs=1e-6)


def test_sums_answer_degenerate_layers_with_a_reason() -> None:
    layers = [draw(20, 3), np.full((20, 2), 4.2)]
    found = summed(layers, 5).cka()
    assert isinstance(found[0][0], float)
    assert isinstance(found[0][1], Undefined)
    assert all(isinstance(v, Undefined) for row in summed([z[:3] for z in layers], 3).cka() for v in row)
    broken = [np.where(layers[0] > 1, np.nan, layers[0])]
    assert isinstance(summed(broken, 20).cka()[0][0], Undefined)


def test_ridge_from_sums_is_ridge_from_samples() -> None:
    z, y = draw(60, 5) + 2, draw(60, 2, seed=1)
    sums = RidgeSums.start(z[:10], y[:10])
    for i in range(0, 60, 10):
        sums = sums.plus(z[i : i + 10], y[i : i + 10])
    fit = sums.fit((0.1,))
    assert not isinstance(fit, Undefined)
    zc, yc = z - z.mean(0), y - y.mean(0)
    ridge = 0.1 * np.trace(zc.T @ zc) / 5
    slope = np.linalg.solve(zc.T @ zc + ridge * np.eye(5), zc.T @ yc)
    np.testing.assert_allclose(fit.slope, slope)
    np.testing.assert_allclose(fit.predict(z), zc @ slope + y.mean(0))


def test_generalised_cross_validation_is_its_definition() -> None:
    z, y = draw(50, 8), draw(50, 1, seed=1)
    scores = []
    for penalty in (0.01, 1.0):
        zc = np.column_stack([np.ones(50), z - z.mean(0)])
        ridge = penalty * np.trace(zc[:, 1:].T @ zc[:, 1:]) / 8 * np.diag([0.0] + [1.0] * 8)
        hat = zc @ np.linalg.solve(zc.T @ zc + ridge, zc.T)
        scores.append(50 * np.sum((y - hat @ y) ** 2) / (50 - np.trace(hat)) ** 2)
        fit = RidgeSums.start(z, y).plus(z, y).fit((penalty,))
        assert not isinstance(fit, Undefined)
        assert fit.estimated_error == pytest.approx(scores[-1] / y.var())


def test_cross_validation_prefers_no_penalty_for_a_signal_and_all_of_it_for_noise() -> None:
    z = draw(400, 10)
    signal, noise = z @ draw(10, 1, seed=1), draw(400, 1, seed=2)
    for y, expected in ((signal, 1e-8), (noise, 1e3)):
        fit = RidgeSums.start(z, y).plus(z, y).fit((1e-8, 1e3))
        assert not isinstance(fit, Undefined)
        assert fit.penalty == expected


def test_a_ridge_probe_finds_what_is_linear_and_only_that() -> None:
    z = draw(800, 6)
    assert ridge_error(z, z @ draw(6, 2, seed=1) + 5) < 1e-9  # type: ignore[operator]
    assert ridge_error(z, z[:, :1] ** 2) == pytest.approx(1, abs=0.05)
    assert ridge_accuracy(z, (z[:, 0] > 0).astype(np.float64)) > 0.95  # type: ignore[operator]
    assert isinstance(ridge_accuracy(z, np.zeros(800)), Undefined)
    assert isinstance(ridge_error(z, np.full((800, 1), 2.0)), Undefined)


@pytest.mark.parametrize("how", ["orthogonal", "scaling", "translation"])
def test_a_ridge_probe_has_its_declared_invariances(how: str) -> None:
    z, y = draw(100, 5), draw(100, 3, seed=1)
    q = np.linalg.qr(draw(5, 5, seed=2))[0]
    moved = {"orthogonal": z @ q, "scaling": 9 * z, "translation": z + 4}[how]
    assert ridge_error(moved, y) == pytest.approx(ridge_error(z, y))


def test_measures_do_without_torch() -> None:
    code = "import sys, bfc_core.measures; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_twenty_layers_compare_with_twenty() -> None:
    layers = [draw(64, 10, seed=s) for s in range(20)]
    found = compare("cka", layers, layers)
    assert len(found) == len(found[0]) == 20
    assert all(found[i][i] == pytest.approx(1) for i in range(20))
