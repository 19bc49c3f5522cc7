"""What a running job yields. Torch-free, so that whoever stores a record need not load torch.

A job is an iterator of records; whoever iterates decides where they go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

#: safetensors' name of each storable dtype, with its size in bytes.
ITEM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_NAMES = {dtype.strip("<").replace("?", "b1"): name for name, dtype in _NUMPY.items()}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as it is stored: dtype in safetensors' words, shape, C-ordered little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"dtype {self.dtype!r} is not stored; accepted: {', '.join(ITEM_BYTES)}")
        expected = ITEM_BYTES[self.dtype]
        for size in self.shape:
            expected *= size
        if len(self.data) != expected:
            raise ValueError(f"{self.dtype}{list(self.shape)} takes {expected} bytes, got {len(self.data)}")

    @classmethod
    def of(cls, array: np.ndarray[Any, Any]) -> Tensor:
        """The tensor holding `array` (any shape; float, integer or bool dtype)."""
        name = _NAMES.get(f"{array.dtype.kind}{array.dtype.itemsize}")
        if name is None:
            raise ValueError(f"numpy dtype {array.dtype} is not stored")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return cls(name, tuple(array.shape), little.tobytes(order="C"))

    def numpy(self) -> np.ndarray[Any, Any]:
        """The array, read-only; BF16 is widened to float32, which holds it exactly."""
        import numpy as np

        if self.dtype == "BF16":
            wide = np.frombuffer(self.data, "<u2").astype("<u4") << 16
            return wide.view("<f4").reshape(self.shape)
        return np.frombuffer(self.data, _NUMPY[self.dtype]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of a series: `key` at `step`, of one layer where the key has layers."""

    step: int
    key: str
    value: float
    layer: int | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of work; for `train` a unit is one optimiser step over all stages."""

    done: int
    total: int
    unit: str = "step"


@dataclass(frozen=True, slots=True)
class Log:
    """A line for people; level as in the standard library's logging."""

    level: Literal["debug", "info", "warning", "error"]
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Named tensors worth keeping: `weights`, or `features` on fixed inputs."""

    step: int
    kind: Literal["weights", "features"]
    tensors: Mapping[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a later attempt needs to end with the same bits: tensors and a JSON state.

    Every record yielded before it belongs to the past that the checkpoint closes.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: Literal["string", "integer", "number", "boolean"]
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of JSON scalars under typed columns; a missing value is None, never NaN."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        width = len(self.columns)
        for row in self.rows:
            if len(row) != width:
                raise ValueError(f"a row of {len(row)} values under {width} columns")

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def json(self) -> dict[str, Any]:
        """As the API shows it: `{"columns": [{"name", "type", "unit"}], "rows": [[…]]}`."""
        columns = [{"name": c.name, "type": c.type, "unit": c.unit} for c in self.columns]
        return {"columns": columns, "rows": [list(row) for row in self.rows]}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Table:
        """The table that `json` wrote."""
        columns = tuple(Column(c["name"], c["type"], c.get("unit")) for c in body["columns"])
        return cls(columns, tuple(tuple(row) for row in body["rows"]))


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a job: a flat summary and named tables. Holds no ids, hosts, attempts or memory."""

    summary: dict[str, Any]
    tables: dict[str, Table] = field(default_factory=dict)


#: Every `code` that the error of a failed or cancelled job may carry: when, and what to do.
FAILURES: Mapping[str, str] = {
    "diverged": "numbers grew beyond bounds or stopped being finite; the hint says which rate to lower",
    "invalid_data": "the data set does not fit the model; change either",
    "missing_data": "the data set was not fetched for this job; retry it",
    "missing_input": "what the job reads is gone, or is not what its spec says; name another snapshot, job or data set",
    "unreadable": "a stored snapshot does not fit the spec that reads it",
    "wall_time": "it ran longer than `limits.wall_seconds`; raise the limit and retry: it goes on from its checkpoint",
    "snapshot_bytes": "its snapshots outgrew `limits.snapshot_bytes`; keep fewer, or raise the limit and retry",
    "out_of_memory": "its process ran out of memory several times; make the job smaller or give it more memory",
    "attempts_exhausted": "its worker was lost more often than `limits.attempts`; retry starts the count again",
    "crashed": "a fault of the lab's own code; the message names it and the audit holds its trace",
    "stopped": "its process stopped unasked; retry it",
    "conclude_failed": "a study's tables could not be made of its members' results; the message says why",
    "dependency_failed": "a job that it waited for did not succeed; retry that one first",
    "silent": "a run outside the service ended without a result",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """The job ended for a reason of its own, such as `diverged`; trying again would end the same."""

    code: str
    message: str
    step: int | None = None
    layer: int | None = None
    hint: str | None = None


Record = Metric | Progress | Log | Snapshot | Checkpoint | Result | Failure
