"""What the choice of hyper-parameters is told: validation errors as exact as they decide."""

import pytest
import torch

from bfc_core.baselines.kernel_ridge import FINE, Scorer
from bfc_core.baselines.kernels import laplace, polynomial
from bfc_core.baselines.problem import Problem
from bfc_core.baselines.ridge import Square


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(noise: float) -> Problem:
    """A quadratic of 600 samples."""
    x = draw(600, 4)
    y = x[:, :1] * x[:, 1:2] + noise * draw(600, 1, seed=1)
    return Problem(x, y, x, y, variance=float(y.var()))


@pytest.mark.parametrize(("kernel", "noise"), [(polynomial(2, 1.0), 0.0), (laplace(1.0), 0.3)])
def test_a_score_beside_a_factor_is_that_of_its_own(
    kernel: object, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, penalties = problem(noise), (1e-4, 1e-5, 1e-6)
    factored: list[float] = []
    honest = Square.solve
    monkeypatch.setattr(
        Square, "solve", lambda self, penalty, y: factored.append(penalty) or honest(self, penalty, y)
    )
    scorer = Scorer(lambda _: kernel, given)  # type: ignore[arg-type,return-value]
    scores = [scorer.error({"penalty": penalty}) for penalty in penalties]
    fine = scores[0] < FINE
    assert fine == (noise == 0)
    # An error of next to nothing is made of the very digits that an estimate leaves out.
    assert set(factored) == set(penalties if fine else penalties[:1])
    alone = [Scorer(lambda _: kernel, given).error({"penalty": penalty}) for penalty in penalties]  # type: ignore[arg-type,return-value]
    assert scores == pytest.approx(alone, rel=1e-6 if fine else 1e-4)


def test_a_grid_is_screened_on_the_first_samples_by_one_kernel_or_by_many() -> None:
    given = problem(0.3)
    one = Scorer(lambda _: laplace(1.0), given).screened({"penalty": 0.1}, (0.1, 1.0))
    many = Scorer(lambda values: laplace(values["bandwidth"]), given).screened(
        {"bandwidth": 1.0, "penalty": 0.1}, (0.1, 1.0)
    )
    assert one == pytest.approx(many, rel=1e-9)
