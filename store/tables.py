"""Every table of the lab. Constraints are named by the convention below; migrations carry the triggers."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

from store.states import LEASED, STATES

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOW = text("now()")
EMPTY = text("'{}'::jsonb")


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction number; text in Python."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _time(name: str, *, now: bool = False) -> "Column[Any]":
    return Column(name, DateTime(timezone=True), nullable=not now, server_default=NOW if now else None)


def _count(name: str, default: int = 0) -> "Column[Any]":
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def _flag(name: str) -> "Column[Any]":
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _json(name: str) -> "Column[Any]":
    return Column(name, JSONB, nullable=False, server_default=EMPTY)


def _project(**options: Any) -> "Column[Any]":
    return Column(
        "project_id", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, **options
    )


def _job(**options: Any) -> "Column[Any]":
    return Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, **options)


# who

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    _time("created_at", now=True),
    # When one of its jobs was last claimed: projects take turns.
    Column("claimed_at", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")),
    UniqueConstraint("name"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    _time("created_at", now=True),
    _time("used_at"),
    _time("expires_at"),
    _time("revoked_at"),
    UniqueConstraint("hash"),
    CheckConstraint("scopes <@ ARRAY['read', 'submit', 'admin']", name="scopes"),
    Index(None, "project_id"),
)

quotas = Table(
    "quotas",
    metadata,
    _project(),
    # queued_jobs, running_jobs, job_wall_seconds, job_memory_bytes …, snapshot_bytes, dataset_bytes, requests_per_minute …
    Column("name", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("project_id", "name"),
    CheckConstraint("amount >= 0", name="amount"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _project(),
    Column("key", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    # Null while the first request is still at work.
    Column("status", SmallInteger),
    _json("headers"),
    Column("body", LargeBinary),
    _time("created_at", now=True),
    PrimaryKeyConstraint("project_id", "key"),
    Index(None, "created_at"),
)

# work

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device_class", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'idle'")),
    Column("version", Text, nullable=False),
    _flag("drain"),
    _count("memory_bytes"),
    _count("memory_free_bytes"),
    _count("device_memory_bytes"),
    _count("device_memory_free_bytes"),
    _json("hardware"),
    _time("started_at", now=True),
    _time("heard_at", now=True),
    _time("ended_at"),
    CheckConstraint("state IN ('idle', 'busy', 'draining', 'gone')", name="state"),
    CheckConstraint("device_class IN ('cpu', 'cuda')", name="device_class"),
    Index("ix_workers_live", "device_class", postgresql_where=text("state <> 'gone'")),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("kind", Text, nullable=False),
    Column("name", Text),
    _json("labels"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    # JSON, not JSONB, where numbers and order come back just as they were written: JSONB turns 1e22 into
    # an integer and loses the sign of zero.
    Column("spec", JSON, nullable=False),
    Column("spec_hash", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    # Place among others: a study, its member's key, the pack that is claimed together, the slot in it.
    Column("parent_id", Text, ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("member_key", Text),
    Column("pack_id", Text),
    Column("slot", Integer),
    # Where it may run, and what the first claim settled for every attempt.
    Column("device", Text, nullable=False, server_default=text("'auto'")),
    Column("device_class", Text),
    Column("dtype", Text),
    Column("threads", Integer),
    # What it needs; for a member of a pack, the needs of the whole pack.
    _count("memory_bytes"),
    _count("device_memory_bytes"),
    _json("estimate"),
    _json("limits"),
    # The lease. Epoch grows at every claim and every revocation; attempt counts claims.
    _count("attempt"),
    _count("epoch"),
    Column("worker_id", Text, ForeignKey("workers.id", ondelete="SET NULL")),
    _time("lease_until"),
    _time("not_before"),
    # Attempts that count against the limit, by cause.
    _count("lost_attempts"),
    _count("memory_kills"),
    Column("run_seconds", Double, nullable=False, server_default=text("0")),
    # What the holder of the lease has been asked to do.
    _time("cancel_at"),
    _time("pause_at"),
    Column("reason", Text),
    # A study: due when its last member has ended.
    _flag("conclude_due"),
    _count("progress_done"),
    _count("progress_total"),
    Column("progress_unit", Text, nullable=False, server_default=text("'step'")),
    _count("event_seq"),
    _count("mark"),
    Column("error", JSONB),
    Column("summary", JSON),
    _json("provenance"),
    Column("origin_id", Text),
    # The checkpoint a forked job starts from.
    Column("origin_snapshot_id", Text),
    Column("key_id", Text),
    Column("trace_id", Text),
    _time("created_at", now=True),
    _time("queued_at"),
    _time("started_at"),
    _time("finished_at"),
    CheckConstraint("kind IN ('train', 'probe', 'baseline', 'study', 'sweep')", name="kind"),
    CheckConstraint(f"state IN ({_quoted(STATES)})", name="state"),
    CheckConstraint("priority BETWEEN -100 AND 100", name="priority"),
    CheckConstraint("device ~ '^(auto|cpu|cuda(:[0-9]+)?)$'", name="device"),
    CheckConstraint("(pack_id IS NULL) = (slot IS NULL)", name="pack"),
    CheckConstraint(f"lease_until IS NULL OR state IN ({_quoted(LEASED)})", name="lease"),
    UniqueConstraint("parent_id", "member_key"),
    UniqueConstraint("pack_id", "slot"),
    Index(
        "ix_jobs_queue", "project_id", text("priority DESC"), "id", postgresql_where=text("state = 'queued'")
    ),
    Index("ix_jobs_leased", "project_id", postgresql_where=text(f"state IN ({_quoted(LEASED)})")),
    Index("ix_jobs_waiting", "parent_id", postgresql_where=text("state = 'waiting'")),
    Index("ix_jobs_conclude", "id", postgresql_where=text("conclude_due")),
    Index("ix_jobs_project", "project_id", text("id DESC")),
    Index("ix_jobs_state", "project_id", "state", text("id DESC")),
    Index("ix_jobs_kind", "project_id", "kind", text("id DESC")),
    Index("ix_jobs_name", "project_id", "name", text("id DESC")),
    Index("ix_jobs_labels", "labels", postgresql_using="gin", postgresql_ops={"labels": "jsonb_path_ops"}),
    Index("ix_jobs_hash", "project_id", "spec_hash"),
    # Heartbeats touch no indexed column: leave room on the page, so that they stay heap-only.
    postgresql_with={"fillfactor": "70"},
)

job_dependencies = Table(
    "job_dependencies",
    metadata,
    _job(),
    Column("needs_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("job_id", "needs_id"),
    Index(None, "needs_id"),
    CheckConstraint("job_id <> needs_id", name="self"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    PrimaryKeyConstraint("source", "target"),
)

attempts = Table(
    "attempts",
    metadata,
    _job(),
    Column("epoch", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("worker_id", Text),
    Column("worker_name", Text),
    Column("device", Text),
    _time("started_at", now=True),
    _time("ended_at"),
    # succeeded, failed, cancelled, paused, lost, drained, outage, memory, killed, wall_time
    Column("outcome", Text),
    # The checkpoint's step it went on from; null: from the start.
    Column("from_step", BigInteger),
    Column("confirmed_step", BigInteger),
    # True for the one whose results count.
    _flag("counts"),
    _json("detail"),
    PrimaryKeyConstraint("job_id", "epoch"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _job(),
    _time("at", now=True),
    Column("source", Text),
    Column("target", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("worker_id", Text),
    Column("actor", Text),
    Column("reason", Text),
    Index(None, "job_id", "id"),
)

events = Table(
    "events",
    metadata,
    _job(),
    Column("seq", BigInteger, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("parent_id", Text),
    Column("id", BigInteger, Identity(), nullable=False),
    Column("txid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    _time("at", now=True),
    # state, progress, metric, log, rewound
    Column("kind", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    PrimaryKeyConstraint("job_id", "seq"),
    Index("ix_events_project", "project_id", "txid", "id"),
    Index("ix_events_parent", "parent_id", "txid", "id", postgresql_where=text("parent_id IS NOT NULL")),
    Index("ix_events_at", "at", postgresql_using="brin"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("queue", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    _time("created_at", now=True),
)

# what comes back

series = Table(
    "series",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _job(),
    Column("key", Text, nullable=False),
    Column("layer", Integer),
    Column("unit", Text),
    # The last step told in an event: points made again by a later attempt are not told again.
    Column("told_step", BigInteger, nullable=False, server_default=text("-1")),
    UniqueConstraint("job_id", "key", "layer", postgresql_nulls_not_distinct=True),
)

series_chunks = Table(
    "series_chunks",
    metadata,
    Column("series_id", BigInteger, ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    # The batch of the sink that wrote it: a claim cuts what lies past the checkpoint's mark.
    Column("mark", BigInteger, nullable=False),
    _job(),
    Column("epoch", BigInteger, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("points", Integer, nullable=False),
    # Little-endian int64 and float64: many points a row, read without a parse.
    Column("point_steps", LargeBinary, nullable=False),
    Column("point_values", LargeBinary, nullable=False),
    PrimaryKeyConstraint("series_id", "mark"),
    Index(None, "job_id", "mark"),
)

results = Table(
    "results",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    _time("created_at", now=True),
)

result_tables = Table(
    "result_tables",
    metadata,
    _job(),
    Column("name", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("rows", JSON, nullable=False),
    PrimaryKeyConstraint("job_id", "name"),
)

tensors = Table(
    "tensors",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    # Equal tensors are stored once a project; no project can learn what another holds.
    _project(),
    Column("hash", LargeBinary, nullable=False),
    Column("dtype", Text, nullable=False),
    Column("shape", ARRAY(BigInteger), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    _time("touched_at", now=True),
    UniqueConstraint("project_id", "hash"),
)

tensor_chunks = Table(
    "tensor_chunks",
    metadata,
    Column("tensor_id", BigInteger, ForeignKey("tensors.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    # 0 raw, 1 zstd, 2 bytes shuffled by item size, then zstd
    Column("codec", SmallInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tensor_id", "number"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    _job(),
    Column("step", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("mark", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    _json("meta"),
    _time("created_at", now=True),
    CheckConstraint("kind IN ('weights', 'features', 'checkpoint')", name="kind"),
    UniqueConstraint("job_id", "kind", "step"),
    Index(None, "project_id", "id"),
)

snapshot_tensors = Table(
    "snapshot_tensors",
    metadata,
    Column("snapshot_id", Text, ForeignKey("snapshots.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("tensor_id", BigInteger, ForeignKey("tensors.id"), nullable=False),
    PrimaryKeyConstraint("snapshot_id", "name"),
    Index(None, "tensor_id"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("snapshot_id", Text, ForeignKey("snapshots.id", ondelete="CASCADE"), primary_key=True),
    _job(),
    Column("step", BigInteger, nullable=False),
    Column("mark", BigInteger, nullable=False),
    # The job's progress when it was made.
    _count("done"),
    Column("state", JSON, nullable=False),
    _time("created_at", now=True),
    Index(None, "job_id", "mark"),
)

# what is brought in, and who is told

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _json("meta"),
    _time("created_at", now=True),
    UniqueConstraint("project_id", "hash"),
    Index(None, "project_id", "id"),
)

dataset_tensors = Table(
    "dataset_tensors",
    metadata,
    Column("dataset_id", Text, ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("tensor_id", BigInteger, ForeignKey("tensors.id"), nullable=False),
    PrimaryKeyConstraint("dataset_id", "name"),
    Index(None, "tensor_id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    # How far the project's events have been turned into deliveries.
    Column("seen_txid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("seen_id", BigInteger, nullable=False, server_default=text("0")),
    _time("created_at", now=True),
    _time("disabled_at"),
    Index(None, "project_id", "id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    # "<job>:<seq>" of the event; unique, so that none is told twice by mistake.
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    _count("attempt"),
    _time("next_at", now=True),
    Column("status", SmallInteger),
    Column("error", Text),
    _json("log"),
    _time("created_at", now=True),
    _time("delivered_at"),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
    UniqueConstraint("webhook_id", "event"),
    Index("ix_deliveries_due", "next_at", postgresql_where=text("state = 'pending'")),
    Index(None, "webhook_id", "id"),
)
