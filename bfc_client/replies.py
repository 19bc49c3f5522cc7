"""The server's replies as frozen models. Unknown fields are kept, so that a newer server stays readable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bfc_client import display
from bfc_client.tables import Table

State = Literal[
    "queued", "waiting", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
Item = TypeVar("Item")


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Page(Reply, Generic[Item]):
    """One page of a list; `next` is the cursor of the page after it, or None."""

    items: list[Item]
    next: str | None = None

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class Progress(Reply):
    """How far a job is, in its own unit."""

    done: float = 0
    total: float | None = None
    unit: str = "step"
    eta_seconds: float | None = None

    @property
    def fraction(self) -> float:
        """Between 0 and 1; 0 while the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Job(Reply):
    """One job of any kind."""

    id: str
    kind: str
    state: str
    project: str | None = None
    name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(default_factory=dict)
    spec_hash: str | None = None
    progress: Progress = Field(default_factory=Progress)
    attempt: int = 0
    parent: str | None = None
    priority: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: dict[str, Any] | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    origin_id: str | None = None

    @property
    def final(self) -> bool:
        """True when the state can only change by `retry`, `fork` or deletion."""
        return self.state in FINAL

    def _repr_html_(self) -> str:
        return display.job_html(self)


class DryRun(Reply):
    """What a submission would do: the spec after defaults, and what it would cost."""

    spec: dict[str, Any]
    estimate: dict[str, Any] = Field(default_factory=dict)
    members: int = 0
    power: dict[str, Any] | None = None


class Why(Reply):
    """Why a job is in its present state: `says` in words, `next` what happens next, and the facts."""

    state: str
    says: str = ""
    next: str = ""


class Attempt(Reply):
    """One attempt at a job."""

    number: int
    epoch: int | None = None
    worker_name: str | None = None
    device: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    counts: bool | None = None


class Audit(Reply):
    """Every attempt at a job, and every step between states; the attempt that `counts` gave its results."""

    steps: list[dict[str, Any]] = Field(default_factory=list)
    attempts: list[Attempt] = Field(default_factory=list)


class Event(Reply):
    """One event of a job: `type` is state, progress, metric, log or rewound."""

    id: Annotated[str, BeforeValidator(str)]
    type: str
    job: str | None = None
    at: datetime | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Series(Reply):
    """One metric over steps."""

    key: str
    layer: int | str | None = None
    unit: str | None = None
    job: str | None = None
    steps: list[int]
    values: list[float | None]


class Results(Reply):
    """A finished job's summary and tables."""

    summary: dict[str, Any] = Field(default_factory=dict)
    tables: dict[str, Table] = Field(default_factory=dict)

    @property
    def claims(self) -> list[Claim]:
        """A study's claims with their verdicts; empty for other kinds."""
        return [Claim.model_validate(claim) for claim in self.summary.get("claims") or []]

    def _repr_html_(self) -> str:
        return display.results_html(self)


class Claim(Reply):
    """A claim's verdict; `says` puts it in plain words."""

    claim: str
    verdict: str
    readout: str | None = None
    n: int | None = None
    planned: int | None = None
    effect: Any = None
    interval: Any = None
    family_wise: bool | None = None
    rule: Any = None
    says: str | None = None


class FigureEntry(Reply):
    """A figure that a job can draw."""

    name: str
    title: str | None = None
    doc: str | None = None


class TensorEntry(Reply):
    """A tensor of a snapshot, without its content."""

    name: str
    dtype: str
    shape: list[int]
    hash: str | None = None


class Snapshot(Reply):
    """Weights, features or a checkpoint of a job at one step."""

    id: str
    job: str | None = None
    step: int | None = None
    kind: str | None = None
    tensors: list[TensorEntry] = Field(default_factory=list)


class Word(Reply):
    """One entry of the catalog: a kind of some part of a spec."""

    part: str
    kind: str
    title: str | None = None
    doc: str | None = None
    source: Any = None
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")
    example: Any = None


class Dataset(Reply):
    """An uploaded data set."""

    id: str
    name: str | None = None
    format: str | None = None


class Key(Reply):
    """An access key; `key` holds the secret only in the reply that made it."""

    id: str
    scopes: list[str] = Field(default_factory=list)
    key: str | None = None


class Webhook(Reply):
    """A subscription; `secret` is shown only in the reply that made it."""

    id: str
    url: str
    events: list[str] = Field(default_factory=list)
    secret: str | None = None


class Worker(Reply):
    """A worker process bound to one device."""

    id: str
    name: str | None = None
    device: str | None = None
    state: str | None = None
    jobs: list[str] = Field(default_factory=list)
    heard_at: datetime | None = None


class Queue(Reply):
    """The queue of one device class."""

    name: str
    queued: int = 0
    running: int = 0
    workers: int = 0
