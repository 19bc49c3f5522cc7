"""Laws of the noise operators, of variance by degree, and of the split."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.probes.degrees import missing_rows, split_shares
from bfc_core.probes.noise import Law, degree_weights, noised

LAWS: tuple[Law, ...] = ("uniform", "gaussian", "sign")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(law: Law, n: int, d: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if law == "gaussian":
        return torch.randn(n, d, generator=generator, dtype=torch.float64)
    uniform = 2 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 1
    return uniform.sign() if law == "sign" else math.sqrt(3) * uniform


def orthonormal(law: Law, degree: int, t: torch.Tensor) -> torch.Tensor:
    """The orthonormal polynomial of a degree on one coordinate."""
    if law == "uniform":
        s = t / math.sqrt(3)
        legendre = {
            1: s,
            2: (3 * s**2 - 1) / 2,
            3: (5 * s**3 - 3 * s) / 2,
            4: (35 * s**4 - 30 * s**2 + 3) / 8,
        }
        return legendre[degree] * math.sqrt(2 * degree + 1)
    hermite = {1: t, 2: (t**2 - 1) / math.sqrt(2), 3: (t**3 - 3 * t) / math.sqrt(6)}
    return hermite[degree]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rho", [0.0, 0.6, 1.0])
def test_noise_keeps_the_law_of_the_inputs(law: Law, rho: float) -> None:
    x = inputs(law, 60_000, 1)
    y = noised(x, rho, law, torch.Generator().manual_seed(1))
    for power in (1, 2, 4):
        assert y.pow(power).mean().item() == pytest.approx(x.pow(power).mean().item(), abs=0.1)
    if rho == 1.0:
        torch.testing.assert_close(y, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("law", "degree"), [("uniform", j) for j in (1, 2, 3, 4)] + [("gaussian", j) for j in (1, 2, 3)]
)
def test_a_polynomial_of_degree_j_is_multiplied_by_the_jth_power(law: Law, degree: int) -> None:
    x, rho = inputs(law, 400_000, 1), 0.7
    y = noised(x, rho, law, torch.Generator().manual_seed(1))
    p, q = orthonormal(law, degree, x), orthonormal(law, degree, y)
    assert (p * q).mean().item() == pytest.approx(rho**degree, abs=0.02)


def test_flipped_signs_multiply_a_monomial_by_a_power_for_each_coordinate() -> None:
    x = inputs("sign", 200_000, 3)
    y = noised(x, 0.7, "sign", torch.Generator().manual_seed(1))
    assert (x.prod(1) * y.prod(1)).mean().item() == pytest.approx(0.7**3, abs=0.01)


def test_variance_by_degree_adds_up_and_finds_each_part() -> None:
    x = inputs("uniform", 100_000, 3)

    def f(points: torch.Tensor) -> torch.Tensor:
        one = orthonormal("uniform", 1, points[:, 0])
        three = orthonormal("uniform", 2, points[:, 1]) * points[:, 2]
        return (2 * one + three)[None, :, None]

    weights, errors = degree_weights(f, x, "uniform", 4, torch.Generator().manual_seed(2))
    expected = torch.tensor([[0.0, 4, 0, 1, 0]]).double()
    assert torch.all((weights - expected).abs() < 5 * errors + 0.02)
    assert weights.sum().item() == pytest.approx(5, abs=0.2)


def test_the_standard_error_shrinks_as_the_root_of_the_samples() -> None:
    def f(points: torch.Tensor) -> torch.Tensor:
        return (points[:, :1] * points[:, 1:2])[None]

    errors = [
        degree_weights(f, inputs("gaussian", n, 2), "gaussian", 2, torch.Generator().manual_seed(1))[1].mean()
        for n in (2000, 200_000)
    ]
    assert 5 < (errors[0] / errors[1]).item() < 20


def test_what_rows_miss_of_a_neuron_is_its_part_outside_their_span() -> None:
    w = torch.tensor([[[1.0, 1, 0, 0], [0, 0, 0, 0]]])
    missing = missing_rows(w, torch.tensor([[2.0, 0, 0, 0], [0, 0, 3.0, 0]]))
    torch.testing.assert_close(missing[0], torch.tensor([[0.5, -0.5, 0, 0], [0, 0, 1, 0]]).double())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_both_splits_add_up_to_the_whole(seed: int) -> None:
    a, b = draw(2, 4, 8, seed=seed), draw(3, 8, seed=seed + 1)
    shares = split_shares(a, b, 4)
    whole = (a.mT @ a - b.mT @ b).square().sum((1, 2)) / (b.mT @ b).square().sum()
    for names in (("span", "cross", "orthogonal"), ("degree_2", "degree_3", "degree_4")):
        torch.testing.assert_close(torch.stack([shares[name] for name in names]).sum(0), whole)


def test_a_turned_teacher_is_split_into_nothing() -> None:
    b = draw(3, 8)
    q = torch.linalg.qr(draw(3, 3, seed=1)).Q
    assert all(share.abs().max() < 1e-12 for share in split_shares((q @ b)[None], b, 4).values())
