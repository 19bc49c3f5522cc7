"""Laws of the similarities: identity, bounds, declared invariances, worked cases, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfc_core.measures import (
    MEASURES,
    Stack,
    Undefined,
    cca,
    cka,
    cka_of_grams,
    cka_pairs,
    compare,
    effective_rank,
    jsonable,
    participation_ratio,
    procrustes,
    pwcca,
    subspace_angles,
    svcca,
)

Array = np.ndarray
seeds = st.integers(0, 10_000)
law = settings(max_examples=15, deadline=None)

PAIRS = {name: measure for name, measure in MEASURES.items() if name != "ridge"}


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def related(seed: int) -> tuple[Array, Array]:
    """Two representations (80, 6) and (80, 5) that share some of their directions."""
    x = draw(80, 6, seed=seed) * np.array([3, 2, 2, 1, 1, 0.5])
    y = x[:, :4] @ draw(4, 5, seed=seed + 1) + draw(80, 5, seed=seed + 2)
    return x, y


def orthogonal(n: int, seed: int) -> Array:
    return np.linalg.qr(draw(n, n, seed=seed))[0]


def transformed(x: Array, how: str, seed: int) -> Array:
    d = x.shape[1]
    if how == "orthogonal":
        return x @ orthogonal(d, seed)
    if how == "scaling":
        return -3.7 * x
    if how == "translation":
        return x + 10 * draw(1, d, seed=seed)
    if how == "permutation":
        return x[:, np.random.default_rng(seed).permutation(d)]
    assert how == "invertible linear"
    return x @ (draw(d, d, seed=seed) + 4 * np.eye(d))


def value(measure: str, x: Array, y: Array) -> float:
    found = compare(measure, [x], [y])[0][0]
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("name", PAIRS)
@law
@given(seed=seeds)
def test_a_representation_is_fully_similar_to_itself(name: str, seed: int) -> None:
    x, _ = related(seed)
    assert value(name, x, x) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("name", "how"), [(m.name, how) for m in PAIRS.values() for how in m.invariant_to])
@law
@given(seed=seeds)
def test_a_measure_has_its_declared_invariances_on_both_sides(name: str, how: str, seed: int) -> None:
    x, y = related(seed)
    plain = value(name, x, y)
    assert value(name, transformed(x, how, seed + 3), y) == pytest.approx(plain, abs=1e-7)
    assert value(name, x, transformed(y, how, seed + 4)) == pytest.approx(plain, abs=1e-7)


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in ("cka", "ridge")])
@law
@given(seed=seeds)
def test_a_similarity_lies_between_nought_and_one(name: str, seed: int) -> None:
    assert -1e-12 <= value(name, *related(seed)) <= 1 + 1e-12


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "pwcca"])
def test_all_but_pwcca_are_symmetric(name: str) -> None:
    x, y = related(1)
    assert value(name, x, y) == pytest.approx(value(name, y, x), abs=1e-12)


def test_cka_is_not_invariant_to_an_invertible_map_as_kornblith_wants_it() -> None:
    x, y = related(2)
    assert abs(value("cka", transformed(x, "invertible linear", 5), y) - value("cka", x, y)) > 1e-3


@pytest.mark.parametrize("debiased", [True, False])
@law
@given(seed=seeds)
def test_cka_is_one_number_from_features_and_from_gram_matrices(debiased: bool, seed: int) -> None:
    x, y = related(seed)
    by_features, by_grams = cka(x, y, debiased=debiased), cka_of_grams(x @ x.T, y @ y.T, debiased=debiased)
    assert by_features == pytest.approx(by_grams, abs=1e-10)


def test_biased_cka_is_its_definition() -> None:
    x, y = related(3)
    h = np.eye(80) - 1 / 80
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h  # noqa: E741
    assert cka(x, y, debiased=False) == pytest.approx(np.sum(k * l) / np.sqrt(np.sum(k * k) * np.sum(l * l)))


def test_debiased_cka_is_the_unbiased_estimator_of_song_et_al() -> None:
    x, y = related(4)
    n = len(x)

    def hsic(a: Array, b: Array) -> float:
        k, l = a @ a.T, b @ b.T  # noqa: E741
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        one = np.ones(n)
        middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return float((np.trace(k @ l) + middle - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3)))

    assert cka(x, y) == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)))


def test_debiasing_removes_what_unrelated_wide_features_share_by_chance() -> None:
    found = [
        [float(cka(draw(40, 60, seed=s), draw(40, 60, seed=s + 1), debiased=d)) for s in range(0, 60, 2)]
        for d in (True, False)
    ]  # type: ignore[arg-type]
    assert abs(np.mean(found[0])) < 0.02
    assert np.mean(found[1]) > 0.5


def test_means_do_not_count_as_similarity() -> None:
    """A known fault elsewhere: without centring a common offset makes anything similar."""
    x, y = draw(200, 5), draw(200, 5, seed=1)
    for name in ("cka", "cka_biased", "svcca", "procrustes"):
        assert value(name, x + 100, y + 100) == pytest.approx(value(name, x, y), abs=1e-6)


def test_a_small_batch_is_answered_with_a_reason_and_never_nan() -> None:
    """A known fault elsewhere: the unbiased estimator divides by n − 3."""
    for n in (1, 2, 3):
        found = cka(draw(n, 4), draw(n, 4, seed=1))
        assert isinstance(found, Undefined)
        assert jsonable(found).startswith("undefined: ")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("bad", ["constant", "nan", "infinite"])
def test_degenerate_features_are_answered_with_a_reason(name: str, bad: str) -> None:
    x = np.full((40, 3), 1e6) if bad == "constant" else draw(40, 3)
    if bad != "constant":
        x[3, 1] = np.nan if bad == "nan" else np.inf
    found = compare(name, [x], [draw(40, 4, seed=1)])[0][0]
    assert isinstance(found, Undefined)


@pytest.mark.parametrize("measure", [cca, pwcca])
def test_canonical_correlations_are_refused_where_anything_would_correlate(measure: object) -> None:
    assert isinstance(measure(draw(10, 10), draw(10, 4, seed=1)), Undefined)  # type: ignore[operator]
    assert isinstance(measure(draw(11, 10), draw(11, 4, seed=1)), float)  # type: ignore[operator]


def test_svcca_answers_wide_features_that_a_few_components_hold() -> None:
    core = draw(50, 3)
    x, y = core @ draw(3, 100, seed=1), core @ draw(3, 80, seed=2)
    assert svcca(x, y) == pytest.approx(1)
    assert isinstance(svcca(draw(20, 100), draw(20, 100, seed=1)), Undefined)


def test_svcca_finds_the_share_of_directions_held_in_common() -> None:
    shared = np.linalg.qr(draw(4000, 6))[0]
    assert svcca(shared[:, :4], shared[:, 2:], keep=1.0) == pytest.approx(0.5, abs=0.03)


def test_pwcca_is_its_definition_on_a_worked_case() -> None:
    """x holds a direction a (in two neurons, large) and b (small); y holds a alone and an unrelated c."""
    basis = np.linalg.qr(np.column_stack([np.ones(9), draw(9, 3, seed=1)]))[0][:, 1:]
    a, b, c = basis.T
    x = np.column_stack([5 * a, 3 * a + 0.1 * b])
    y = np.column_stack([a, c])
    # Variates: h_1 = a with ρ = 1, |<a, 5a>| + |<a, 3a + .1b>| = 8; h_2 = b with ρ = 0, 0 + .1 = .1.
    assert pwcca(x, y) == pytest.approx(8 / 8.1)


def test_pwcca_weighs_by_the_neurons_of_its_first_argument() -> None:
    """A known fault elsewhere: weights from the other, or from principal components."""
    x, y = related(6)
    cx, cy = x - x.mean(0), y - y.mean(0)
    qx, qy = np.linalg.qr(cx)[0], np.linalg.qr(cy)[0]
    u, rho, _ = np.linalg.svd(qx.T @ qy, full_matrices=False)
    weights = np.abs((qx @ u).T @ cx).sum(1)
    assert pwcca(x, y) == pytest.approx(float(weights @ rho / weights.sum()))
    assert pwcca(x, y) != pytest.approx(pwcca(y, x), abs=1e-4)


def test_procrustes_is_one_less_half_the_squared_distance_after_the_best_rotation() -> None:
    x, y = related(7)[0], related(7)[1] @ draw(5, 6, seed=9)
    a, b = ((z - z.mean(0)) / np.linalg.norm(z - z.mean(0)) for z in (x, y))
    u, _, vt = np.linalg.svd(a.T @ b)
    distance = np.sum((a @ u @ vt - b) ** 2)
    assert procrustes(x, y) == pytest.approx(1 - distance / 2)


def test_subspace_angles_are_those_of_a_plane_turned_by_a_known_angle() -> None:
    basis = np.linalg.qr(np.column_stack([np.ones(30), draw(30, 3, seed=2)]))[0][:, 1:]
    a, b, c = basis.T
    x = np.column_stack([a, b])
    y = np.column_stack([a, np.cos(0.3) * b + np.sin(0.3) * c])
    np.testing.assert_allclose(subspace_angles(x, y, rank=2), [0, 0.3], atol=1e-7)
    assert isinstance(subspace_angles(x, y, rank=3), Undefined)


def test_effective_rank_counts_equal_directions() -> None:
    q = np.linalg.qr(np.column_stack([np.ones(50), draw(50, 5)]))[0][:, 1:]
    assert effective_rank(q) == pytest.approx(5)
    assert participation_ratio(7 * q[:, :3]) == pytest.approx(3)
    assert isinstance(effective_rank(np.ones((9, 3))), Undefined)
    assert isinstance(participation_ratio(np.full((9, 3), np.nan)), Undefined)


@law
@given(seed=seeds)
def test_effective_rank_is_unchanged_by_rotation_scaling_and_translation(seed: int) -> None:
    x, _ = related(seed)
    plain = effective_rank(x)
    for how in ("orthogonal", "scaling", "translation"):
        assert effective_rank(transformed(x, how, seed)) == pytest.approx(plain)


def test_layers_on_different_inputs_are_not_compared() -> None:
    for name in MEASURES:
        with pytest.raises(ValueError, match=r"inputs|equal n|target"):
            compare(name, [draw(10, 3)], [draw(11, 3)])


def test_layers_in_float32_compare_as_in_float64_to_six_digits() -> None:
    draws = np.random.default_rng(0)
    scales = (1e-12, 1.0, 1e12)
    layers = [scale * (draw(64, 80, seed=s) + draws.normal(size=80)) for s, scale in enumerate(scales)]
    single = [layer.astype(np.float32) for layer in layers]
    for debiased in (True, False):
        stacks = [
            Stack.of_features([one.astype(kind) for one in single]) for kind in (np.float32, np.float64)
        ]
        near, exact = (np.array(cka_pairs(one.as_grams(), one, debiased=debiased), float) for one in stacks)
        np.testing.assert_allclose(near, exact, atol=1e-6)
        assert np.diag(near) == pytest.approx(1.0)
