"""What an archive's JSON may say, down to each field: whoever sends one may have written it by hand."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from bfc_core.records import Result, Table
from bfc_core.specs.job import LabelKey, LabelValue, Limits
from bfc_core.specs.scalars import JobId, printable
from store.archives import FORMAT, VERSION

DEPTH_LIMIT = 64


def _storable(value: Any) -> Any:
    """Text without NUL and lone surrogates, finite numbers, not too deep: what Postgres keeps as JSON."""
    stack = [(value, 0)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, str):
            if "\x00" in node or (not node.isascii() and any("\ud800" <= letter <= "\udfff" for letter in node)):
                raise PydanticCustomError("text", "text may not hold NUL or a lone surrogate")
        elif isinstance(node, float):
            if not math.isfinite(node):
                raise PydanticCustomError("finite", "numbers must be finite")
        elif isinstance(node, dict | list):
            if depth >= DEPTH_LIMIT:
                raise PydanticCustomError("depth", "at most 64 levels are read")
            inner = node if isinstance(node, list) else [*node, *node.values()]
            stack.extend((one, depth + 1) for one in inner)
    return value


def _printable(text: str) -> str:
    if not printable(text):
        raise PydanticCustomError("printable", "accepted: printable text")
    return text


def _limits(said: dict[str, Any]) -> dict[str, Any]:
    Limits.model_validate(said)
    return said


Whole = Annotated[int, Field(ge=0, le=2**63 - 1)]
Small = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
#: written as text, unlike all other fields
Time = Annotated[AwareDatetime, Field(strict=False)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Named = Annotated[str, Field(max_length=1000), AfterValidator(_storable)]
Free = Annotated[dict[str, Any], AfterValidator(_storable)]


class Said(BaseModel):
    """Base: closed, strict, without NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


class TensorSaid(Said):
    """A tensor of a snapshot; its content is an entry of its own, named by its hash."""

    name: Annotated[str, Field(max_length=300), AfterValidator(_storable)]
    dtype: Annotated[str, Field(max_length=8)]
    shape: Annotated[list[Small], Field(max_length=16)]
    hash: Hash


class SnapshotSaid(Said):
    """Weights or features at one step."""

    id: Named
    step: Whole
    kind: Literal["weights", "features"]
    meta: Free
    hash: Hash
    tensors: list[TensorSaid]


class RowSaid(Said):
    """A finished job as it was, `store.archives.KEPT`."""

    kind: Literal["train", "probe", "baseline", "study", "sweep"]
    name: Annotated[Named, AfterValidator(_printable)] | None
    labels: Annotated[dict[LabelKey, Annotated[LabelValue, AfterValidator(_printable)]], Field(max_length=64)]
    version: Small
    spec: Free
    spec_hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    state: Literal["succeeded", "failed", "cancelled"]
    priority: Annotated[int, Field(ge=-100, le=100)]
    member_key: Named | None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$", max_length=40)]
    device_class: Literal["cpu", "cuda"] | None
    dtype: Annotated[str, Field(max_length=20), AfterValidator(_storable)] | None
    threads: Small | None
    estimate: Free
    limits: Annotated[Free, AfterValidator(_limits)]
    attempt: Whole
    progress_done: Whole
    progress_total: Whole
    progress_unit: Annotated[str, Field(max_length=20), AfterValidator(_storable)]
    error: Free | None
    summary: Free | None
    provenance: Free
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    run_seconds: Seconds


class JobSaid(Said):
    """One job with what it keeps."""

    id: JobId
    parent: JobId | None
    after: list[JobId]
    result_hash: Hash | None
    snapshots: list[SnapshotSaid]
    job: RowSaid


class ManifestSaid(Said):
    """All jobs, the root first."""

    format: Annotated[str, Field(pattern=f"^{FORMAT}$")]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    root: JobId
    jobs: Annotated[list[JobSaid], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_study(self) -> ManifestSaid:
        ids = {one.id for one in self.jobs}
        parents = [None, *[self.root] * (len(self.jobs) - 1)]
        if self.jobs[0].id != self.root or [one.parent for one in self.jobs] != parents:
            raise PydanticCustomError("root", "the first job is not the root of all others")
        if len(ids) != len(self.jobs) or any(not ids.issuperset(one.after) for one in self.jobs):
            raise PydanticCustomError("ids", "a job stands twice, or waits for one that is not here")
        keys = [one.job.member_key for one in self.jobs if one.job.member_key is not None]
        if len(set(keys)) != len(keys):
            raise PydanticCustomError("member", "two members have the same key")
        return self


class ColumnSaid(Said):
    """One column of a table."""

    name: Named
    type: Literal["string", "integer", "number", "boolean"]
    unit: Named | None


class TableSaid(Said):
    """A table of results."""

    columns: list[ColumnSaid]
    rows: Annotated[list[list[str | int | float | bool | None]], AfterValidator(_storable)]

    @model_validator(mode="after")
    def _even(self) -> TableSaid:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise PydanticCustomError("rows", "each row has one value for each column")
        return self


class ResultSaid(Said):
    """What a job found."""

    summary: Free
    tables: dict[Named, TableSaid]

    def result(self) -> Result:
        """The same as the store writes it."""
        return Result(self.summary, {name: Table.of(table.model_dump()) for name, table in self.tables.items()})


class PointsSaid(Said):
    """One series; a value that is no finite number is spelt."""

    key: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
    layer: Small | None
    unit: Named | None
    steps: list[Whole]
    values: list[float | Literal["nan", "inf", "-inf"]]

    @model_validator(mode="after")
    def _paired(self) -> PointsSaid:
        if len(self.steps) != len(self.values):
            raise PydanticCustomError("points", "a series has one value for each step")
        return self


class SeriesSaid(Said):
    """All series of a job."""

    series: list[PointsSaid]

    @model_validator(mode="after")
    def _once_each(self) -> SeriesSaid:
        names = [(one.key, one.layer) for one in self.series]
        if len(set(names)) != len(names):
            raise PydanticCustomError("series", "a series stands twice")
        return self
