"""Laws of the empirical tangent kernel: three ways to one number, and what it linearises."""

import pytest
import torch

from bfc_core.learners.tangent import jacobian, jacobian_kernel, tangent_products
from bfc_core.learners.tapped import ACTIVATIONS, TappedDensenet, TappedMlp, factors, pairs

NETWORKS = {
    "mlp": TappedMlp(5, 8, 2, "tanh"),
    "relu": TappedMlp(5, 8, 3, "relu"),
    "quadratic_densenet": TappedDensenet(5, 3, 2),
}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def split(name: str):  # type: ignore[no-untyped-def]
    """The network as f(trainable params, x), with its parameters."""
    network = NETWORKS[name]
    drawn = network.initial(torch.Generator().manual_seed(1))
    fixed = {key: block for key, block in drawn.items() if key.startswith("R")}
    params = {key: block for key, block in drawn.items() if not key.startswith("R")}
    return (lambda p, x: network({**p, **fixed}, x)), params, drawn, network


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_of_jacobians_contract_to_the_kernel(name: str) -> None:
    f, params, _, _ = split(name)
    x, y = draw(23, 5), draw(9, 5, seed=1)
    j, k = jacobian(f, params, x), jacobian(f, params, y)
    torch.testing.assert_close(jacobian_kernel(f, params, x, block=7), j @ j.mT)
    torch.testing.assert_close(jacobian_kernel(f, params, x, y, block=4), j @ k.mT)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_jacobian_is_autograd_s_sample_by_sample(name: str) -> None:
    f, params, _, _ = split(name)
    x = draw(4, 5)
    leaves = {key: block.clone().requires_grad_() for key, block in params.items()}
    rows = [torch.autograd.grad(f(leaves, one[None]).sum(), list(leaves.values())) for one in x]
    expected = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(jacobian(f, params, x), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_with_the_kernel_need_no_kernel(name: str) -> None:
    f, params, _, _ = split(name)
    x, v = draw(15, 5), draw(15, 3, seed=2)
    theta = jacobian_kernel(f, params, x)
    torch.testing.assert_close(tangent_products(f, params, x, v), theta @ v)
    torch.testing.assert_close(tangent_products(f, params, x, v[:, 0]), theta @ v[:, 0])


@pytest.mark.parametrize("name", NETWORKS)
def test_outer_products_of_factors_are_the_kernel(name: str) -> None:
    f, params, drawn, network = split(name)
    x, y = draw(15, 5), draw(6, 5, seed=3)
    a, b = factors(network, drawn, x), factors(network, drawn, y)
    torch.testing.assert_close(a(a.rows, b.rows), jacobian_kernel(f, params, x, y))
    alpha = draw(15, 2, seed=4)
    torch.testing.assert_close(a.apply(b.rows, a.weights(a.rows, alpha)), a(b.rows, a.rows) @ alpha)


def test_what_several_maps_read_is_one_factor() -> None:
    _, _, drawn, network = split("quadratic_densenet")
    x, y = draw(15, 5), draw(300, 5, seed=3)
    found = factors(network, drawn, x)
    # x is read by both levels' maps of 3 neurons, h_2 by the upper one and the output, h_3 by the output alone.
    assert found.widths == ((6, 5), (4, 6), (1, 6))
    weights = found.weights(found.rows, draw(15, 2, seed=4))
    whole = found.apply(factors(network, drawn, y).rows, weights)
    torch.testing.assert_close(found.apply_pairs(pairs(network, drawn, y), weights), whole)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tangent_kernel_is_the_first_order_change_of_the_outputs(name: str) -> None:
    """One small gradient step along J'v moves the outputs by Θ v."""
    f, params, _, _ = split(name)
    x, v, step = draw(6, 5), draw(6, seed=5), 1e-6
    leaves = {key: block.clone().requires_grad_() for key, block in params.items()}
    along = torch.autograd.grad(f(leaves, x) @ v, list(leaves.values()))
    moved = {key: block + step * g for (key, block), g in zip(params.items(), along, strict=True)}
    change = (f(moved, x) - f(params, x)) / step
    torch.testing.assert_close(change, jacobian_kernel(f, params, x) @ v, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "linear"])
def test_an_activation_keeps_the_size_of_the_signal(name: str) -> None:
    assert ACTIVATIONS[name](draw(200_000)).square().mean().item() == pytest.approx(1, abs=0.02)
