"""Laws of random features: what they are, and the few numbers that stand for many squares."""

import pytest
import torch

from bfc_core.baselines.random_features import WORTH, features_of


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("features", "numbers"), [(10 * WORTH - 1, 10 * WORTH - 1), (10 * WORTH, 10)])
def test_many_squares_of_few_inputs_are_few_numbers_with_the_same_products(
    features: int, numbers: int
) -> None:
    w, b, x, y = draw(3, features), draw(features, seed=1), draw(20, 3, seed=2), draw(9, 3, seed=3)
    found = features_of(w, b, "quadratic")
    assert found(x, None).shape == (20, numbers)
    squares = (x @ w + b).square(), (y @ w + b).square()
    torch.testing.assert_close(
        found(x, None) @ found(y, torch.empty(9, numbers).double()).mT, squares[0] @ squares[1].mT
    )


def test_a_rectifier_is_its_features() -> None:
    w, b, x = draw(3, 200), draw(200, seed=1), draw(20, 3, seed=2)
    torch.testing.assert_close(features_of(w, b, "relu")(x, None), (x @ w + b).clamp_min(0))
