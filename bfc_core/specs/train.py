"""The train spec, and the specs that stand on it: probe, baseline, sweep."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bfc_core.specs import resolution
from bfc_core.specs.baseline import BaselineKind
from bfc_core.specs.data import (
    SYNTHETIC,
    UPLOADED,
    UPLOADED_KINDS,
    DataSpec,
    Hierarchical,
    RandomHierarchy,
    Staircase,
)
from bfc_core.specs.model import CONVOLUTIONAL, Mlp, ModelSpec, QuadraticDensenet, TreeConvnet
from bfc_core.specs.optimizer import Adam, Budget, OptimizerSpec
from bfc_core.specs.probe import FeatureError, ProbeKind
from bfc_core.specs.scalars import JobId, NonNegative, Seed, SnapshotId, Spec, Steps, refuse, said
from bfc_core.specs.schedule import Joint, Lazy, Minimal, ScheduleSpec, Staged, Stages

Device = Annotated[str, Field(strict=True, pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")]
Dtype = Literal["float32", "float64"]


_UNTOLD_KINDS = frozenset({"staircase", "parity", "multi_index"})
#: Cheap enough to cost a training no more than a few per cent.
_PICTURE_PROBES: list[dict[str, Any]] = [{"kind": "linear", "inputs": 2000, "streaming": True}]
_PICTURE_SGD: dict[str, Any] = {
    "kind": "sgd", "rate": 0.1, "momentum": 0.9, "nesterov": True, "warmup_steps": 0, "decay": "triangular",
    "clip": None, "weight_decay": 5e-4,
}  # fmt: skip
#: Networks of squares lose at a single long step what they have learned, soonest where the trunk itself is squared in
#: every block: their gradients are clipped, to norm 1 where nothing else stands here (docs/decisions/0084).
_SQUARED_CLIPS: dict[Any, float] = {"resnet": 0.3}


#: A study trains some thirty such stages a seed, on thousands of pictures rather than all: minutes on one core.
_STUDY_BUDGET: dict[str, Any] = {"steps": 1000, "batch": 64}


class Seeds(Spec):
    """One seed for each role; a role held fixed across runs keeps its draw."""

    target: Seed = 0
    """Draws the teacher."""
    data: Seed = 0
    """Draws inputs, label noise and splits."""
    init: Seed = 0
    """Draws initial weights and random expansions."""
    order: Seed = 0
    """Draws batches and augmentation."""


class WeightSnapshots(Spec):
    """When weights are kept."""

    every: Steps = 500
    """Steps between snapshots within a stage; stage ends are always kept."""


class FeatureSnapshots(Spec):
    """When features on fixed inputs are kept."""

    every: Steps = 500
    """Steps between snapshots within a stage; stage ends are always kept."""
    inputs: Annotated[int, Field(strict=True, ge=8, le=100_000)] = 512
    """Fixed test inputs on which features are kept."""


class Checkpoints(Spec):
    """How often a running job can be resumed from."""

    every_seconds: Annotated[float, Field(strict=True, gt=0, le=86_400)] = 30.0
    """Seconds between checkpoints."""
    keep: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """Newest checkpoints kept; those at stage ends are kept besides."""

    @field_validator("every_seconds", mode="after")
    @classmethod
    def _as_float(cls, value: float) -> float:
        return float(value)


class Snapshots(Spec):
    """What is kept of a training run; null keeps none."""

    weights: WeightSnapshots | None = WeightSnapshots()
    features: FeatureSnapshots | None = FeatureSnapshots()
    checkpoint: Checkpoints = Checkpoints()


class Training(Spec):
    """Shared by a training run and by the base of a study: everything but the schedule."""

    data: DataSpec = Hierarchical()
    model: ModelSpec = QuadraticDensenet()
    optimizer: OptimizerSpec = Adam()
    budget: Budget = Budget()
    probes: Annotated[tuple[ProbeKind, ...], Field(max_length=50)] = (FeatureError(every=250),)
    snapshots: Snapshots = Snapshots()
    recipe: Literal["reference", "fast"] = "reference"
    """For images: `reference` is plain, `fast` uses the speed techniques of the CIFAR records; never mixed in one figure."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """For images: arithmetic of convolutions; `auto` is bfloat16 where that is faster (CUDA from 8.0 on; processors are measured) and `dtype` is float32."""
    adversarial_radius: NonNegative = 0.0
    """For images: l2 radius of adversarial training, in units of one pixel's range; 0 for none."""
    seed: Seed | Seeds = 0
    """One seed, or an object with a seed for each role."""
    device: Device = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: Dtype = "float32"

    @field_validator("model")
    @classmethod
    def _model_fits_data(cls, model: Any, info: ValidationInfo) -> Any:
        data = info.data.get("data")
        if data is not None:
            refuse(_model_faults(model, data))
        return model

    @field_validator("probes")
    @classmethod
    def _probes_fit_network(cls, probes: Any, info: ValidationInfo) -> Any:
        data, model = info.data.get("data"), info.data.get("model")
        if data is not None and model is not None:
            refuse(probe_faults(probes, data, resolution.layers(Shell(data, model))))  # type: ignore[arg-type]
        return probes

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_data(cls, body: Any) -> Any:
        """What fits the data where nothing is said: a learner that reads them, and for uploaded data an optimiser and
        probes that need no teacher."""
        kind = said(body, "data", "kind")
        if not isinstance(kind, str):
            return body
        if kind in UPLOADED_KINDS:
            model = {"kind": "mlp" if kind == "arrays" else "wide_resnet"}
            squares = said(body, "model", "activation") == "quadratic"
            clip = _SQUARED_CLIPS.get(said(body, "model", "kind"), 1.0) if squares else None
            optimizer = _PICTURE_SGD | {"clip": clip}
            return {"model": model, "optimizer": optimizer, "probes": _PICTURE_PROBES, **body}
        if kind == "random_hierarchy":
            return {"model": {"kind": "tree_convnet"}, **body}
        return {**body, "model": _with_a_readout(body.get("model", {}))} if kind in _UNTOLD_KINDS else body


class TrainSpec(Training):
    """One training run: data, model, schedule, optimiser, budget, probes."""

    schedule: ScheduleSpec = Joint()
    """Which layers train when."""

    @field_validator("schedule")
    @classmethod
    def _schedule_fits_network(cls, schedule: Any, info: ValidationInfo) -> Any:
        data, model = info.data.get("data"), info.data.get("model")
        if data is None or model is None:
            return schedule
        shell = Shell(data, model)
        refuse(resolution.schedule_faults(schedule, resolution.layers(shell)))  # type: ignore[arg-type]
        if isinstance(schedule, Stages) and not isinstance(model, CONVOLUTIONAL):
            refuse(
                [
                    (f"/stages/{i}/head", f"{model.kind} is cut with its own read-out; accepted: linear")
                    for i, stage in enumerate(schedule.stages)
                    if stage.head == "convolutional"
                ]
            )
        if isinstance(schedule, Staged | Lazy) and not isinstance(data, SYNTHETIC):
            refuse(
                [("/kind", f"{schedule.kind} runs on synthetic targets; accepted here: the other schedules")]
            )
        if isinstance(schedule, Minimal) and schedule.lazy and not isinstance(data, SYNTHETIC):
            refuse([("/lazy", "a batch-normalised network is not linearised; accepted here: penalty or rank")])
        if isinstance(schedule, Staged) and not isinstance(model, QuadraticDensenet):
            refuse([("/kind", "staged trains a quadratic_densenet; accepted here: the other schedules")])
        if isinstance(schedule, Lazy) and getattr(data, "samples", None) == "fresh":
            refuse(
                [
                    (
                        "/kind",
                        'lazy needs a fixed set of samples; accepted with samples "fresh": the other schedules',
                    )
                ]
            )
        return schedule


def _with_a_readout(model: Any) -> Any:
    """The model as given, its read-out trained where nothing is said: these targets have no gap to be told."""
    quadratic = isinstance(model, dict) and model.get("kind", "quadratic_densenet") == "quadratic_densenet"
    return {"readout": "signed", **model} if quadratic else model


class Shell(NamedTuple):
    """Just enough of a train spec to number its layers."""

    data: Any
    model: Any


def _model_faults(model: Any, data: Any) -> list[tuple[str, str]]:
    if isinstance(model, CONVOLUTIONAL) and isinstance(data, SYNTHETIC):
        says = f"{model.kind} reads pictures, {data.kind} gives vectors"
        return [("/kind", f"{says}; accepted: {_readers(data)}")]
    if isinstance(model, TreeConvnet) and not isinstance(data, RandomHierarchy):
        says = f"tree_convnet follows the tree of a random_hierarchy, {data.kind} has none"
        return [("/kind", f"{says}; accepted: {_readers(data)}")]
    if isinstance(model, Mlp) and isinstance(data, UPLOADED):
        unscaled = model.parametrisation == "standard" and model.output_scale == 1
        return [] if unscaled else [("/parametrisation", "uploaded data: accepted: standard at output_scale 1")]
    if isinstance(model, QuadraticDensenet) and isinstance(data, (*UPLOADED, RandomHierarchy)):
        return [("/kind", f"quadratic_densenet does not read {data.kind}; accepted: {_readers(data)}")]
    if (
        isinstance(model, QuadraticDensenet)
        and model.readout == "fixed"
        and not isinstance(data, Hierarchical)
    ):
        return [
            ("/readout", f"fixed reads α from a hierarchical target, {data.kind} has none; accepted: signed")
        ]
    if isinstance(model, QuadraticDensenet) and model.levels is not None and not 2 <= model.levels <= 6:
        return [("/levels", f"{model.levels}; accepted: 2 to 6")]
    if (
        isinstance(model, QuadraticDensenet)
        and isinstance(data, Hierarchical)
        and model.levels not in (None, data.levels)
    ) and model.readout == "fixed":
        return [("/levels", f"a fixed read-out has the teacher's levels; accepted: {data.levels}")]
    return []


def _readers(data: Any) -> str:
    """The models that read `data`, as a refusal names them."""
    if isinstance(data, UPLOADED):
        return "mlp or a convolutional network"
    return "mlp, tree_convnet" if isinstance(data, RandomHierarchy) else "quadratic_densenet, mlp"


def probe_faults(probes: Any, data: Any, layers: tuple[int, ...]) -> list[tuple[str, str]]:
    """What does not fit: layers that are not there, teacher measures without a teacher."""
    faults = []
    for i, probe in enumerate(probes):
        faults += [
            (f"/{i}/layers/{j}", f"layer {layer} is not in this network; accepted: {layers[0]} to {layers[-1]}")
            for j, layer in enumerate(probe.layers or ())
            if layer not in layers
        ]
        if probe.kind in ("feature_error", "captured", "degrees") and isinstance(data, UPLOADED):
            faults.append(
                (
                    f"/{i}/kind",
                    f"{probe.kind} compares with a teacher, {data.kind} has none; accepted: linear, cka, …",
                )
            )
        if (
            probe.kind == "sensitivity"
            and not isinstance(data, Staircase | RandomHierarchy)
            and data.kind != "parity"
        ):
            faults.append((f"/{i}/kind", "sensitivity is defined for staircase, parity and random_hierarchy"))
        if probe.kind == "pictures" and isinstance(data, SYNTHETIC):
            faults.append((f"/{i}/kind", f"pictures are of networks on images; {data.kind} gives vectors"))
    return faults


class StudyBase(Training):
    """A train spec without `schedule`: the study sets it. Its `seed` is the first of consecutive ones."""

    probes: Annotated[tuple[ProbeKind, ...], Field(max_length=50)] = (FeatureError(),)
    snapshots: Snapshots = Snapshots(weights=None, features=None)
    """In a study nothing is kept by default; probes and results hold what its questions need."""

    @model_validator(mode="before")
    @classmethod
    def _budget_by_data(cls, body: Any) -> Any:
        """Pictures: a smaller budget than of a training alone."""
        kind = body["data"].get("kind") if isinstance(body, dict) and isinstance(body.get("data"), dict) else None
        pictures = kind != "arrays" and isinstance(kind, str) and kind in UPLOADED_KINDS
        return {"budget": _STUDY_BUDGET, **body} if pictures else body

    def arm(self, schedule: Any, seed: int | Seeds, **changes: Any) -> TrainSpec:
        """The member that trains this base by `schedule` from `seed`, with some fields changed."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return TrainSpec(**{**values, "schedule": schedule, "seed": seed, **changes})


class OfJob(Spec):
    job: JobId
    """A train job of this project; its newest weights are probed, and its own data are the default."""


class OfSnapshots(Spec):
    snapshots: Annotated[tuple[SnapshotId, ...], Field(min_length=1, max_length=1000)]
    """Weight or checkpoint snapshots of this project."""


class ProbeSpec(Spec):
    """Probes of stored weights, run after the fact."""

    of: OfJob | OfSnapshots
    """`{"job": id}` or `{"snapshots": [id, …]}`."""

    @field_validator("of", mode="before")
    @classmethod
    def _one_of_both(cls, of: Any) -> Any:
        if isinstance(of, dict) and len(of.keys() & {"job", "snapshots"}) != 1:
            refuse([("", "accepted: an object with either job or snapshots")])
        return of

    probes: Annotated[tuple[ProbeKind, ...], Field(min_length=1, max_length=50)]
    data: DataSpec | None = None
    """Data to probe on; those of the training job when left out."""
    seed: Seed = 0
    """Draws the probe's inputs."""
    device: Device = "auto"

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"of": {"job": "job_01hzy3v7k2q8s4t6w9x0"}, "probes": [{"kind": "linear"}]}


#: Samples of a baseline at least: one validates.
FEWEST_SAMPLES = 5


class BaselineSpec(Spec):
    """One shallow (or generic deep) learner on the same samples."""

    data: DataSpec = Hierarchical()
    baseline: BaselineKind = Field(default_factory=lambda: _rbf())
    inputs_as: Literal["x", "x_and_h1"] = "x"
    """The inputs alone, or with the normalised squares that the quadratic learner gets free."""
    seed: Seed | Seeds = 0
    device: Device = "auto"
    dtype: Dtype = "float64"

    @field_validator("data")
    @classmethod
    def _validates(cls, data: Any) -> Any:
        if not isinstance(data, SYNTHETIC):
            refuse([("/kind", f"baselines run on synthetic targets, {data.kind} is uploaded; accepted: hierarchical, …")])
        if data.samples != "fresh" and data.samples < FEWEST_SAMPLES:
            said = f"a fifth of the samples validates, so {data.samples} are too few"
            refuse([("/samples", f"{said}; accepted: {FEWEST_SAMPLES} or more")])
        return data

    @field_validator("inputs_as")
    @classmethod
    def _squares_differ(cls, value: str, info: ValidationInfo) -> str:
        data = info.data.get("data")
        if value == "x_and_h1" and data is not None and not squares_say_more(data):
            refuse([("", "h_1 = x² − 1 is constant or undefined for these inputs; accepted: x")])
        return value


def squares_say_more(data: Any) -> bool:
    """Whether h_1 = x² − 1 is neither constant nor undefined for these inputs."""
    return data.kind in ("hierarchical", "multi_index") and getattr(data, "inputs", "") != "sign"


def _rbf() -> Any:
    from bfc_core.specs.baseline import KernelRidge

    return KernelRidge()


__all__ = [
    "BaselineSpec", "Checkpoints", "FeatureSnapshots", "OfJob", "OfSnapshots", "ProbeSpec", "Seeds",
    "Snapshots", "StudyBase", "TrainSpec", "Training", "WeightSnapshots", "squares_say_more",
]  # fmt: skip
