"""Schedules resolved into stages: pure arithmetic, shared by the engine, the estimate and the page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from bfc_core.specs import schedule as words
from bfc_core.specs.data import Hierarchical, RandomHierarchy
from bfc_core.specs.model import Mlp, QuadraticDensenet, TreeConvnet
from bfc_core.specs.optimizer import OptimizerSpec

if TYPE_CHECKING:
    from bfc_core.specs.train import TrainSpec

Levels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """How the lower layers are held near their values at the start of the stage (`minimal`)."""

    layers: Levels
    penalty: float | None = None
    rank: int | None = None
    lazy: bool = False


HeadKind = Literal["linear", "convolutional"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, complete: two stages that are equal (with equal stages before) train equally, bit for bit."""

    present: Levels
    train: Levels
    steps: int
    batch: int
    optimizer: OptimizerSpec
    backward: words.Backward = "full"
    reinitialise: Levels = ()
    head: HeadKind | None = None
    mode: Literal["descent", "staged", "lazy"] = "descent"
    hold: Hold | None = None
    options: tuple[tuple[str, float | int | None], ...] = field(default=())

    def option(self, name: str) -> float | int | None:
        """An option of a `staged` or `lazy` stage."""
        return dict(self.options).get(name)

    def passes(self, layer: int, to_inputs: bool = False) -> int:
        """Passes over the maps of a layer that is present, in one step: forward; back through it, where something below
        asks for a gradient (inputs too, if `to_inputs`); and to its weights."""
        if layer in self.train:
            return 3
        asked = to_inputs or layer > min(self.train, default=layer)
        return 2 if asked and self.backward == "full" else 1


def heads(spec: TrainSpec, stage: Stage) -> tuple[tuple[int, HeadKind], ...]:
    """(block, kind) of each head of a stage of an image network: on its last block, or on all without one loss for all.

    The kind is the stage's own, else the model's auxiliary one below the end and linear at the end.
    """
    blocks = (max(stage.present),) if stage.backward == "full" else stage.present
    auxiliary: HeadKind = getattr(spec.model, "auxiliary", "linear")
    end = max(layers(spec))
    return tuple((block, stage.head or ("linear" if block == end else auxiliary)) for block in blocks)


def layers(spec: TrainSpec) -> Levels:
    """Numbers of the layers that train: 2 … L as in the teacher, or blocks 1 … B of other networks."""
    model = spec.model
    if isinstance(model, QuadraticDensenet):
        return tuple(range(2, last_level(spec) + 1))
    if isinstance(model, Mlp):
        return tuple(range(1, model.depth + 1))
    if isinstance(model, TreeConvnet):
        assert isinstance(spec.data, RandomHierarchy)
        return tuple(range(1, spec.data.levels + 1))
    return tuple(range(1, model.blocks + 1))


def last_level(spec: TrainSpec) -> int:
    """L of a quadratic network: its own, or the teacher's, or 3."""
    if isinstance(spec.model, QuadraticDensenet) and spec.model.levels is not None:
        return max(2, spec.model.levels)
    if isinstance(spec.data, Hierarchical | RandomHierarchy):
        return max(2, spec.data.levels)
    return 3


def stages(spec: TrainSpec) -> tuple[Stage, ...]:
    """The stages of `spec`, in order, each with its own budget and optimiser filled in."""
    return Resolver(spec).resolve()


def total_steps(spec: TrainSpec) -> int:
    """Optimiser steps over all stages: what `progress` counts."""
    return sum(stage.steps for stage in stages(spec))


class Resolver:
    """Turns a named schedule into stages over the layers of one spec."""

    def __init__(self, spec: TrainSpec) -> None:
        self.spec = spec
        self.layers = layers(spec)

    def resolve(self) -> tuple[Stage, ...]:
        schedule = self.spec.schedule
        method = getattr(self, f"_{schedule.kind}")
        found: tuple[Stage, ...] = tuple(method(schedule))
        return found

    def _stage(self, present: Levels, train: Levels, **changes: object) -> Stage:
        budget = self.spec.budget
        stage = Stage(present, train, budget.steps, budget.batch, self.spec.optimizer)
        return replace(stage, **changes)  # type: ignore[arg-type]

    def _all(self, **changes: object) -> Stage:
        return self._stage(self.layers, self.layers, **changes)

    def _upto(self, layer: int) -> Levels:
        return tuple(i for i in self.layers if i <= layer)

    def _joint(self, _: words.Joint) -> list[Stage]:
        return [self._all()]

    def _layerwise(self, _: object = None) -> list[Stage]:
        return [self._stage(self._upto(i), (i,)) for i in self.layers]

    def _layerwise_then_joint(self, _: words.LayerwiseThenJoint) -> list[Stage]:
        return [*self._layerwise(), self._all()]

    def _longer(self, _: words.Longer) -> list[Stage]:
        return [replace(stage, steps=2 * stage.steps) for stage in self._layerwise()]

    def _detached(self, _: words.Detached) -> list[Stage]:
        return [*self._layerwise(), self._all(backward="detached")]

    def _upper_frozen(self, schedule: words.UpperFrozen) -> list[Stage]:
        level = self.layers[0] if schedule.level is None else schedule.level
        return [*self._layerwise(), self._stage(self.layers, (level,))]

    def _reinitialised(self, _: words.Reinitialised) -> list[Stage]:
        return [*self._layerwise(), self._all(reinitialise=self.layers[:-1])]

    def _cyclic(self, schedule: words.Cyclic) -> list[Stage]:
        steps = max(1, self.spec.budget.steps // schedule.cycles)
        cycle = [self._stage(self.layers, (i,), steps=steps) for i in self.layers]
        return [*self._layerwise(), *(cycle * schedule.cycles)]

    def _sliding(self, schedule: words.Sliding) -> list[Stage]:
        window = schedule.window
        if not schedule.equal_updates:
            return [self._stage(self._upto(i), self._upto(i)[-window:]) for i in self.layers]
        count = len(self.layers)
        repeats = [min(window, count - position) for position in range(count)]
        return [stage for stage, times in zip(self._layerwise(), repeats, strict=True) for _ in range(times)]

    def _window(self, schedule: words.Window) -> list[Stage]:
        lower = self._upto(schedule.train_up_to)
        frozen = lower[: len(lower) - schedule.free]
        rest = tuple(i for i in self.layers if i not in frozen)
        first = self._stage(lower, lower)
        if not schedule.equal_updates:
            return [first, self._stage(self.layers, rest)]
        higher = tuple(i for i in self.layers if i not in lower)
        alone = [self._stage(lower, lower[len(lower) - schedule.free :])] if schedule.free else []
        return [first, *alone, self._stage(self.layers, higher)]

    def _minimal(self, schedule: words.Minimal) -> list[Stage]:
        hold = Hold(self.layers[:-1], schedule.penalty, schedule.rank, schedule.lazy)
        return [*self._layerwise(), self._all(hold=hold)]

    def _staged(self, schedule: words.Staged) -> list[Stage]:
        found = []
        for position, layer in enumerate(self.layers):
            threshold = schedule.thresholds[position] if schedule.thresholds else None
            options = (
                ("wide", schedule.wide),
                ("regulariser", schedule.regulariser),
                ("distillation", schedule.distillation),
                ("threshold", threshold),
            )
            present = self._upto(layer)
            found.append(self._stage(present, present, mode="staged", options=options))
        return found

    def _lazy(self, schedule: words.Lazy) -> list[Stage]:
        return [self._all(mode="lazy", options=(("ridge", schedule.ridge),))]

    def _stages(self, schedule: words.Stages) -> list[Stage]:
        found = []
        for given in schedule.stages:
            present = self.layers if given.present is None else tuple(sorted(set(given.present)))
            train = present if given.train is None else tuple(sorted(set(given.train)))
            stage = self._stage(present, train, backward=given.backward, head=given.head)
            stage = replace(stage, reinitialise=tuple(sorted(set(given.reinitialise))))
            if given.budget is not None:
                stage = replace(stage, steps=given.budget.steps, batch=given.budget.batch)
            if given.optimizer is not None:
                stage = replace(stage, optimizer=given.optimizer)
            found.append(stage)
        return found


def schedule_faults(schedule: words.ScheduleSpec, present: Levels) -> list[tuple[str, str]]:
    """What does not fit a network of these layers, as `(pointer below the schedule, detail)`."""
    names = f"{present[0]} to {present[-1]}"
    faults: list[tuple[str, str]] = []
    if isinstance(schedule, words.Window):
        if schedule.train_up_to not in present:
            return [
                ("/train_up_to", f"layer {schedule.train_up_to} is not in this network; accepted: {names}")
            ]
        trained = sum(1 for i in present if i <= schedule.train_up_to)
        if schedule.free > trained:
            faults.append(
                ("/free", f"{schedule.free} layers of {trained} trained ones; accepted: 0 to {trained}")
            )
    elif isinstance(schedule, words.Sliding) and schedule.window > len(present):
        faults.append(
            ("/window", f"{schedule.window} layers of {len(present)}; accepted: 1 to {len(present)}")
        )
    elif (
        isinstance(schedule, words.UpperFrozen)
        and schedule.level is not None
        and schedule.level not in present
    ):
        faults.append(("/level", f"layer {schedule.level} is not in this network; accepted: {names}"))
    elif isinstance(schedule, words.Minimal):
        faults += _minimal_faults(schedule, present)
    elif isinstance(schedule, words.Staged):
        if schedule.thresholds is not None and len(schedule.thresholds) != len(present):
            faults.append(("/thresholds", f"accepted: {len(present)} entries, one a level"))
    elif isinstance(schedule, words.Stages):
        for i, stage in enumerate(schedule.stages):
            faults += _stage_faults(stage, present, f"/stages/{i}")
    return faults


def _minimal_faults(schedule: words.Minimal, layers: Levels) -> list[tuple[str, str]]:
    faults = []
    if (schedule.penalty is None) + (schedule.rank is None) + (not schedule.lazy) != 2:
        faults.append(("", "accepted: exactly one of penalty, rank and lazy"))
    if len(layers) == 1:
        said = "minimal holds the lower layers, this network has one layer; accepted: the other schedules"
        faults.append(("/kind", said))
    return faults


def _stage_faults(stage: words.StageSpec, layers: Levels, at: str) -> list[tuple[str, str]]:
    standing = layers if stage.present is None else stage.present
    faults = []
    if not standing:
        faults.append((f"{at}/present", f"no layer; accepted: some of {layers[0]} to {layers[-1]}"))
    elif tuple(sorted(set(standing))) != layers[: len(set(standing))]:
        faults.append(
            (
                f"{at}/present",
                f"accepted: the first layers without a hole, from {layers[0]} up to {layers[-1]}",
            )
        )
    for name, chosen in (("train", stage.train), ("reinitialise", stage.reinitialise)):
        if chosen and not set(chosen) <= set(standing):
            faults.append((f"{at}/{name}", "accepted: layers that are present in this stage"))
    return faults
