"""The shapes of replies and of the smaller bodies, as the OpenAPI document tells them.

Replies are mostly spelt by Postgres and passed on; these models document them, and tests hold them to it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bfc_core.specs.scalars import UNPRINTABLE, printable

Item = TypeVar("Item")
State = Literal[
    "waiting", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]
Kind = Literal["train", "probe", "baseline", "study", "sweep"]
ScopeName = Literal["read", "submit", "admin"]
EventKind = Literal["state", "progress", "metric", "log", "rewound"]
Free = dict[str, Any]


def _printable(text: str) -> str:
    if not printable(text):
        raise ValueError(f"{UNPRINTABLE}; accepted: printable text")
    return text


#: text for people, which others will see beside their own
Shown = Annotated[str, AfterValidator(_printable)]


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", serialize_by_alias=True)


class Body(BaseModel):
    """Base of all bodies: closed and strict."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


class ProblemFault(Reply):
    """One invalid field."""

    pointer: str
    """JSON pointer (RFC 6901) into the body, or into what `in` names"""
    detail: str
    """what was wrong and what is accepted"""
    place: Literal["query", "path", "header"] | None = Field(default=None, alias="in")
    """where the pointer points; left out for the body"""


class ProblemReply(BaseModel):
    """A refusal (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow", title="Problem")

    type: str
    """a stable name of this kind of problem"""
    title: str
    status: int
    detail: str
    errors: list[ProblemFault] | None = None


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    # Attribute docstrings of generics are looked up by walking all modules, once for each `Page[…]`.
    model_config = ConfigDict(extra="forbid")

    items: list[Item]
    next: str | None = Field(description="send it as `cursor` for the page after this one; null on the last")


class Progress(Reply):
    """How far a job is."""

    done: int
    total: int | None
    unit: str
    """`step` of the optimiser over all stages, or `job` for studies and sweeps"""
    eta_seconds: float | None


class JobReply(Reply):
    """One job of any kind."""

    model_config = ConfigDict(title="Job")

    id: str
    project: str
    kind: Kind
    name: str
    labels: dict[str, str]
    version: int
    spec: Free
    """the kind's spec with all defaults filled in"""
    spec_hash: str
    state: State
    reason: str | None
    """why it came into this state, in words"""
    progress: Progress
    attempt: int
    """how often it was claimed"""
    parent: str | None
    """the study or sweep it belongs to"""
    member_key: str | None
    pack: str | None
    """jobs of one pack run as one program"""
    priority: int
    after: list[str]
    """jobs it waits for"""
    limits: Free
    device: str
    estimate: Free
    origin_id: str | None
    """for an imported job, its id where it came from"""
    origin_snapshot: str | None
    """for a forked job, the checkpoint it went on from"""
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    error: Free | None
    result: Free | None
    """the summary of a finished job"""
    provenance: Free


class Estimate(Reply):
    """What a job will take."""

    parameters: int
    flops: int
    snapshot_bytes: int
    memory_bytes: int
    device_memory_bytes: int
    seconds: float
    largest: str
    """JSON pointer to the field that memory hangs on most"""


class DryRunReply(Reply):
    """What a submission would do; nothing was queued."""

    model_config = ConfigDict(title="DryRun")

    kind: Kind
    name: str
    labels: dict[str, str]
    priority: int
    after: list[str]
    limits: Free
    version: int
    spec: Free
    spec_hash: str
    estimate: Estimate
    members: int
    """jobs that a study or sweep is made of; 0 for others"""
    power: Free | None
    """a study's power at this number of seeds"""


class EventReply(Reply):
    """One event; of a stream, the `data` of one message."""

    model_config = ConfigDict(title="Event")

    id: str
    """its place in this stream; send it as `after` or `Last-Event-ID` to go on behind it"""
    type: EventKind
    job: str
    at: datetime
    data: Free


class SeriesReply(Reply):
    """One metric over steps."""

    model_config = ConfigDict(title="Series")

    job: str
    key: str
    layer: int | None
    unit: str | None
    steps: list[int]
    values: list[float | None]
    """null where the value is not a finite number"""


class MetricsReply(Reply):
    """The series asked for."""

    model_config = ConfigDict(title="Metrics")

    series: list[SeriesReply]


class ColumnReply(Reply):
    """One column of a table."""

    model_config = ConfigDict(title="Column")

    name: str
    type: str
    unit: str | None


class TableReply(Reply):
    """A table of results."""

    model_config = ConfigDict(title="Table")

    columns: list[ColumnReply]
    rows: list[list[Any]]


class ResultsReply(Reply):
    """What a finished job found."""

    model_config = ConfigDict(title="Results")

    summary: Free
    tables: dict[str, TableReply]


class FigureReply(Reply):
    """A figure that can be drawn of a job."""

    model_config = ConfigDict(title="Figure")

    name: str
    title: str
    doc: str


class TensorEntry(Reply):
    """A tensor of a snapshot, without its content."""

    name: str
    dtype: str
    """in safetensors' words: F32, BF16, U8, …"""
    shape: list[int]
    bytes: int
    hash: str
    """sha256 of dtype, shape and content"""


class SnapshotReply(Reply):
    """Weights, features or a checkpoint of a job at one step."""

    model_config = ConfigDict(title="Snapshot")

    id: str
    job: str
    step: int
    kind: Literal["weights", "features", "checkpoint"]
    bytes: int
    hash: str
    meta: Free
    created_at: datetime
    tensors: list[TensorEntry]


class WhyReply(BaseModel):
    """Why a job is in its present state; the fields depend on the state."""

    model_config = ConfigDict(title="Why", extra="allow")

    state: State
    says: str
    """in words"""
    next: str
    """what happens next, in words"""


class AuditReply(BaseModel):
    """Each attempt at a job, and each step between states."""

    model_config = ConfigDict(title="Audit", extra="allow")

    attempts: list[Free]


class Word(Reply):
    """One word of the language of specs."""

    part: str
    kind: str
    title: str
    doc: str
    source: str
    json_schema: Free = Field(alias="schema")
    example: Any
    group: str | None = None


class CatalogReply(Reply):
    """Every word, and what makes this catalog a version."""

    model_config = ConfigDict(title="Catalog")

    items: list[Word]


class ProjectBody(Body):
    """A new project."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
    """letters, digits, dot, dash, underscore"""


class ProjectReply(Reply):
    """A project."""

    model_config = ConfigDict(title="Project")

    id: str
    name: str
    created_at: datetime


class NewProjectReply(ProjectReply):
    """A project just made, with its first key."""

    model_config = ConfigDict(title="NewProject")

    key: NewKeyReply


class KeyBody(Body):
    """A new key."""

    name: Annotated[Shown, Field(max_length=100)] = ""
    """for people"""
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3, strict=False)] = ["read", "submit"]
    """`admin` may submit, `submit` may read"""
    project: Annotated[str, Field(max_length=100)] | None = None
    """id or name of another project; for the operator alone"""
    expires_in_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86400)] | None = None
    """left out: never"""


class KeyReply(Reply):
    """A key, without its secret."""

    model_config = ConfigDict(title="Key")

    id: str
    project: str
    name: str
    scopes: list[ScopeName]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None


class NewKeyReply(KeyReply):
    """A key just made; `key` is shown this once."""

    model_config = ConfigDict(title="NewKey")

    key: str


NewProjectReply.model_rebuild()


class QuotaBody(Body):
    """Limits of a project; null takes a limit away, a field left out stays."""

    requests_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    queued_jobs: Annotated[int, Field(ge=0, le=10**9)] | None = None
    running_jobs: Annotated[int, Field(ge=0, le=10**9)] | None = None
    """jobs that hold a process at once; more wait in the queue"""
    job_wall_seconds: Annotated[int, Field(ge=1, le=10**8)] | None = None
    """each job's `limits` are at most these four; the server's own, `BFC_MAX_JOB_…`, stand beside them"""
    job_memory_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = None
    job_attempts: Annotated[int, Field(ge=1, le=1000)] | None = None
    job_snapshot_bytes: Annotated[int, Field(ge=0, le=2**50)] | None = None
    snapshot_bytes: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    dataset_bytes: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    """finished jobs older than this are deleted; a job's label `retention_days` stands above, its label `keep` keeps it"""
    retention_bytes: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """beyond so many bytes of snapshots the oldest finished jobs are deleted"""


class UsageReply(Reply):
    """What a project uses, and its limits."""

    model_config = ConfigDict(title="Usage")

    project: str
    jobs: dict[str, int]
    """jobs by state"""
    snapshot_bytes: int
    """bytes of snapshots before compression, equal content charged each time"""
    dataset_bytes: int
    run_seconds: float
    """running time summed over jobs; members of a pack run together and each counts"""
    quotas: dict[str, int]


class WorkerReply(Reply):
    """A worker process bound to one device."""

    model_config = ConfigDict(title="Worker")

    id: str
    name: str
    host: str
    device: str
    device_class: str
    state: str
    version: str
    jobs: list[str]
    """jobs of this project that it runs"""
    memory_bytes: int
    memory_free_bytes: int
    device_memory_bytes: int
    device_memory_free_bytes: int
    hardware: Free
    started_at: datetime
    heard_at: datetime


class QueueReply(Reply):
    """The jobs of one device class that wait."""

    model_config = ConfigDict(title="Queue")

    name: str
    queued: int
    """of this project"""
    running: int
    workers: int
    oldest_seconds: float | None


class DatasetReply(Reply):
    """An uploaded data set."""

    model_config = ConfigDict(title="Dataset")

    id: str
    name: str
    format: str
    bytes: int
    hash: str
    meta: Free
    tensors: list[TensorEntry]
    created_at: datetime


class WebhookBody(Body):
    """A subscription."""

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    """https (http only where the operator allows private addresses); never a private address otherwise"""
    events: Annotated[list[str], Field(min_length=1, max_length=10)] = ["state"]
    """event types: state, log, metric, progress, rewound; or job.<state>, such as job.succeeded"""


class WebhookReply(Reply):
    """A subscription, without its secret."""

    model_config = ConfigDict(title="Webhook")

    id: str
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None


class NewWebhookReply(WebhookReply):
    """A subscription just made; `secret` signs its deliveries and is shown this once."""

    model_config = ConfigDict(title="NewWebhook")

    secret: str


class DeliveryReply(Reply):
    """One delivery and its attempts."""

    model_config = ConfigDict(title="Delivery")

    id: str
    event: str
    state: Literal["pending", "delivered", "failed"]
    attempt: int
    status: int | None
    error: str | None
    next_at: datetime | None
    created_at: datetime
    delivered_at: datetime | None
    log: list[Free]
    payload: Free


class ForkBody(Body):
    """A new train job from a checkpoint."""

    snapshot: Annotated[str, Field(max_length=60)]
    """a checkpoint of this job"""
    spec: Free = {}
    """JSON merge patch (RFC 7396) of the job's spec"""
    name: Annotated[str, Field(max_length=200)] | None = None
    labels: dict[str, str] | None = None


class HealthReply(Reply):
    """The process lives."""

    model_config = ConfigDict(title="Health")

    status: Literal["ok"]
    version: str


class ReadyReply(Reply):
    """What the server rests on, each `ok` or what is wrong."""

    model_config = ConfigDict(title="Ready")

    status: Literal["ready", "not_ready"]
    database: str
    broker: str
    schema_: str = Field(alias="schema")
