"""Studies: a question, asked with many jobs; and sweeps over any field."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from bfc_core.specs.baseline import LEARNERS
from bfc_core.specs.claims import THRESHOLDS, ClaimSpec
from bfc_core.specs.data import SYNTHETIC, Hierarchical
from bfc_core.specs.model import QuadraticDensenet
from bfc_core.specs.resolution import layers
from bfc_core.specs.scalars import Flag, Level, NonNegative, Rate, Samples, Spec, refuse, said
from bfc_core.specs.schedule import Joint
from bfc_core.specs.train import StudyBase, TrainSpec

SeedCount = Annotated[int, Field(strict=True, ge=1, le=200)]
Role = Literal["target", "data", "init", "order"]
Readout = Literal["fixed", "signed"]
MainSchedule = Literal[
    "joint", "layerwise", "layerwise_then_joint", "longer", "detached", "cyclic", "upper_frozen"
]
MAX_MEMBERS = 10_000
SEEDS_OF_FRESH_SAMPLES = 20
"""About one run in five to eight sticks there: of 20 seeds the interval tolerates five (docs/science.md)."""


class Beside(Spec):
    """Baselines run on the same samples beside a study."""

    learners: Annotated[tuple[Annotated[str, Field(strict=True)], ...], Field(max_length=len(LEARNERS))] = (
        "kernel_ridge/rbf",
    )
    """Names of baselines."""
    seeds: Annotated[int, Field(strict=True, ge=0, le=200)] = 3
    """How many of the study's seeds they run on."""

    @field_validator("learners")
    @classmethod
    def _known(cls, learners: tuple[str, ...]) -> tuple[str, ...]:
        refuse(unknown_learners(learners))
        return learners


def unknown_learners(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names that no learner has."""
    accepted = ", ".join(LEARNERS)
    return [
        (f"/{i}", f"{name!r} is no learner; accepted: {accepted}")
        for i, name in enumerate(names)
        if name not in LEARNERS
    ]


class Study(Spec):
    """Shared by the studies."""

    base: StudyBase = StudyBase()
    """A train spec without `schedule`; its `seed` is the first of `seeds` consecutive ones."""
    seeds: SeedCount = 9
    """Seeds n; 9 tolerates one failure. 20 when left out where each step draws fresh samples: there runs stick more often."""
    vary: Annotated[tuple[Role, ...], Field(min_length=1, max_length=4)] = ("target", "data", "init", "order")
    """Roles whose seed changes from one to the next; the others are held fixed."""
    claims: tuple[ClaimSpec, ...] | None = None
    """Claims to judge, in order; those that the data can answer when left out."""
    answers: ClassVar[tuple[str, ...]] = ()
    """Claims that this kind of study can answer."""
    draws_afresh: ClassVar[bool] = True
    """Whether members train on the base's own samples."""
    stop_on_failure: Flag = False
    """Cancel the rest when a member fails; otherwise the study concludes with what there is."""

    @model_validator(mode="before")
    @classmethod
    def _more_seeds_where_runs_stick(cls, body: Any) -> Any:
        fresh = cls.draws_afresh and said(body, "base", "data", "samples") == "fresh"
        return {"seeds": SEEDS_OF_FRESH_SAMPLES, **body} if fresh else body

    @field_validator("claims")
    @classmethod
    def _answered_here(cls, claims: tuple[ClaimSpec, ...] | None) -> tuple[ClaimSpec, ...] | None:
        accepted = ", ".join(cls.answers) or "none, so leave claims out"
        refuse([(f"/{i}/claim", f"{claim.claim} is not answered by this study; accepted: {accepted}")
                for i, claim in enumerate(claims or ()) if claim.claim not in cls.answers])  # fmt: skip
        return claims

    def member_seed(self, index: int) -> Any:
        """The seeds of run `index`: consecutive from the base's in the roles that vary."""
        from bfc_core.specs.train import Seeds

        seed = self.base.seed
        if isinstance(seed, int) and len(set(self.vary)) == 4:
            return seed + index
        first = Seeds(target=seed, data=seed, init=seed, order=seed) if isinstance(seed, int) else seed
        moved: dict[str, int] = {role: getattr(first, role) + index for role in self.vary}
        return Seeds.model_validate(first.model_dump() | moved)


class CorrectionSpec(Study):
    """Backward feature correction: how much, how deep, which part; joint against layerwise training and all controls."""

    kind: Literal["correction"] = "correction"
    answers: ClassVar[tuple[str, ...]] = tuple(
        name for name in THRESHOLDS if name != "shallow_fail_at_equal_samples"
    )
    readouts: Annotated[tuple[Readout, ...], Field(min_length=1, max_length=2)] = ("fixed", "signed")
    """Read-outs of a quadratic_densenet that stand beside each other; claims are headlined on `signed`. On targets
    other than `hierarchical`, which have no gap that a fixed one could be told, `signed` alone when left out."""
    baselines: Beside | None = Beside()
    """Shallow learners on the same samples; null for none."""
    schedules: Annotated[tuple[MainSchedule, ...], Field(min_length=1, max_length=7)] | None = None
    """Arms of table `runs`; all when left out, for pictures joint and layerwise (with either auxiliary head)."""
    how_deep: Flag = True
    """Also windows (l, k), each with its control of equal updates."""
    rows: Annotated[tuple[Level, ...], Field(min_length=1, max_length=100)] | None = None
    """l of the windows; every level but the last when left out, for pictures the block at two fifths."""
    free: (
        Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=1000)], ...], Field(max_length=100)] | None
    ) = None
    """k of the windows, besides none and all; every one when left out, for pictures 1, 2, 4, …"""
    sliding: tuple[Annotated[int, Field(strict=True, ge=1, le=1000)], ...] = ()
    """Also sliding windows of these widths, with their greedy controls."""
    second_rates: tuple[Rate, ...] | None = None
    """Peak rates of the last stage. On pictures windows are trained at each and the one best on validation counts;
    on synthetic targets, which hold nothing out, layerwise then joint at each is a point of the frontier."""
    penalties: Annotated[tuple[NonNegative, ...], Field(max_length=20)] = ()
    """Also layerwise, then joint under each penalty μ|W − W_before|² of the lower levels: points of the frontier of gain
    against movement, which says how much correction is needed. For synthetic targets."""

    @model_validator(mode="before")
    @classmethod
    def _untold_without_a_gap(cls, body: Any) -> Any:
        untold = said(body, "base", "data", "kind") in ("staircase", "parity", "multi_index")
        return {"readouts": ["signed"], **body} if untold else body

    @field_validator("base")
    @classmethod
    def _has_layers_to_correct(cls, base: StudyBase) -> StudyBase:
        if isinstance(base.data, Hierarchical) and base.data.levels < 3:
            refuse(
                [("/data/levels", "a target of 2 levels has no lower feature to correct; accepted: 3 to 5")]
            )
        return base

    @field_validator("penalties")
    @classmethod
    def _of_taught_features(cls, penalties: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        base = info.data.get("base")
        if penalties and base is not None and not isinstance(base.data, SYNTHETIC):
            refuse([("", f"a frontier is of a synthetic target, this is {base.data.kind}; accepted: none")])
        return penalties

    @field_validator("rows")
    @classmethod
    def _below_the_last(cls, rows: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        base = info.data.get("base")
        if base is not None:
            present = layers(base.arm(Joint(), 0))[:-1]
            accepted = f"{present[0]} to {present[-1]}" if present else "none"
            wrong = [i for i, level in enumerate(rows or ()) if level not in present]
            refuse([(f"/{i}", f"a window needs a level above l; accepted: {accepted}") for i in wrong])
        return rows

    @field_validator("readouts")
    @classmethod
    def _once_each(cls, readouts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(set(readouts)) != len(readouts):
            refuse([("", "a read-out named twice; accepted: each once")])
        base = info.data.get("base")
        if base is None or "fixed" not in readouts or isinstance(base.data, Hierarchical):
            return readouts
        if isinstance(base.model, QuadraticDensenet):
            kind = base.data.kind
            refuse([("", f'fixed reads α from a hierarchical target, {kind} has none; accepted: ["signed"]')])
        return readouts


class DuelSpec(Study):
    """All learners at equal samples: sample-complexity curves with their crossing points."""

    kind: Literal["duel"] = "duel"
    answers: ClassVar[tuple[str, ...]] = ("shallow_fail_at_equal_samples",)
    draws_afresh: ClassVar[bool] = False
    samples: Annotated[tuple[Samples, ...], Field(min_length=1, max_length=30)] = (500, 1000, 2000)
    """Numbers N of training labels, the same for every learner."""
    against: tuple[Annotated[str, Field(strict=True)], ...] | None = None
    """Names of baselines; all when left out."""

    @field_validator("base")
    @classmethod
    def _synthetic(cls, base: StudyBase) -> StudyBase:
        if not isinstance(base.data, SYNTHETIC):
            refuse([("/data/kind", f"{base.data.kind}; accepted: a synthetic target")])
        return base

    @field_validator("samples")
    @classmethod
    def _rising(cls, samples: tuple[int, ...]) -> tuple[int, ...]:
        if list(samples) != sorted(set(samples)) or samples[0] < 50:
            refuse([("", "accepted: different numbers from 50 up, in rising order")])
        return samples

    @field_validator("against")
    @classmethod
    def _known(cls, against: tuple[str, ...] | None) -> tuple[str, ...] | None:
        refuse(unknown_learners(against or ()))
        return against


class InformationGapSpec(Study):
    """What each layer adds: probe accuracy or error by layer, for joint and layerwise training."""

    source: ClassVar[str] = "after Alain and Bengio, arXiv 1610.01644"
    kind: Literal["information_gap"] = "information_gap"
    probe: Literal["linear", "two_layer"] = "linear"


StudySpec = Annotated[CorrectionSpec | DuelSpec | InformationGapSpec, Field(discriminator="kind")]


class SweepSpec(Spec):
    """One train job for each point of a grid over any fields of the spec."""

    source: ClassVar[str] = "standard"
    base: TrainSpec = TrainSpec()
    grid: dict[
        Annotated[str, Field(max_length=200)],
        Annotated[list[Any], Field(min_length=1, max_length=MAX_MEMBERS)],
    ]
    """Dotted path below the spec → the values it takes; members are all combinations."""
    stop_on_failure: Flag = False
    """Cancel the rest when a member fails."""

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"base": {}, "grid": {"data.gap": [[1, -0.7], [1, 0.5]], "seed": [0, 1, 2]}}

    @field_validator("grid")
    @classmethod
    def _valid_members(cls, grid: dict[str, list[Any]], info: ValidationInfo) -> dict[str, list[Any]]:
        base = info.data.get("base")
        if not grid:
            refuse([("", "no field; accepted: at least one dotted path with its values")])
        size = math.prod(len(values) for values in grid.values())
        if size > MAX_MEMBERS:
            refuse([("", f"{size} members; accepted: up to {MAX_MEMBERS:,}")])
        if base is not None:
            body = _with_lists(base, grid)
            refuse(_grid_faults(body, grid))
            refuse(_faults_together(body, grid))
        return grid

    def points(self) -> Iterator[tuple[dict[str, Any], TrainSpec]]:
        """Every combination, with the train spec it makes."""
        body = _with_lists(self.base, self.grid)
        for point in _combinations(self.grid):
            yield point, TrainSpec.model_validate(placed(body, point))


    def place_of(self, index: int, pointer: str) -> str:
        """The pointer below this sweep to what says the field at `pointer` of the spec of the point `index`."""
        for path, values in reversed(self.grid.items()):
            index, at = divmod(index, len(values))
            if _on(pointer, path):
                return f"/grid/{_escaped(path)}/{at}"
        return f"/base{pointer}"


def sparse(model: Spec) -> dict[str, Any]:
    """What was set, and the kinds: so that changing one field lets the defaults that hang on it follow."""
    body: dict[str, Any] = {}
    dumped = model.model_dump(mode="json")
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Spec):
            body[name] = sparse(value)
        elif name in model.model_fields_set or name == "kind":
            body[name] = _sparse_list(value, dumped[name]) if isinstance(value, tuple) else dumped[name]
    return body


def _sparse_list(values: tuple[Any, ...], dumped: list[Any]) -> list[Any]:
    """Specs, such as probes, with what was set of each; other values as they are."""
    return [
        sparse(value) if isinstance(value, Spec) else plain
        for value, plain in zip(values, dumped, strict=True)
    ]


def _with_lists(base: Spec, paths: Iterable[str]) -> dict[str, Any]:
    """`sparse`, with those default lists written out that a path reaches into, such as probes.0.every."""
    body = sparse(base)
    for path in paths:
        node, model = body, base
        for name, following in itertools.pairwise(path.split(".")):
            value = getattr(model, name, None) if name in type(model).model_fields else None
            if isinstance(value, tuple) and following.isdecimal():
                node.setdefault(name, _sparse_list(value, model.model_dump(mode="json")[name]))
            if not isinstance(value, Spec):
                break
            node, model = node[name], value
    return body


def placed(body: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """A copy of `body` with each dotted path set to its value."""
    changed = copy.deepcopy(body)
    for path, value in point.items():
        *parents, last = path.split(".")
        node: Any = changed
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        if isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value
    return changed


def _combinations(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _grid_faults(body: dict[str, Any], grid: dict[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """Values that are wrong by themselves, the other fields at their first: whose own faults are told at their place."""
    first = {path: values[0] for path, values in grid.items()}
    for path, values in grid.items():
        others = [other for other in grid if other != path]
        for i, value in enumerate(values):
            at = f"/{_escaped(path)}/{i}"
            for pointer, fault in _faults_of(body, {**first, path: value}, path):
                if _on(pointer, path) or not any(_on(pointer, other) for other in others):
                    yield at, fault


def _escaped(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1")


def _on(pointer: str, path: str) -> bool:
    """Whether a pointer into a spec lies at a dotted path, below it, or on the way to it."""
    here, there = f"{pointer}/", f"/{path.replace('.', '/')}/"
    return here.startswith(there) or there.startswith(here)


def _faults_together(body: dict[str, Any], grid: dict[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """The first combination whose values are wrong only together."""
    # A seed goes with everything, and is what long grids are made of.
    sparse_grid = {path: values[: 1 if path.startswith("seed") else None] for path, values in grid.items()}
    for point in _combinations(sparse_grid):
        for _, fault in _faults_of(body, point, ", ".join(point)):
            values = ", ".join(f"{path} {json.dumps(value)}" for path, value in point.items())
            yield "", f"{values}: {fault}; every combination is trained, so sweep these apart"
            return


def _faults_of(body: dict[str, Any], point: dict[str, Any], path: str) -> list[tuple[str, str]]:
    """What is wrong with the spec that a point of the grid makes: where in that spec, and how."""
    try:
        TrainSpec.model_validate(placed(body, point))
    except ValidationError as error:
        from bfc_core.specs.errors import faults_of

        found = faults_of(error, placed(body, point), TrainSpec)
        return [(fault.pointer, f"{fault.detail} (at {fault.pointer or 'the spec'})") for fault in found]
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        says = f"no field {path!r}; accepted: a dotted path below the spec, such as data.gap or optimizer.rate"
        return [(f"/{path.replace('.', '/')}", says)]
    return []


__all__ = ["ClaimSpec", "CorrectionSpec", "DuelSpec", "InformationGapSpec", "Study", "StudySpec", "SweepSpec"]
