"""When a stage is measured: steps that depend on the spec alone."""

from __future__ import annotations

from dataclasses import dataclass

from bfc_core.specs.train import TrainSpec

#: Points of the training curve in a stage, and those at which the test set is read besides the probes'.
CURVE_POINTS = 20
TEST_POINTS = 4


@dataclass(frozen=True, slots=True)
class Points:
    """What is due after how many updates of a stage of `steps`."""

    spec: TrainSpec
    steps: int

    def all(self) -> frozenset[int]:
        """Every step at which something is due."""
        kept = self.spec.snapshots
        found = {self.steps}
        for every in (self._curve, self._test, *self._probe_intervals()):
            found |= set(range(every, self.steps + 1, every))
        for snapshot in (kept.weights, kept.features):
            if snapshot is not None:
                found |= set(range(snapshot.every, self.steps + 1, snapshot.every))
        return frozenset(found)

    def tests(self, step: int) -> bool:
        """Whether the test error is read after `step` updates."""
        return self._due(step, self._test) or any(self._due(step, every) for every in self._probe_intervals())

    def probes(self, step: int) -> list[int]:
        """Positions of the probes that are due; all of them at the end."""
        probes = enumerate(self.spec.probes)
        return [i for i, probe in probes if step == self.steps or (probe.every and step % probe.every == 0)]

    def keeps(self, step: int) -> bool:
        """Whether a snapshot of any kind is due."""
        return self.keeps_weights(step) or self.keeps_features(step)

    def keeps_weights(self, step: int) -> bool:
        kept = self.spec.snapshots.weights
        return kept is not None and self._due(step, kept.every)

    def keeps_features(self, step: int) -> bool:
        kept = self.spec.snapshots.features
        return kept is not None and self._due(step, kept.every)

    def _due(self, step: int, every: int) -> bool:
        return step == self.steps or step % every == 0

    def _probe_intervals(self) -> list[int]:
        return [probe.every for probe in self.spec.probes if probe.every is not None]

    @property
    def _curve(self) -> int:
        return max(1, self.steps // CURVE_POINTS)

    @property
    def _test(self) -> int:
        return max(1, self.steps // TEST_POINTS)
