"""Laws of feature error and captured."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.probes.captured import (
    RIDGE,
    captured,
    captured_by_rows,
    captured_chance,
    captured_subspace,
)
from bfc_core.probes.feature_error import balanced_feature_error, feature_error
from bfc_core.probes.least_squares import affine_fit, residual


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("members", [1, 3])
def test_features_that_hold_the_teacher_have_no_error(members: int) -> None:
    z = draw(members, 400, 6)
    t = z[0] @ draw(6, 3, seed=1) + 2.0
    assert feature_error(z, t)[0] < 1e-25
    assert balanced_feature_error(z, t)[0] < 1e-25


def test_a_neuron_that_is_dead_where_it_is_fitted_changes_nothing_where_it_lives() -> None:
    z, t = draw(1, 400, 6), draw(400, 2, seed=1)
    for half in (slice(0, 200), slice(200, 400)):
        dead = z.clone()
        dead[0, half, 3] = 0.0
        without = torch.cat([dead[..., :3], dead[..., 4:]], dim=2)
        assert torch.isfinite(captured(dead, t)).all()
        if half.start == 0:
            assert feature_error(dead, t)[0] == pytest.approx(float(feature_error(without, t)[0]), rel=1e-9)


def test_independent_features_leave_all_of_the_variance() -> None:
    error = feature_error(draw(2, 20_000, 5), draw(20_000, 3, seed=1))
    assert torch.all((error - 1).abs() < 0.01)


def test_feature_error_is_the_share_of_variance_that_is_missing() -> None:
    hidden = draw(40_000, 4)
    t = torch.cat([2 * hidden[:, :2], hidden[:, 2:]], dim=1)
    error = feature_error(hidden[None, :, :2], t)
    assert error.item() == pytest.approx(2 / 10, abs=0.01)
    assert balanced_feature_error(hidden[None, :, :2], t).item() == pytest.approx(1 / 2, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_feature_error_does_not_see_an_invertible_affine_map_of_the_features(seed: int) -> None:
    z, t = draw(2, 300, 4, seed=seed), draw(300, 3, seed=seed + 1)
    mixed = z @ draw(4, 4, seed=seed + 2).add(3 * torch.eye(4)) * 7 + 5
    torch.testing.assert_close(feature_error(mixed, t), feature_error(z, t), rtol=1e-6, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_feature_error_does_not_see_a_rotation_or_scaling_of_the_teacher(seed: int) -> None:
    z, t = draw(2, 300, 4, seed=seed), draw(300, 3, seed=seed + 1) * torch.tensor([3.0, 2.0, 1.0])
    q = torch.linalg.qr(draw(3, 3, seed=seed + 2)).Q
    for measure in (feature_error, balanced_feature_error):
        torch.testing.assert_close(measure(z, -4 * t @ q), measure(z, t), rtol=1e-6, atol=1e-9)


def test_a_member_does_not_depend_on_its_neighbours() -> None:
    z, t = draw(3, 400, 5), draw(400, 2, seed=1)
    together, alone = feature_error(z, t), torch.cat([feature_error(z[i : i + 1], t) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_small_features_count_as_much_as_large_ones() -> None:
    z = draw(1, 400, 3)
    t = z[0] @ draw(3, 2, seed=1)
    assert feature_error(z * torch.tensor([1.0, 1e-9, 1e3]), t).item() < 1e-20


def test_the_fit_of_dependent_or_dead_columns_is_finite_and_exact() -> None:
    z = draw(1, 200, 2)
    z = torch.cat([z, z[..., :1] + z[..., 1:], torch.zeros(1, 200, 1)], dim=2)
    t = z[0, :, :2] * 3 - 1
    beta = affine_fit(z, t)
    assert torch.isfinite(beta).all()
    assert residual(z, t, beta).abs().max() < 1e-12


def test_captured_by_rows_is_the_squared_projection() -> None:
    w = torch.tensor([[[1.0, 0, 0, 0], [1.0, 1.0, 0, 0]]])
    u = torch.tensor([[2.0, 0, 0, 0], [0, 1.0, 1.0, 0], [0, 0, 0, 5.0]])
    torch.testing.assert_close(captured_by_rows(w, u), torch.tensor([[1.0, 0.5, 0.0]]).double())


def test_captured_by_rows_agrees_with_the_regression_that_it_replaces() -> None:
    w, u, x = draw(2, 4, 10), draw(3, 10, seed=1), draw(60_000, 10, seed=2)
    z, t = x @ w.mT, x @ u.mT
    for ridge in (0.0, RIDGE):
        torch.testing.assert_close(captured_by_rows(w, u, ridge), captured(z, t, ridge), rtol=0, atol=0.02)


def test_vanishing_rows_capture_but_not_effectively() -> None:
    w = torch.diag(torch.tensor([1.0, 1e-4]))[None]
    u = torch.eye(2)
    assert captured_by_rows(w, u)[0, 1] == pytest.approx(1.0)
    assert captured_by_rows(w, u, RIDGE)[0, 1] < 1e-4
    assert captured_by_rows(w, u, RIDGE)[0, 0] > 0.99


def test_random_rows_capture_chance() -> None:
    found = captured_by_rows(draw(400, 8, 40), draw(4, 40, seed=1)).mean()
    assert found.item() == pytest.approx(captured_chance(8, 40), abs=0.01)


def test_the_last_level_is_captured_as_a_subspace() -> None:
    z = draw(1, 2000, 2)
    t = torch.cat([z[0], draw(2000, 2, seed=1)], dim=1)
    q = torch.linalg.qr(draw(4, 4, seed=2)).Q
    plain, turned = captured_subspace(z, t), captured_subspace(z, t @ q)
    torch.testing.assert_close(plain, turned)
    assert plain.item() == pytest.approx(0.5, abs=0.02)


def test_nothing_is_captured_by_a_layer_that_is_dead() -> None:
    z, t = torch.zeros(1, 400, 3), draw(400, 2)
    assert torch.all(captured(z, t) < 0.01)
    assert torch.all(captured(z, t, RIDGE) < 0.01)
    assert torch.all(captured_by_rows(torch.zeros(1, 3, 4), torch.eye(4), RIDGE) == 0)
