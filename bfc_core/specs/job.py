"""The envelope of a job, and the one way in: `parse_job`."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from bfc_core.specs.errors import Fault, SpecError, escape, faults_of
from bfc_core.specs.scalars import UNPRINTABLE, Exact, JobId, Spec, printable, refuse
from bfc_core.specs.study import CorrectionSpec, StudySpec, SweepSpec
from bfc_core.specs.train import BaselineSpec, ProbeSpec, TrainSpec

LabelKey = Annotated[
    str, Field(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$")
]
LabelValue = Annotated[str, Field(strict=True, max_length=256)]


class Limits(Spec):
    """What a job may use at most; the project's and the server's limits when left out."""

    wall_seconds: Annotated[float, Field(strict=True, gt=0, le=10**8)] | None = None
    """Running time over all attempts."""
    memory_bytes: Annotated[int, Field(strict=True, ge=1, le=2**50)] | None = None
    """Resident memory of the job's process."""
    attempts: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Attempts, lost ones counted; 10 when left out."""
    snapshot_bytes: Annotated[int, Field(strict=True, ge=0, le=2**50)] | None = None
    """Stored bytes of snapshots."""


class Envelope(Spec):
    """What every job carries besides its spec."""

    name: Annotated[str, Field(strict=True, max_length=200)] = ""
    """For people; any printable text, kept as it is sent."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(default_factory=dict)
    """For finding jobs again."""
    priority: Annotated[int, Field(strict=True, ge=-100, le=100)] = 0
    """Higher first."""
    after: Annotated[tuple[JobId, ...], Field(max_length=1000)] = ()
    """Jobs that must have succeeded before this one starts."""
    limits: Limits = Limits()
    version: Annotated[Literal[1], Exact] = 1
    """Of the language."""

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not printable(name):
            refuse([("", f"{UNPRINTABLE}; accepted: printable text up to 200 characters")])
        return name

    @field_validator("labels")
    @classmethod
    def _storable(cls, labels: dict[str, str]) -> dict[str, str]:
        says = f"{UNPRINTABLE}; accepted: printable text up to 256 characters"
        refuse([(f"/{escape(key)}", says) for key, value in labels.items() if not printable(value)])
        return labels


class TrainJob(Envelope):
    """Train a network by a schedule."""

    kind: Literal["train"] = "train"
    spec: TrainSpec = TrainSpec()


class ProbeJob(Envelope):
    """Probe stored weights."""

    kind: Literal["probe"] = "probe"
    spec: ProbeSpec

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"kind": "probe", "spec": ProbeSpec.example()}


class BaselineJob(Envelope):
    """Fit a baseline."""

    kind: Literal["baseline"] = "baseline"
    spec: BaselineSpec = BaselineSpec()


class StudyJob(Envelope):
    """Ask a question with many jobs."""

    kind: Literal["study"] = "study"
    spec: StudySpec = CorrectionSpec()


class SweepJob(Envelope):
    """Train at every point of a grid."""

    source: ClassVar[str] = "standard"
    kind: Literal["sweep"] = "sweep"
    spec: SweepSpec

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"kind": "sweep", "spec": SweepSpec.example()}


Job = TrainJob | ProbeJob | BaselineJob | StudyJob | SweepJob
JOBS: dict[str, type[Job]] = {
    "train": TrainJob,
    "probe": ProbeJob,
    "baseline": BaselineJob,
    "study": StudyJob,
    "sweep": SweepJob,
}
JobBody = Annotated[Job, Field(discriminator="kind")]
_BODY: TypeAdapter[Any] = TypeAdapter(JobBody)
_STUDY: TypeAdapter[Any] = TypeAdapter(StudySpec)


def parse_job(body: object) -> Job:
    """The job that a JSON body says.

    Raises:
        SpecError: with every fault, each at its JSON pointer.
    """
    if not isinstance(body, dict):
        raise SpecError((Fault("", "accepted: a JSON object with a kind and a spec"),))
    if "kind" not in body:
        raise SpecError((Fault("/kind", f"is missing; accepted: {', '.join(JOBS)}"),))
    try:
        job: Job = _BODY.validate_python(body)
    except ValidationError as error:
        kind = body["kind"]
        root = JOBS.get(kind) if isinstance(kind, str) else None
        raise SpecError(_named(faults_of(error, body, root), error)) from None
    except RecursionError:
        raise SpecError((Fault("", "nested too deeply; accepted: the depth of the language"),)) from None
    return job


def _named(faults: tuple[Fault, ...], error: ValidationError) -> tuple[Fault, ...]:
    """A wrong `kind` is a fault of the field `kind`, not of the object that holds it."""
    tags = {item["type"] for item in error.errors(include_url=False)}
    if not tags & {"union_tag_invalid", "union_tag_not_found"}:
        return faults
    moved = []
    for fault in faults:
        if fault.detail.startswith("kind "):
            fault = Fault(f"{fault.pointer}/kind", fault.detail)
        moved.append(fault)
    return tuple(moved)


def load(kind: str, spec: dict[str, Any]) -> Any:
    """A stored spec back in its model; kind is a job's kind."""
    if kind == "study":
        return _STUDY.validate_python(spec)
    return JOBS[kind].model_fields["spec"].annotation.model_validate(spec)  # type: ignore[union-attr]


def dump(model: Spec) -> dict[str, Any]:
    """JSON-ready, with all defaults filled in."""
    return model.model_dump(mode="json")


def canonical(value: Any) -> str:
    """One spelling for equal JSON: sorted keys, no spaces, integral floats as integers."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def spec_hash(model: Spec) -> str:
    """`sha256:` and the hex digest of the spec's canonical JSON, defaults included."""
    return "sha256:" + hashlib.sha256(canonical(dump(model)).encode()).hexdigest()
