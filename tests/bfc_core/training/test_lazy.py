"""The end of lazy gradient flow is the closed form with the empirical tangent kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bfc_core.learners.linearised_program import LinearisedProgram
from bfc_core.records import Metric
from bfc_core.training import lazy
from bfc_core.training.checkpoints import Place
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.lazy import Flow, jacobian, solved
from bfc_core.training.plan import nodes_by_depth
from bfc_core.training.stack import Entry, Stack
from tests.bfc_core.training.packs import alone, result, small

NETWORKS: list[dict[str, Any]] = [
    {"kind": "quadratic_densenet", "width": 4},
    {"kind": "quadratic_densenet", "width": 3, "readout": "signed"},
    {"kind": "mlp", "width": 6, "depth": 2, "activation": "tanh"},
]


def problem(model: dict[str, Any], samples: int) -> tuple[LinearisedProgram, torch.Tensor, torch.Tensor]:
    """A program at its start, with u (N, q) and the residuals (N,) of its training set."""
    spec = small("lazy", dtype="float64", data={"samples": samples})
    spec = spec.model_copy(update={"model": type(spec).model_validate({"model": model}).model})
    nodes = nodes_by_depth([spec])[0]
    evaluation = Evaluation(torch.device("cpu"), torch.float64)
    stack = Stack(nodes, [Entry(0, Place())], evaluation)
    assert isinstance(stack.program, LinearisedProgram)
    table, _ = evaluation.training_tables([spec])
    u, y = table[:, :16], table[:, 17]
    return stack.program, u, y - stack.program.value(stack.program.anchors(), u)[:, 0].detach()


@pytest.mark.parametrize("model", NETWORKS)
def test_the_jacobian_is_the_slope_of_the_network(model: dict[str, Any]) -> None:
    program, u, _ = problem(model, 20)
    j = jacobian(program, u)
    way = torch.randn(j.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start, small_step = program.values.clone(), 1e-6
    values = []
    for sign in (1, -1):
        weights = {name: block[0] for name, block in program.split(start + sign * small_step * way).items()}
        values.append(program.value(weights, u)[:, 0].detach())
    torch.testing.assert_close(j @ way, (values[0] - values[1]) / (2 * small_step), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize(("samples", "ridge"), [(12, 0.0), (30, 0.0), (30, 0.3), (150, 0.0), (150, 0.3)])
def test_flow_ends_at_the_closed_form(model: dict[str, Any], samples: int, ridge: float) -> None:
    """Fewer and more samples than parameters: f₀ + K(x, X)(K + r)⁺(y − f₀) on new inputs, by both solvers."""
    program, u, residual = problem(model, samples)
    j = jacobian(program, u)
    across = jacobian(program, u.flip(0) * 0.7)
    kernel = j @ j.mT + ridge * torch.eye(samples, dtype=torch.float64)
    wanted = across @ j.mT @ torch.linalg.pinv(kernel, rtol=1e-12, hermitian=True) @ residual
    torch.testing.assert_close(across @ solved(j, residual, ridge), wanted, rtol=1e-6, atol=1e-7)
    if samples == 12 or ridge:  # well posed: conjugate gradients need few iterations
        flow = Flow(program, u, residual, ridge)
        for _ in range(120):
            if flow.ended():
                break
            flow.step()
        assert float((across @ flow.change - wanted).norm()) < 1e-4 * float(wanted.norm())


def test_the_trained_network_is_the_linear_one() -> None:
    program, u, residual = problem(NETWORKS[0], 40)
    change = solved(jacobian(program, u), residual, 0.0)
    start = program.outputs(u[None])[0, :, 0].clone()
    program.move(change)
    torch.testing.assert_close(program.outputs(u[None])[0, :, 0], start + jacobian(program, u) @ change)


def test_a_lazy_run_is_solved_exactly_whatever_its_dtype() -> None:
    """More samples than parameters: the network's symmetries make J singular, and float32 would invert its rounding."""
    ends = []
    for dtype in ("float32", "float64"):
        records = alone(small("lazy", dtype=dtype, data={"samples": 600}, probes=[{"kind": "movement"}]))
        moved = max(one.value for one in records if isinstance(one, Metric) and one.key == "movement")
        ends.append((result(records).summary["relative_test_error"], moved))
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)
    assert ends[0][1] < 1e3


@pytest.mark.parametrize("dense", [True, False])
def test_a_lazy_run_tells_its_errors(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "DENSE_SIDE", 10**6 if dense else 0)
    spec = small("lazy", dtype="float64", steps=400, probes=[{"kind": "movement"}])
    records = alone(spec)
    summary = result(records).summary
    assert 0 < summary["relative_train_error"] < summary["relative_test_error"] < 2
    keys = {record.key for record in records if isinstance(record, Metric)}
    assert {"train_loss", "test_error", "movement"} <= keys


def test_the_larger_the_output_scale_the_less_the_weights_move() -> None:
    sgd = {"kind": "sgd", "rate": 0.005, "clip": None, "decay": "constant"}
    moved = []
    for scale in (1.0, 10.0, 100.0):
        model = {"output_scale": scale, "readout": "signed"}
        records = alone(small(steps=400, probes=[{"kind": "movement"}], model=model, optimizer=sgd))
        moved.append(max(one.value for one in records if isinstance(one, Metric) and one.key == "movement"))
    assert moved[0] > 5 * moved[1]
    assert moved[1] > 5 * moved[2]
