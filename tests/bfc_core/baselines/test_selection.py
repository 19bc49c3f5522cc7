"""Laws of the choice of hyper-parameters."""

import math

import pytest

from bfc_core.baselines.selection import BEYOND, Axis, Search, descend, grid_cells, most_regular, moves

PENALTY = Axis("penalty", (1e-3, 1e-2, 1e-1))
WIDTH = Axis("bandwidth", (0.5, 1.0, 2.0))


def search(axes: list[Axis], best: dict[str, float], start: tuple[int, ...] = ()) -> Search:
    """Descend on a bowl in log space with its bottom at `best`."""
    found = Search(axes)

    def score(values: dict[str, float]) -> float:
        return 1 + sum(math.log10(values[name] / best[name]) ** 2 for name in best)

    list(descend(found, start or (1,) * len(axes), 100, score))
    return found


def test_the_bottom_of_a_bowl_inside_the_grid_is_found() -> None:
    found = search([WIDTH, PENALTY], {"bandwidth": 2.0, "penalty": 1e-3})
    assert found.chosen() == {"bandwidth": 2.0, "penalty": 1e-3}
    assert not found.on_edge


def test_a_best_cell_on_the_edge_extends_the_grid() -> None:
    found = search([PENALTY], {"penalty": 1e-5})
    assert found.chosen()["penalty"] == pytest.approx(1e-5)
    assert not found.on_edge


def test_a_best_cell_beyond_all_extensions_is_marked() -> None:
    found = search([PENALTY], {"penalty": 1e-30})
    assert found.chosen()["penalty"] == pytest.approx(1e-3 * 10.0**-BEYOND)
    assert found.on_edge


def test_a_single_value_is_a_choice_and_no_edge() -> None:
    found = search([Axis("bandwidth", (1.0,)), PENALTY], {"bandwidth": 8.0, "penalty": 1e-2}, (0, 1))
    assert found.chosen() == {"bandwidth": 1.0, "penalty": 1e-2}
    assert not found.on_edge


def test_no_penalty_at_all_is_an_end_and_no_edge() -> None:
    found = Search([Axis("penalty", (0.0, 1e-3, 1e-2))])
    list(descend(found, (1,), 100, lambda values: values["penalty"]))
    assert found.chosen() == {"penalty": 0.0}
    assert not found.on_edge


def test_a_valley_aslant_in_the_grid_is_followed() -> None:
    axes = [
        Axis("bandwidth", tuple(10.0**i for i in range(6))),
        Axis("penalty", tuple(10.0**i for i in range(-6, 1))),
    ]
    found = Search(axes)

    def score(values: dict[str, float]) -> float:
        along, across = (
            math.log10(values["bandwidth"] / 1e4),
            math.log10(values["bandwidth"] * values["penalty"]),
        )
        return 1 + 0.1 * along**2 + 10 * across**2

    list(descend(found, (0, 6), 100, score))
    assert found.chosen() == pytest.approx({"bandwidth": 1e4, "penalty": 1e-4})


def test_neighbours_of_one_kernel_are_scored_in_turn() -> None:
    assert moves(1) == [(1,), (-1,)]
    assert moves(2) == [(0, 1), (0, -1), (1, 0), (1, -1), (-1, 0), (-1, 1)]


def test_noise_on_a_plateau_moves_nothing() -> None:
    found = Search([PENALTY])
    list(descend(found, (1,), 100, lambda values: 1 - 1e-6 * math.log10(1 / values["penalty"])))
    assert found.best == (1,)


def test_cells_that_cannot_be_fitted_are_never_chosen() -> None:
    found = Search([PENALTY])
    list(descend(found, (1,), 100, lambda values: math.nan if values["penalty"] < 1e-2 else 1.0))
    assert found.best == (1,)
    assert [row[-1] for row in found.table().rows].count(None) == 1


def test_among_equals_the_largest_penalty_is_chosen() -> None:
    assert most_regular({(0, 0): 1.0, (0, 2): 1.0005, (1, 1): 1.0, (1, 2): 1.2}) == (0, 2)


def test_every_cell_of_the_stated_grid_is_listed_once() -> None:
    cells = list(grid_cells([WIDTH, PENALTY]))
    assert len(cells) == len(set(cells)) == 9


def test_no_cell_is_scored_twice() -> None:
    found = search([WIDTH, PENALTY], {"bandwidth": 0.5, "penalty": 1e-1})
    places = [row[:2] for row in found.rows]
    assert len(places) == len(set(places))


def test_a_start_without_a_fit_moves_to_the_first_penalty_that_has_one() -> None:
    axes = [Axis("bandwidth", (1.0, 2.0)), Axis("penalty", tuple(10.0**e for e in range(-9, 2)))]
    found = Search(axes)

    def score(values: dict[str, float]) -> float:
        return math.inf if values["penalty"] < 1e-6 else 1 + values["penalty"]

    list(descend(found, (1, 0), 100, score))
    assert found.error < 1.01
    assert found.chosen()["penalty"] == pytest.approx(1e-6)
