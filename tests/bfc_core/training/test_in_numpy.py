"""A run written out in numpy, from its definitions alone: teacher, learner, gradient by differences, clip, Adam, rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from bfc_core.records import Metric, Snapshot
from bfc_core.specs import TrainSpec
from bfc_core.streams import stream
from bfc_core.targets.hierarchical import HierarchicalTeacher
from bfc_core.training.feeds import GROUP, permutation
from tests.bfc_core.training.packs import alone, small

STEPS, BATCH, K, M, D, N = 12, 16, 2, 4, 8, 300
Weights = dict[str, Any]


def teacher_by_hand(teacher: HierarchicalTeacher, x: Any) -> Any:
    """y of x (n, d) for three dense levels, from the drawn blocks alone; statistics of its own 40,000 samples."""
    blocks = {
        level: {group: block.numpy() for group, block in parts.items()}
        for level, parts in teacher._blocks.items()
    }
    seen = teacher.inputs(40_000, stream("target", 0, "statistics")).double().numpy()

    def run(x: Any, constants: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h1 = (x**2 - 1) / math.sqrt(0.8)
        z2 = x @ blocks[2][0].T + h1 @ blocks[2][1].T
        constants.setdefault("m2", (z2**2).mean(0))
        constants.setdefault("s2", (z2**2).std(0, ddof=1))
        h2 = (z2**2 - constants["m2"]) / constants["s2"]
        z3 = x @ blocks[3][0].T + h1 @ blocks[3][1].T + h2 @ blocks[3][2].T
        y: Any = 0.0
        for level, z, alpha in ((2, z2, 1.0), (3, z3, -0.7)):
            norm = (z**2).sum(1)
            constants.setdefault(f"mean{level}", norm.mean())
            constants.setdefault(f"sd{level}", norm.std(ddof=1))
            y = y + alpha * (norm - constants[f"mean{level}"]) / constants[f"sd{level}"]
        return y, constants

    return run(x, run(seen, {})[1])[0]


def test_the_labels_are_those_of_the_definition() -> None:
    spec = small()
    assert spec.data.kind == "hierarchical"
    teacher = HierarchicalTeacher(spec.data, 0)
    rows = {level: list(parts) for level, parts in teacher._blocks.items()}
    assert rows == {2: [0, 1], 3: [2, 0, 1]}
    scales = {
        level: [float(block.norm(dim=1)[-1]) for block in parts.values()]
        for level, parts in teacher._blocks.items()
    }
    assert scales[2] == pytest.approx([0.5 * math.sqrt(0.5)] * 2)
    assert scales[3] == pytest.approx([math.sqrt(0.7), math.sqrt(0.15), math.sqrt(0.15)])
    x = torch.randn(50, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(teacher.labels(x).numpy(), teacher_by_hand(teacher, x.numpy()), rtol=1e-9)


def output(w: Weights, u: Any, r: Any, signed: bool) -> Any:
    """F (n,) of the quadratic DenseNet with two trained levels."""
    z2 = u @ w["W2"].T
    h2 = ((z2 @ r[2].T) ** 2 - 1) / math.sqrt(2)
    z3 = np.concatenate([u, h2], axis=1) @ w["W3"].T + w["c3"]
    if signed:
        h3 = ((z3 @ r[3].T) ** 2 - 1) / math.sqrt(2)
        return w["b"] + h2 @ w["v2"] + h3 @ w["v3"]
    a = [alpha / math.sqrt(2 * K) for alpha in (1.0, -0.7)]
    return w["b"] + a[0] * (z2**2).sum(1) + a[1] * (z3**2).sum(1)


def slope(w: Weights, u: Any, y: Any, r: Any, signed: bool) -> Weights:
    """∂(mean squared error)/∂w by complex steps, exact to rounding."""
    found = {}
    for name, block in w.items():
        gradient = np.zeros(np.shape(block))
        for place in np.ndindex(gradient.shape):
            moved = {key: np.array(value, dtype=complex) for key, value in w.items()}
            moved[name][place] += 1e-30j
            loss = ((output(moved, u, r, signed) - y) ** 2).mean()
            gradient[place] = loss.imag / 1e-30
        found[name] = gradient
    return found


@pytest.mark.parametrize("readout", ["fixed", "signed"])
def test_a_run_is_the_one_of_the_definition(readout: str) -> None:
    body: dict[str, Any] = {"kind": "adam", "warmup_steps": 1, "rate": 0.01, "clip": 1.0}
    spec = small(steps=STEPS, dtype="float64", model={"readout": readout}, optimizer=body, seed=0,
                 snapshots={"weights": {"every": 1}, "features": None})  # fmt: skip
    records = alone(spec)
    kept = [one for one in records if isinstance(one, Snapshot)]
    signed = readout == "signed"
    teacher, r, w = drawn(spec, signed)
    x = teacher.inputs(N, stream("data", 0, "train")).double()
    u, y = teacher.embed(x).numpy(), teacher.labels(x).numpy()
    order = permutation(0, 0, 0, N // GROUP).numpy()
    first, second = ({name: np.zeros_like(block) for name, block in w.items()} for _ in range(2))
    losses = []
    for step in range(STEPS):
        groups = order[step * BATCH // GROUP : (step + 1) * BATCH // GROUP]
        rows = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
        losses.append(((output(w, u[rows], r, signed) - y[rows]) ** 2).mean())
        gradient = slope(w, u[rows], y[rows], r, signed)
        norm = math.sqrt(sum(float((block**2).sum()) for block in gradient.values()))
        done = (step - 1) / (STEPS - 1)
        rate = 0.01 * (1.0 if step == 0 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for name, block in gradient.items():
            g = block * min(1.0, 1.0 / norm)
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.99 * second[name] + 0.01 * g**2
            up, below = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.99 ** (step + 1))
            w[name] = w[name] - rate * up / (np.sqrt(below) + 1e-8)
        for name, block in w.items():
            found = kept[step].tensors[name].numpy()
            np.testing.assert_allclose(found, block, rtol=1e-9, atol=1e-12, err_msg=f"{name} at {step + 1}")
    told = [one.value for one in records if isinstance(one, Metric) and one.key == "train_loss"]
    assert told == pytest.approx(losses, rel=1e-9)


def drawn(spec: TrainSpec, signed: bool) -> tuple[HierarchicalTeacher, dict[int, Any], Weights]:
    """Teacher, random rows and first weights, from their named streams."""
    assert spec.data.kind == "hierarchical"
    teacher = HierarchicalTeacher(spec.data, 0)
    p = M * (M + 1) // 2
    r, w = {}, {}
    for level, fan in ((2, 2 * D), (3, 2 * D + p)):
        rows = torch.randn(p, M, generator=stream("init", 0, "expansion", level), dtype=torch.float64)
        r[level] = (rows / rows.norm(dim=1, keepdim=True)).numpy()
        generator = stream("init", 0, "weights", level)
        normal = torch.randn(M, fan, generator=generator, dtype=torch.float64).numpy()
        w[f"W{level}"] = normal * math.sqrt(K / (M * fan))
        if signed:
            v = torch.randn(p, generator=generator, dtype=torch.float64).numpy()
            w[f"v{level}"] = v / math.sqrt(p)
    return teacher, r, {**w, "c3": np.zeros(M), "b": np.zeros(())}
