"""Laws of the stacked networks whose gradient is written by hand."""

import pytest
import torch

from bfc_core.learners.perceptrons import Perceptrons, Shape, rate_factor, train

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


@pytest.mark.parametrize("activation", ["relu", "quadratic"])
def test_the_gradient_by_hand_is_autograd_s(activation: str) -> None:
    networks = Perceptrons(Shape((5, 7, 6, 2), activation), 3, seeded(), CPU)
    networks.values += 0.1 * draw(*networks.values.shape, seed=1)
    x, y = draw(3, 11, 5, seed=2), draw(3, 11, 2, seed=3)
    networks.gradient(x, y)
    leaf = networks.values.clone().requires_grad_()
    h = x
    layers = networks.shape.split(leaf)
    for i, (w, b) in enumerate(layers):
        h = h @ w + b
        if i < len(layers) - 1:
            h = h.clamp_min(0) if activation == "relu" else (h.square() - 1) / 2**0.5
    (h - y).square().sum(2).mean(1).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(networks.gradients, leaf.grad, rtol=1e-4, atol=1e-5)


def test_a_member_trains_as_it_would_alone() -> None:
    x, y = draw(1, 200, 4), draw(200, 1, seed=1)

    def trained(rates: list[float]) -> torch.Tensor:
        networks = Perceptrons(Shape((4, 8, 1)), len(rates), seeded(), CPU)
        list(train(networks, x, y, rates, 60, 32, seeded(5)))
        return networks.values

    torch.testing.assert_close(trained([0.1, 0.01])[1], trained([0.01])[0], rtol=1e-4, atol=1e-6)


def test_a_network_learns_what_it_can_represent() -> None:
    x = draw(2000, 3)
    y = x[:, :1].clamp_min(0) - x[:, 1:2]
    networks = Perceptrons(Shape((3, 32, 1)), 1, seeded(), CPU)
    list(train(networks, x[None], y, [0.02], 800, 64, seeded(1)))
    assert (networks(x)[0] - y).square().mean() < 0.01 * y.var()


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    factors = [rate_factor(i, 1000) for i in range(1, 1001)]
    assert max(factors) == 1.0
    assert factors[0] < 0.05
    assert factors[-1] == pytest.approx(0.01)


def test_a_step_is_adams_with_the_gradient_clipped_and_each_member_its_own_rate() -> None:
    rates, shape = [0.1, 0.001], Shape((4, 8, 1))
    networks = Perceptrons(shape, len(rates), seeded(), CPU)
    leaves = [values.clone().requires_grad_() for values in networks.values]
    adams = [torch.optim.Adam([leaf], rate, betas=(0.9, 0.99)) for leaf, rate in zip(leaves, rates, strict=True)]
    for number in range(1, 21):
        # Long gradients, short ones, and entries that never have any, as of a neuron that is dead.
        drawn = draw(*networks.values.shape, seed=number) * (10 if number % 3 else 0.01)
        drawn[:, ::5] = 0
        networks.gradients.copy_(drawn)
        networks.step(rates, number)
        for leaf, adam, gradient in zip(leaves, adams, drawn, strict=True):
            leaf.grad = gradient.clone()
            torch.nn.utils.clip_grad_norm_([leaf], 1.0)
            adam.step()
    for values, leaf in zip(networks.values, leaves, strict=True):
        torch.testing.assert_close(values, leaf.detach(), rtol=1e-4, atol=1e-6)
    assert not torch.equal(networks.values[0], networks.values[1])
