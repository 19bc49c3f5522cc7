"""Laws of linear probes; those of logistic ones alone are in `test_logistic.py`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.measures import RidgeSums, Undefined
from bfc_core.probes.linear import linear_accuracies, linear_errors
from bfc_core.probes.ridge import Spectrum, choose_ridge, fit_ridge, relative_errors


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(n: int = 900, d: int = 6, c: int = 4, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(0, c, (n,), generator=torch.Generator().manual_seed(5))
    return draw(c, d, seed=1)[labels] * 2 + spread * draw(n, d), labels


def test_a_stack_s_ridge_is_the_torch_free_one() -> None:
    z, y = draw(3, 120, 6) + 1, draw(120, 2, seed=1)
    fitted = fit_ridge(z, y)
    for i in range(3):
        array, target = z[i].numpy(), y.numpy()
        expected = RidgeSums.start(array, target).plus(array, target).fit()
        assert not isinstance(expected, Undefined)
        np.testing.assert_allclose(fitted.slope[i].numpy(), expected.slope, rtol=1e-8)
        np.testing.assert_allclose(fitted.predict(z)[i].numpy(), expected.predict(array), rtol=1e-8)


def test_one_spectrum_of_the_features_serves_every_target() -> None:
    z = draw(3, 120, 6) + 1
    known = Spectrum.of(z)
    for seed in (1, 2):
        y = draw(120, 2, seed=seed)
        one, other = fit_ridge(z, y, spectrum=known), fit_ridge(z, y)
        torch.testing.assert_close(one.predict(z), other.predict(z), rtol=0, atol=0)


def test_the_penalty_is_chosen_on_samples_that_the_fit_does_not_see() -> None:
    z, noise = draw(1, 100, 60), draw(100, 1, seed=1)
    assert choose_ridge(z, noise).penalty > choose_ridge(z, z[0, :, :1]).penalty


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_a_linear_probe_does_not_see_rotation_scaling_or_translation(seed: int, streaming: bool) -> None:
    z, y = draw(2, 200, 5, seed=seed), draw(200, 1, seed=seed + 1)
    y = y + z[0, :, :1]
    q = torch.linalg.qr(draw(5, 5, seed=seed + 2)).Q
    plain = linear_errors(z, y, 100, streaming=streaming)
    torch.testing.assert_close(linear_errors(-3 * z @ q + 2, y, 100, streaming=streaming), plain)


def test_a_linear_probe_finds_what_is_linear_and_loses_what_is_shuffled() -> None:
    z = draw(1, 2000, 5)
    y = z[0] @ draw(5, 1, seed=1)
    assert linear_errors(z, y, 1000).item() < 1e-9
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(2))
    assert linear_errors(z, y[order], 1000).item() == pytest.approx(1, abs=0.05)


def test_relative_error_is_one_for_the_mean() -> None:
    y = draw(500, 2)
    assert relative_errors(y.mean(0).expand(1, 500, 2), y).item() == pytest.approx(1)


def test_shuffled_labels_are_found_by_chance_only() -> None:
    z, labels = classes(4000)
    order = torch.randperm(4000, generator=torch.Generator().manual_seed(1))
    y = torch.nn.functional.one_hot(labels, 4).double()
    assert linear_accuracies(z[None], y, 2000).item() > 0.8
    for streaming in (True, False):
        assert linear_accuracies(z[None], y[order], 2000, streaming=streaming).item() == pytest.approx(
            0.25, abs=0.04
        )
