"""Laws of the kernels and of the solver that works in the kernel matrix's own memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.baselines import kernels
from bfc_core.baselines.lapack import cholesky_
from bfc_core.baselines.ridge import WORTH, Square, kernel_ridge, ridge_path


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FAMILY = {
    "rbf": kernels.rbf(0.7),
    "laplace": kernels.laplace(1.5),
    "polynomial": kernels.polynomial(3, 0.5),
    "arc_cosine": kernels.arc_cosine(2),
    "ntk": kernels.ntk(3),
}


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_kernel_is_symmetric_and_positive_and_does_not_see_a_rotation(name: str, seed: int) -> None:
    kernel, x = FAMILY[name], draw(30, 5, seed=seed)
    k = kernel(x, x)
    q = torch.linalg.qr(draw(5, 5, seed=seed + 1)).Q
    torch.testing.assert_close(k, k.mT)
    assert torch.linalg.eigvalsh(k)[0] > -1e-6
    # At coincident points an angle or a distance is the root of a rounding error.
    torch.testing.assert_close(kernel(x @ q, x @ q), k, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", FAMILY)
def test_the_kernel_matrix_is_the_kernel_whatever_the_tiles(name: str) -> None:
    x = draw(700, 4)
    torch.testing.assert_close(Square(FAMILY[name], x).rows, FAMILY[name](x, x), atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("degree", range(1, 12))
def test_a_polynomial_is_the_power_of_its_linear_kernel(degree: int) -> None:
    x, y = draw(20, 3), draw(30, 3, seed=1)
    expected = ((x @ y.mT / 3 + 0.5) / 1.5) ** degree
    torch.testing.assert_close(kernels.polynomial(degree, 0.5)(x, y), expected)


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize(("depth", "close"), [(1, 3e-6), (3, 3e-6), (8, 3e-6), (16, 1e-5), (64, 1e-3)])
def test_single_precision_has_the_network_s_kernel_at_every_angle(
    depth: int, close: float, tangent: bool
) -> None:
    """By the polynomial, and beyond its depths by the recursion; no angle and half a turn are ends of an arc cosine."""
    angles = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    x, y = torch.stack([angles.cos(), angles.sin()], dim=1) * 3, torch.tensor([[2.0, 0.0]]).double()
    kernel = (kernels.ntk if tangent else kernels.arc_cosine)(depth)
    exact, found = kernel(x, y), kernel(x.float(), y.float()).double()
    error = (found - exact).abs().squeeze() / exact.abs().max()
    # There a cosine's rounding is the square of the angle's.
    ends = angles.sin() < 0.1
    assert error[~ends].max() < close
    assert error[ends].max() < 5e-3


def test_layers_without_number_are_not_summed_by_powers() -> None:
    assert kernels.angle_polynomial(3, True) is not None
    assert kernels.angle_polynomial(64, True) is None


def test_an_input_of_zeros_has_no_angle_and_no_kernel() -> None:
    x = torch.zeros(1, 3)
    assert kernels.ntk(2)(x, draw(5, 3).float()).eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_kernel_matrix_serves_one_penalty_after_another(dtype: torch.dtype) -> None:
    x, y = draw(700, 4).to(dtype), draw(700, 2, seed=1).to(dtype)
    close = 1e-10 if dtype == torch.float64 else 5e-3
    square = Square(FAMILY["rbf"], x)
    memory = square.rows.data_ptr()
    for penalty in (10.0, 0.1, 1.0):
        found = square.solve(penalty, y)
        expected = torch.linalg.solve(FAMILY["rbf"](x, x) + penalty * torch.eye(700, dtype=dtype), y)
        torch.testing.assert_close(found, expected, rtol=close, atol=close)
    assert square.rows.data_ptr() == memory


def test_a_matrix_that_is_not_positive_definite_is_not_solved_and_not_spoilt() -> None:
    x, y = draw(30, 2), draw(30, 1, seed=1)
    square = Square(kernels.Linear(), x)
    assert square.solve(-1.0, y) is None
    torch.testing.assert_close(
        square.solve(1.0, y), torch.linalg.solve(x @ x.mT + (x @ x.mT).trace() / 30 * torch.eye(30), y)
    )


def test_weights_predict_what_points_predict() -> None:
    x, y, new = draw(60, 5), draw(60, 2, seed=1), draw(20, 5, seed=2)

    def by_points(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b.mT

    primal, dual = kernel_ridge(kernels.Linear(), x, y, 0.1), kernel_ridge(by_points, x, y, 0.1)
    assert primal is not None
    assert dual is not None
    torch.testing.assert_close(primal(new), dual(new))


def test_ridge_solves_its_normal_equations() -> None:
    x, y, new = draw(300, 4), draw(300, 2, seed=1), draw(50, 4, seed=2)
    machine = kernel_ridge(FAMILY["rbf"], x, y, 0.3)
    assert machine is not None
    k = FAMILY["rbf"](x, x) + 0.3 * torch.eye(300)
    expected = FAMILY["rbf"](new, x) @ torch.linalg.solve(k, y - y.mean(0)) + y.mean(0)
    torch.testing.assert_close(machine(new), expected)


@pytest.mark.parametrize("samples", [2, 200])
def test_the_path_over_penalties_is_one_fit_after_another(samples: int) -> None:
    x, y, new = draw(samples, 4), draw(samples, 2, seed=1), draw(40, 4, seed=2)
    penalties = (1e-3, 0.1, 5.0)
    path = FAMILY["ntk"](new, x) @ ridge_path(FAMILY["ntk"](x, x), y, penalties) + y.mean(0)
    for i, penalty in enumerate(penalties):
        machine = kernel_ridge(FAMILY["ntk"], x, y, penalty)
        assert machine is not None
        torch.testing.assert_close(path[i], machine(new))


def test_the_path_has_no_fit_where_the_kernel_is_not_positive_definite() -> None:
    x, y = draw(30, 2), draw(30, 1, seed=1)
    path = ridge_path(x @ x.mT, y, (-2.0, 1.0))
    assert path[0].isnan().all()
    assert path[1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_leading_samples_are_solved_within_the_matrix_of_all(dtype: torch.dtype) -> None:
    """One matrix serves a part, what it says of the rest, the whole, and the part again."""
    x, y = draw(700, 4).to(dtype), draw(700, 2, seed=1).to(dtype)
    close = 1e-9 if dtype == torch.float64 else 5e-3
    square = Square(FAMILY["rbf"], x)
    memory = square.rows.data_ptr()
    for m, penalty in ((520, 0.1), (700, 1.0), (300, 0.1), (520, 0.5)):
        found = square.solve(penalty, y[:m])
        k = FAMILY["rbf"](x[:m], x[:m]) + penalty * torch.eye(m, dtype=dtype)
        torch.testing.assert_close(found, torch.linalg.solve(k, y[:m]), rtol=close, atol=close)
        torch.testing.assert_close(
            square.others(found), FAMILY["rbf"](x[m:], x[:m]) @ found, rtol=close, atol=close
        )
    assert square.rows.data_ptr() == memory


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("ratio", [0.1, 10.0])
def test_a_factor_serves_the_penalties_beside_its_own(dtype: torch.dtype, ratio: float) -> None:
    x, y = draw(1000, 4).to(dtype), draw(800, 2, seed=1).to(dtype)
    square = Square(FAMILY["laplace"], x)
    for penalty in (1.0, 1e-2):
        expected = square.solve(penalty * ratio, y)
        factor = square.solve(penalty, y)
        before = square.rows.clone()
        found = square.estimate(penalty * ratio, y)
        assert torch.equal(square.rows, before), "the factor was made anew"
        assert (found - expected).norm() < 2e-4 * expected.norm()
        assert (factor - expected).norm() > 1e-2 * expected.norm()


def test_where_steps_do_not_end_the_penalty_is_factored() -> None:
    x, y = draw(500, 3), draw(450, 1, seed=1)
    square = Square(FAMILY["rbf"], x)
    square.solve(1e-9, y)
    torch.testing.assert_close(square.estimate(10.0, y), square.solve(10.0, y), rtol=0, atol=0)
    assert square.solve(1.0, y) is not None
    assert square.estimate(-2.0, y) is None


@pytest.mark.parametrize(("outputs", "samples"), [(1, WORTH), (2, 2 * WORTH - 1)])
def test_few_samples_are_factored_at_once(outputs: int, samples: int) -> None:
    square, y = Square(FAMILY["laplace"], draw(samples, 3)), draw(samples, outputs, seed=1)
    square.solve(1.0, y)
    before = square.rows.clone()
    square.estimate(0.1, y)
    assert torch.equal(square.rows, before) == (samples >= WORTH * outputs)


def test_a_factor_needs_columns() -> None:
    with pytest.raises(ValueError, match="column-major"):
        cholesky_(draw(6, 6)[:3, :3])


def test_a_huge_penalty_predicts_the_mean_and_a_tiny_one_interpolates() -> None:
    x, y = draw(100, 6), draw(100, 1, seed=1) + 3
    flat, exact = kernel_ridge(FAMILY["laplace"], x, y, 1e9), kernel_ridge(FAMILY["laplace"], x, y, 1e-12)
    assert flat is not None
    assert exact is not None
    torch.testing.assert_close(flat(x), y.mean().expand(100, 1))
    torch.testing.assert_close(exact(x), y)


def relu_network(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Last pre-activations (n, fan-out) of a ReLU network with unit-normal weights, gains as the kernels assume."""
    z = x @ weights[0].mT / math.sqrt(x.shape[1])
    for w in weights[1:]:
        z = z.clamp_min(0) @ w.mT * math.sqrt(2 / z.shape[1])
    return z


def test_the_arc_cosine_kernel_is_the_prior_covariance_of_a_wide_relu_network() -> None:
    x = draw(6, 5)
    shapes, sampled = ((400, 5), (400, 400), (1000, 400)), torch.zeros(6, 6).double()
    for i in range(40):
        z = relu_network([draw(*shape, seed=3 * i + j) for j, shape in enumerate(shapes)], x)
        sampled += z @ z.mT / z.shape[1] / 40
    closed = kernels.arc_cosine(2)(x, x)
    assert (sampled - closed).norm() < 0.05 * closed.norm()


def test_the_closed_tangent_kernel_is_the_empirical_one_as_width_grows() -> None:
    x = draw(8, 5)

    def gap(width: int) -> float:
        shapes = ((width, 5), (width, width), (1, width))
        weights = [draw(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
        gradients = [torch.autograd.grad(relu_network(weights, row[None]).sum(), weights) for row in x]
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in gradients])
        closed = kernels.ntk(2)(x, x)
        return float((jacobian @ jacobian.mT - closed).norm() / closed.norm())

    assert gap(1500) < 0.06
    assert gap(1500) < 0.5 * gap(60)
