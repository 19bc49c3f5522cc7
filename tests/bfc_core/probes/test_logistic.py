"""Laws of logistic probes: the optimum of every penalty, the penalty that is chosen, and features that are ill."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from bfc_core.probes.logistic import (
    CHOOSING,
    PENALTIES,
    TOLERANCE,
    Probes,
    _Held,
    _Losses,
    _Path,
    _recursion,
    _watched,
    basis,
    choose_logistic,
    fit_logistic,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(
    n: int = 900, d: int = 6, c: int = 4, apart: float = 2.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rectified float32 features (n, d) of very unequal sizes and correlations, and labels (n,)."""
    labels = torch.randint(0, c, (n,), generator=torch.Generator().manual_seed(seed))
    z = apart * draw(c, d, seed=seed + 1)[labels] / math.sqrt(d) + draw(n, d, seed=seed + 2)
    z = (z @ draw(d, d, seed=seed + 3) / math.sqrt(d) + 0.3).clamp_min(0)
    return (z * draw(d, seed=seed + 4).exp()).float(), labels


def standard(z: torch.Tensor) -> torch.Tensor:
    z = z.double()
    return (z - z.mean(0)) / z.std(0, correction=0)


def optimum(x: torch.Tensor, labels: torch.Tensor, penalty: float) -> tuple[float, torch.Tensor]:
    """The least objective of the penalised multinomial fit of x (n, d), in float64, and logits (n, c) there."""
    c = int(labels.max()) + 1
    w, b = x.new_zeros(x.shape[1], c).requires_grad_(), x.new_zeros(c).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [w, b],
        max_iter=2000,
        max_eval=4000,
        tolerance_grad=1e-7,
        tolerance_change=1e-13,
        history_size=30,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(x @ w + b, labels) + 0.5 * penalty * w.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(closure().detach()), (x @ w + b).detach()


def objectives(
    found: Probes, z: torch.Tensor, labels: torch.Tensor, penalties: tuple[float, ...]
) -> list[float]:
    held = 0.5 * torch.tensor(penalties) * found.weights.square().sum((1, 2))
    entropies = [cross_entropy(one.double(), labels) for one in found.logits(z)]
    return [float(a + b) for a, b in zip(entropies, held, strict=True)]


@pytest.mark.parametrize(
    ("n", "d", "c", "apart"), [(900, 6, 4, 2), (1500, 40, 10, 6), (400, 80, 5, 4), (60, 90, 3, 2)]
)
def test_every_penalty_reaches_its_optimum(n: int, d: int, c: int, apart: float) -> None:
    z, labels = layer(n, d, c, apart)
    penalties = (1e-1, 1e-4, 1e-2)
    for penalty, found in zip(
        penalties, objectives(fit_logistic(z, labels, c, penalties), z, labels, penalties), strict=True
    ):
        least, _ = optimum(standard(z), labels, penalty)
        assert -1e-6 < found / least - 1 < 20 * TOLERANCE


def test_probabilities_are_those_of_the_optimum() -> None:
    z, labels = layer()
    found = fit_logistic(z, labels, 4, [1e-3, 1.0]).logits(z)[0].softmax(1)
    assert (optimum(standard(z), labels, 1e-3)[1].softmax(1) - found).abs().max() < 0.01


def test_a_fit_does_not_depend_on_the_penalties_beside_it() -> None:
    z, labels = layer(600, 20, 4)
    alone, beside = (
        objectives(fit_logistic(z, labels, 4, g), z, labels, g) for g in ((1e-3,), (1e-3, 1.0, 1e-5))
    )
    assert beside[0] == pytest.approx(alone[0], rel=10 * TOLERANCE)


@pytest.mark.parametrize("seed", range(5))
def test_the_chosen_penalty_finds_held_out_labels_as_the_best_one_does(seed: int) -> None:
    """Up to near ties: fits that have not settled to the last digit differ in few held-out labels."""
    n, split = 2500, 2000
    z, labels = layer(n, 200, 5, apart=2, seed=seed)
    fits = fit_logistic(z[:split], labels[:split], 5, PENALTIES, tolerance=1e-8)
    exact = fits.accuracy(z[split:], labels[split:])
    chosen = choose_logistic(z, labels, 5)
    assert exact.max() - exact.min() > 0.02
    assert exact.max() - exact[PENALTIES.index(chosen.penalty)] <= 0.01
    assert chosen.validation_accuracy == pytest.approx(
        float(exact[PENALTIES.index(chosen.penalty)]), abs=0.01
    )


def test_of_equals_the_largest_penalty_is_chosen() -> None:
    labels = torch.arange(300) % 3
    z = 10 * torch.nn.functional.one_hot(labels, 3).float() + 0.1 * draw(300, 3).float()
    assert choose_logistic(z, labels, 3, (1e-3, 1e-2, 1e-1)).penalty == 1e-1


def test_penalties_far_below_the_best_do_not_change_the_choice() -> None:
    z, labels = layer(400, 150, 4, apart=1.5, seed=3)
    plain, more = (
        choose_logistic(z, labels, 4, g) for g in ((1.0, 0.1, 0.01), (1.0, 0.1, 0.01, 1e-4, 1e-6, 1e-8, 0.0))
    )
    assert plain.penalty == more.penalty
    assert torch.equal(plain.probes.weights, more.probes.weights)


def test_a_penalty_is_given_up_only_when_labels_are_fewer_and_less_likely() -> None:
    all_found, likely = torch.ones(100, dtype=torch.bool), torch.full((100,), -0.1)
    few_found, unlikely = torch.arange(100) > 10, torch.full((100,), -0.2) + 1e-3 * torch.arange(100)
    best = _Held(all_found, likely)
    assert _Held(few_found, unlikely).worse_than(best)
    assert not _Held(all_found, unlikely).worse_than(best)
    assert not _Held(few_found, likely).worse_than(best)
    assert not best.worse_than(best)


def test_a_penalty_is_given_up_before_it_has_settled() -> None:
    z, labels = layer(2500, 200, 5, apart=2)
    turned = basis(z[:2000])
    centred = z - turned.mean
    path = _Path(_Losses(centred[:2000], turned, labels[:2000], 5))
    path.move(0.1)
    most = _watched(path, centred[2000:], labels[2000:], None)
    assert next(path.descend()) <= CHOOSING
    path.move(1e-6)
    assert _watched(path, centred[2000:], labels[2000:], most).worse_than(most)
    assert next(path.descend()) > CHOOSING


def test_the_chosen_penalty_is_refitted_on_all_samples() -> None:
    z, labels = layer(1000, 20, 4)
    chosen = choose_logistic(z, labels, 4, (1e-2,))
    turned = chosen.probes.basis
    x = ((z - turned.mean) @ turned.turn).double()
    least, _ = optimum(x, labels, 1e-2)
    assert -1e-6 < objectives(chosen.probes, z, labels, (1e-2,))[0] / least - 1 < 10 * TOLERANCE


def test_probes_do_not_see_scale_or_dead_and_doubled_features() -> None:
    z, labels = layer()
    odd = torch.cat(
        [z * torch.tensor([1e-4, 1, 1, 1e3, 1, 1]) + 7, torch.ones(len(z), 1), z[:, :1]], dim=1
    ).double()
    assert basis(odd).turn.shape == (8, 6)
    plain, other = (
        choose_logistic(x[:600], labels[:600], 4).accuracy(x[600:], labels[600:]) for x in (z, odd)
    )
    assert other == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize("penalties", [PENALTIES, (1e-2, 0.0)])
def test_fewer_samples_than_features_are_no_obstacle(penalties: tuple[float, ...]) -> None:
    z, labels = layer(50, 200, 3, apart=30)
    assert basis(z).turn.shape == (200, 49)
    found = fit_logistic(z, labels, 3, penalties)
    assert found.weights.isfinite().all()
    assert found.accuracy(z, labels).min() == 1
    assert choose_logistic(z[:40], labels[:40], 3, penalties).accuracy(z[40:], labels[40:]) > 0.7


@pytest.mark.parametrize("lacking", [slice(0, 400), slice(400, 500)])
def test_a_class_may_be_missing_where_is_fitted_or_held_out(lacking: slice) -> None:
    z, labels = layer(600, 8, 4, apart=6)
    labels[lacking] = labels[lacking] % 3
    chosen = choose_logistic(z[:500], labels[:500], 4)
    assert chosen.probes.weights.isfinite().all()
    assert chosen.accuracy(z[500:], labels[500:]) > 0.5


def test_a_layer_that_is_dead_predicts_the_commonest_class() -> None:
    labels = (torch.arange(400) % 10 == 0).long()
    chosen = choose_logistic(torch.zeros(400, 3), labels, 2)
    assert chosen.accuracy(torch.zeros(400, 3), labels) == pytest.approx(0.9)


def test_a_fit_that_can_not_fall_any_further_ends() -> None:
    z, labels = layer(300, 10, 4)
    found = objectives(fit_logistic(z, labels, 4, (1e-2,), tolerance=0.0), z, labels, (1e-2,))
    assert found[0] == pytest.approx(optimum(standard(z), labels, 1e-2)[0], rel=1e-6)


def test_the_same_samples_give_the_same_bits() -> None:
    z, labels = layer(700, 33, 5)
    one, other = (choose_logistic(z.clone(), labels.clone(), 5).probes for _ in range(2))
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.intercepts, other.intercepts)


def losses(n: int = 900, d: int = 6, c: int = 4) -> tuple[_Losses, torch.Tensor, torch.Tensor]:
    z, labels = layer(n, d, c)
    z = z.double()
    turned = basis(z)
    return _Losses(z - turned.mean, turned, labels, c), (z - turned.mean) @ turned.turn, labels


@pytest.mark.parametrize("size", [0.1, 30.0, 3000.0])
def test_value_and_gradient_are_those_of_the_cross_entropy(size: float) -> None:
    """Also over several parts, and where exponentials of the logits would not be finite."""
    found, x, labels = losses(9000, 60)
    assert len(found.parts) > 1
    w = (size * draw(4, 61)).requires_grad_()
    expected = cross_entropy(x @ w[:, 1:].mT + w[:, 0], labels)
    value, gradient = found(w.detach())
    assert value == pytest.approx(float(expected.detach()), rel=1e-9)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, w)[0])


def test_the_gradient_at_weights_zero_is_known_without_a_look() -> None:
    found, _, _ = losses()
    value, gradient = found.at_zero()
    looked = found(torch.zeros_like(gradient))
    assert value == pytest.approx(looked[0])
    torch.testing.assert_close(gradient, looked[1])


def test_another_penalty_changes_what_is_known_as_a_look_would() -> None:
    path = _Path(losses()[0])
    path.move(0.1)
    path.settle(1e-3)
    before = path.weights - path.steps[-1], path.weights
    path.move(0.003)
    value, gradient = path._look(path.weights)
    assert path.value == pytest.approx(value)
    torch.testing.assert_close(path.gradient, gradient)
    there, here = (path._look(w)[1] for w in before)
    torch.testing.assert_close(path.changes[-1], here - there)


def test_the_objective_never_rises() -> None:
    """Where heavy tails make steps fail, too."""
    z, labels = layer(300, 20, 10, apart=8)
    z = z**3
    turned = basis(z)
    path = _Path(_Losses(z - turned.mean, turned, labels, 10))
    for penalty in (1e-1, 1e-3, 1e-5, 0.0):
        path.move(penalty)
        values, failed = [path.value], 0
        for promise in path.descend():
            values.append(path.value)
            failed = max(failed, path.failures)
            if promise < 1e-6:
                break
        assert values == sorted(values, reverse=True)
        assert values[-1] < values[0]


def test_the_recursion_is_the_matrix_update() -> None:
    """Nocedal's product form of the inverse Hessian, written out."""
    s, bend, g = draw(3, 7), draw(7, 7, seed=1), draw(7, seed=2)
    y = s @ (bend @ bend.mT + torch.eye(7))
    inverse = (s[-1] @ y[-1]) / (y[-1] @ y[-1]) * torch.eye(7).double()
    for a, b in zip(s, y, strict=True):
        left = torch.eye(7).double() - torch.outer(a, b) / (a @ b)
        inverse = left @ inverse @ left.mT + torch.outer(a, a) / (a @ b)
    known = torch.cat([s, y, g[None]])
    step = torch.tensor(_recursion((known @ known.mT).tolist())).double() @ known
    torch.testing.assert_close(step, inverse @ g)
