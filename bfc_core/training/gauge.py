"""Measures a stack at one point: test error and probes, every row of equal data in one call."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bfc_core.learners.base import Learner, Plan, Program
from bfc_core.measures import Undefined
from bfc_core.records import Metric
from bfc_core.registry import deed_of
from bfc_core.specs.probe import ProbeKind
from bfc_core.specs.train import TrainSpec
from bfc_core.specs.vocabulary import unit_of
from bfc_core.training.evaluation import Evaluation
from bfc_core.training.feeds import data_key
from bfc_core.training.stack_view import StackView, chosen_rows
from bfc_core.training.view import When

#: Unit of errors that are divided by Var y.
RELATIVE = "Var y"


@dataclass
class Finding:
    """What one row showed at one point: metrics, and reasons why some are undefined."""

    metrics: list[Metric] = field(default_factory=list)
    undefined: dict[str, str] = field(default_factory=dict)

    def undefined_since(self, earlier: Mapping[str, str]) -> dict[str, str]:
        """The reasons that hold now: an earlier one falls where there is a number after all."""
        defined = {place_of(one.key, one.layer) for one in self.metrics}
        return {name: why for name, why in earlier.items() if name not in defined} | self.undefined

    def value(self, key: str, layer: int | None = None) -> float | None:
        """The value of one metric, if it was measured."""
        found = [one.value for one in self.metrics if one.key == key and one.layer == layer]
        return found[-1] if found else None

    @property
    def relative_test_error(self) -> float | None:
        """Test error over Var y: a key of its own where `test_error` is a part of wrong classes."""
        relative = self.value("relative_test_error")
        return self.value("test_error") if relative is None else relative


def place_of(key: str, layer: int | None) -> str:
    """A series by name and layer, such as `lambda_2`."""
    return key if layer is None else f"{key}_{layer}"


class Gauge:
    """Measures the rows of one stack during one stage."""

    def __init__(self, learner: Learner, plan: Plan, specs: Sequence[TrainSpec], evaluation: Evaluation,
                 initial: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:  # fmt: skip
        self.learner, self.plan, self.specs, self.evaluation = learner, plan, list(specs), evaluation
        self.initial, self.before = initial, before
        self._learners: dict[tuple[int, ...], Learner] = {}

    def test(self, program: Program, steps: Sequence[int | None]) -> list[Finding]:
        """Test errors of all rows, each at its own global step; rows whose step is None get none."""
        squared, wrong = self.evaluation.errors(program, self.specs)
        found = []
        for row, step in enumerate(steps):
            finding = Finding()
            if step is not None:
                teacher = self.evaluation.teacher(self.specs[row])
                relative = float(squared[row]) / teacher.variance
                if teacher.output_dim > 1:
                    finding.metrics.append(Metric(step, "test_error", float(wrong[row]), unit="part"))
                    finding.metrics.append(Metric(step, "relative_test_error", relative, unit=RELATIVE))
                else:
                    finding.metrics.append(Metric(step, "test_error", relative, unit=RELATIVE))
            found.append(finding)
        return found

    def probe(self, weights: Mapping[str, Tensor], due: Sequence[Sequence[int]], steps: Sequence[int], stage: int,
              layers: tuple[int, ...], lost: Container[int] = ()) -> list[Finding]:  # fmt: skip
        """Readings of the probes at positions `due` of each row's spec, at each row's global step.

        Rows that are `lost` have none. They are measured all the same, so that no shape depends on them, but at the
        weights of a row that is not: solvers refuse a batch that holds a NaN.
        """
        findings = [Finding() for _ in self.specs]
        sound = [row for row in range(len(self.specs)) if row not in lost]
        if not sound:
            return findings
        stands_for = [row if row not in lost else sound[0] for row in range(len(self.specs))]
        seen_at: dict[When, Mapping[str, Tensor]] = {"now": weights, "before": self.before, "init": self.initial}
        if len(sound) < len(stands_for):
            seen_at = {when: chosen_rows(found, stands_for) for when, found in seen_at.items()}
        for rows in self._groups().values():
            view = self._view(rows, seen_at, steps[rows[0]], stage, layers)
            for probe, chosen in self._due(rows, due).items():
                seen = (
                    view if chosen == rows else self._view(chosen, seen_at, steps[chosen[0]], stage, layers)
                )
                self._read(probe, seen, chosen, steps, findings)
        return [Finding() if row in lost else finding for row, finding in enumerate(findings)]

    @torch.no_grad()
    def features_on_test(self, weights: Mapping[str, Tensor], row: int, count: int) -> dict[str, Tensor]:
        """z_l (n, m) of one row on its first `count` test inputs, named by layer, and the numbers read `u` (n, q)."""
        learner = self._learners.setdefault((row,), self.learner.subset([row]))
        u = self.evaluation.test(self.specs[row])[0][:count]
        features = learner.features(chosen_rows(weights, [row]), u[None])
        return {"u": u} | {f"z{layer}": z[0] for layer, z in features.items()}

    def _read(self, probe: ProbeKind, view: StackView, rows: Sequence[int], steps: Sequence[int],
              findings: list[Finding]) -> None:  # fmt: skip
        for reading in deed_of(probe)(probe, view):
            unit = reading.unit or unit_of(reading.key)
            for row, answer in zip(rows, reading.answers(), strict=True):
                if isinstance(answer, Undefined):
                    findings[row].undefined[place_of(reading.key, reading.layer)] = answer.reason
                else:
                    metric = Metric(steps[row], reading.key, answer, reading.layer, unit)
                    findings[row].metrics.append(metric)

    def _groups(self) -> dict[Hashable, list[int]]:
        """Rows that share target and data."""
        groups: dict[Hashable, list[int]] = {}
        for row, spec in enumerate(self.specs):
            groups.setdefault(data_key(spec), []).append(row)
        return groups

    def _due(self, rows: Sequence[int], due: Sequence[Sequence[int]]) -> dict[ProbeKind, list[int]]:
        found: dict[ProbeKind, list[int]] = {}
        for row in rows:
            for position in due[row]:
                found.setdefault(self.specs[row].probes[position], []).append(row)
        return found

    def _view(self, rows: Sequence[int], seen_at: Mapping[When, Mapping[str, Tensor]], step: int, stage: int,
              layers: tuple[int, ...]) -> StackView:  # fmt: skip
        key = tuple(rows)
        if key not in self._learners:
            self._learners[key] = self.learner.subset(rows)
        return StackView(
            specs=tuple(self.specs[row] for row in rows),
            step=step,
            stage=stage,
            learner=self._learners[key],
            plan=self.plan.subset(rows),
            layers=layers,
            evaluation=self.evaluation,
            found={when: chosen_rows(found, rows) for when, found in seen_at.items()},
        )


__all__ = ["RELATIVE", "Finding", "Gauge"]
