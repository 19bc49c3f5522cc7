"""A baseline job from its spec to its result."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from bfc_core.baselines import networks, problem
from bfc_core.baselines.fitted import Fitted, run_baseline
from bfc_core.baselines.problem import FRESH_SAMPLES, problem_of
from bfc_core.baselines.recursive_feature_machine import gradient_metric, recursion
from bfc_core.baselines.selection import Axis, Search
from bfc_core.records import Progress, Result
from bfc_core.registry import deed_of, has_deed
from bfc_core.specs import BaselineSpec, TrainSpec, baseline, dump, words
from bfc_core.specs.baseline import LEARNERS
from bfc_core.targets.base import Teacher
from bfc_core.targets.samples import teacher_of, training_set

CPU = torch.device("cpu")


def spec(samples: int = 600, **body: object) -> BaselineSpec:
    data = {"kind": "hierarchical", "samples": samples, "test_samples": 1000}
    return BaselineSpec.model_validate({"data": data, **body})


def result(one: BaselineSpec) -> Result:
    *others, last = run_baseline(one)
    *begun, end = [record for record in others if isinstance(record, Progress)]
    assert begun
    assert end.done == end.total, "a list of jobs would show a finished one as unfinished"
    assert isinstance(last, Result)
    return last


def test_a_baseline_sees_the_samples_of_the_deep_learner() -> None:
    one = spec(seed=3)
    deep = TrainSpec.model_validate({"data": one.data.model_dump(mode="json"), "seed": 3})
    x, y = training_set(deep, teacher_of(deep))
    given = problem_of(one, CPU)
    torch.testing.assert_close(given.x, x)
    torch.testing.assert_close(given.y, y)


def test_what_learners_share_is_drawn_once_and_nothing_else_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []

    def counted(one: BaselineSpec) -> Teacher:
        drawn.append(1)
        return teacher_of(one)

    monkeypatch.setattr(problem, "teacher_of", counted)
    monkeypatch.setattr(problem, "RECENT", problem.Recent())
    first, again = (problem_of(spec(samples=n, inputs_as="x_and_h1"), CPU) for n in (300, 600))
    assert len(drawn) == 1
    torch.testing.assert_close(first.x_test, again.x_test, rtol=0, atol=0)
    assert len(first.x) == 300
    assert len(again.x) == 600
    another = problem_of(spec(seed=1), CPU)
    noisy = spec(seed=1).data.model_copy(update={"label_noise": 0.5})
    with_noise = problem_of(BaselineSpec(data=noisy, seed=1), CPU)
    assert len(drawn) == 2
    assert not torch.equal(another.y, with_noise.y)
    torch.testing.assert_close(another.y_test, with_noise.y_test, rtol=0, atol=0)


def test_no_more_test_sets_are_kept_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = problem.Recent()
    one = recent.asked(spec(seed=0))
    assert recent.asked(spec(seed=0)) is one
    monkeypatch.setattr(problem, "KEPT_BYTES", one.bytes)
    recent.asked(spec(seed=1))
    assert recent.asked(spec(seed=0)) is not one
    monkeypatch.setattr(problem, "KEPT_BYTES", one.bytes - 1)
    assert recent.asked(spec(seed=2)) is not recent.asked(spec(seed=2))


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_leaves_the_data_as_it_was(learner: str) -> None:
    one = spec(samples=60, baseline=dump(LEARNERS[learner][1]), dtype="float64")
    given = problem_of(one, CPU)
    copies = [part.clone() for part in (given.x, given.y, given.x_test, given.y_test)]
    fit(one, given).predict(given.x_test)
    for part, copy in zip((given.x, given.y, given.x_test, given.y_test), copies, strict=True):
        assert torch.equal(part, copy)


def test_the_squares_are_given_free_when_asked() -> None:
    problem = problem_of(spec(inputs_as="x_and_h1"), CPU)
    assert problem.x.shape == (600, 40)
    assert problem.x[:, 20:].var() == pytest.approx(1, abs=0.05)


def test_a_fifth_of_the_samples_validates() -> None:
    problem = problem_of(spec(), CPU)
    assert len(problem.fit_part()[0]) == 480
    assert len(problem.validation_part()[0]) == 120


def test_the_choice_does_not_see_the_test_set() -> None:
    one = spec()
    problem = problem_of(one, CPU)
    hidden = replace(problem, x_test=problem.x_test * 0, y_test=problem.y_test + 7)
    grids = [fit(one, each).grid for each in (problem, hidden)]
    assert grids[0] == grids[1]


def fit(one: BaselineSpec, problem: object) -> Fitted:
    found: list[Fitted] = []

    def collect() -> Iterator[Progress]:
        found.append((yield from deed_of(one.baseline)(one.baseline, problem)))

    list(collect())
    return found[0]


@pytest.mark.parametrize("inputs_as", ["x", "x_and_h1"])
def test_a_radial_kernel_does_not_learn_the_hierarchical_target(inputs_as: str) -> None:
    found = result(spec(samples=2000, inputs_as=inputs_as, seed=5))
    assert 0.3 <= found.summary["relative_test_error"] <= 1.1
    assert found.summary["learner"] == "kernel_ridge/rbf"
    assert isinstance(found.summary["grid_edge"], bool)
    assert found.summary["cpu_seconds"] > 0


def test_a_result_is_the_same_twice_but_for_its_timing() -> None:
    first, second = (result(spec(seed=2)) for _ in range(2))
    for summary in (first.summary, second.summary):
        summary.pop("cpu_seconds")
    assert first == second


SMALL = (
    {"kind": "kernel_ridge", "kernel": "laplace"},
    {"kind": "kernel_ridge", "kernel": "polynomial"},
    {"kind": "kernel_ridge", "kernel": "arc_cosine"},
    {"kind": "kernel_ridge", "kernel": "ntk"},
    {"kind": "tangent_kernel", "width": 64},
    {"kind": "tangent_kernel", "network": "quadratic_densenet", "width": 6},
    {"kind": "random_features", "features": 300},
    {"kind": "random_features", "activation": "quadratic", "features": 300},
    {"kind": "two_layer", "width": 32, "steps": 200},
    {"kind": "two_layer", "activation": "quadratic", "width": 32, "steps": 200},
    {"kind": "mlp", "width": 32, "steps": 200},
    {"kind": "recursive_feature_machine", "iterations": 2, "bandwidths": [1.0, 4.0]},
)


@pytest.mark.parametrize("baseline", SMALL, ids=lambda one: "/".join(str(v) for v in one.values()))
def test_every_learner_gives_errors_and_the_grid_they_were_chosen_from(baseline: dict[str, object]) -> None:
    found = result(spec(samples=300, baseline=baseline, inputs_as="x_and_h1"))
    assert 0 < found.summary["relative_test_error"] < 2
    assert 0 < found.summary["validation_error"] < 2
    table = found.tables["grid"]
    assert [column.name for column in table.columns][-2:] == ["samples", "validation_error"]
    scored = [row[-1] for row in table.rows if row[-2] == 240 and row[-1] is not None]
    assert found.summary["validation_error"] in scored


def test_every_baseline_of_the_language_has_a_deed() -> None:
    assert [word.__name__ for part, _, word in words() if part == "baseline" and not has_deed(word)] == []


def test_the_feature_machine_finds_the_directions_that_matter() -> None:
    x = torch.randn(600, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.sin(2 * x[:, :1]) * x[:, 1:2]
    *_, (root, _) = recursion(x, y, 2.0, 1e-3, 3)
    metric = root @ root
    assert metric.diagonal()[:2].sum() > 0.8 * metric.trace()


def test_the_gradient_metric_is_that_of_the_fitted_function() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    *_, (root, machine) = recursion(x, x[:, :1] ** 2, 1.5, 1e-2, 1)
    points = (x + 1e-9).requires_grad_()
    distances = torch.cdist(points @ root, machine.points)
    others = 1 - torch.eye(40, dtype=torch.float64)
    values = (torch.exp(-distances / (1.5 * 3**0.5)) * others) @ machine.coefficients
    (gradients,) = torch.autograd.grad(values.sum(), points)
    found = gradient_metric(machine, root, 1.5)
    torch.testing.assert_close(found, gradients.mT @ gradients / 40, rtol=1e-4, atol=1e-8)


def test_as_many_labels_as_are_given_where_inputs_are_fresh() -> None:
    data = {"kind": "hierarchical", "samples": "fresh", "test_samples": 500}
    assert len(problem_of(BaselineSpec.model_validate({"data": data}), CPU).x) == FRESH_SAMPLES


def test_a_quadratic_target_is_fitted_in_float32_too() -> None:
    """Noise-free and in the kernel's reach, it asks for no penalty at all, which float32 cannot factor."""
    data = {"kind": "hierarchical", "input_dim": 3, "width": 3, "levels": 2, "gap": [-1.0], "samples": 77}
    body = {"data": {**data, "test_samples": 400}, "inputs_as": "x_and_h1", "dtype": "float32", "seed": 1}
    assert result(BaselineSpec.model_validate(body)).summary["relative_test_error"] < 0.5


def test_a_network_that_breaks_on_all_samples_gives_way_to_the_next_smaller_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = spec(baseline={"kind": "two_layer", "width": 16, "steps": 200, "rates": [0.01, 0.02, 0.04]})
    whole = result(one)
    best = whole.summary["chosen_rate"]
    scored = sorted(row[0] for row in whole.tables["grid"].rows)
    smaller = scored[scored.index(best) - 1]
    honest = networks.Trainer.fit

    def breaking(self, x, y, rates):  # type: ignore[no-untyped-def]
        predict = yield from honest(self, x, y, rates)
        broken = len(x) == 600 and rates == [best]
        return (lambda new: predict(new) + 100) if broken else predict

    monkeypatch.setattr(networks.Trainer, "fit", breaking)
    found = result(one)
    assert found.summary["chosen_rate"] == smaller
    errors = {row[0]: row[-1] for row in found.tables["grid"].rows}
    assert found.summary["validation_error"] == errors[smaller]
    assert found.summary["relative_test_error"] < 10


@pytest.mark.parametrize(
    ("kind", "said", "samples", "expected"),
    [
        ("mlp", {}, 400, (1000, 32)), ("mlp", {}, 3200, (1000, 64)), ("mlp", {}, 40, (100, 32)),
        ("mlp", {"batch": 64, "epochs": 10}, 400, (63, 64)), ("mlp", {"steps": 50}, 400, (50, 32)),
        ("two_layer", {}, 1600, (1000, 64)), ("two_layer", {}, 3200, (2000, 128)), ("two_layer", {}, 30, (40, 30)),
    ],
)  # fmt: skip
def test_few_samples_are_passed_over_a_bounded_number_of_times_in_small_batches(
    kind: str, said: dict[str, int], samples: int, expected: tuple[int, int]
) -> None:
    one = spec(baseline={"kind": kind, **said}).baseline
    assert isinstance(one, baseline.MlpBaseline | baseline.TwoLayerNetwork)
    assert baseline.fit_length(one, samples) == expected


def test_of_rates_that_do_as_well_the_smallest_is_taken() -> None:
    search = Search([Axis("rate", (0.01, 0.03, 0.09))])
    for step, error in enumerate([0.62, 0.502, 0.5]):
        search.record((step,), 100, error, final=True)
    assert networks._next(search) is None
    assert search.chosen() == {"rate": 0.03}
    search.record((2,), 100, 0.4, final=True)
    assert networks._next(search) == (3,), "clearly better on the edge: the grid goes on"
