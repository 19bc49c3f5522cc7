"""The lease: claimed by one statement, renewed by one statement, given back by one transaction.

Whatever a holder writes carries the epoch of its claim; the database refuses an epoch that is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from store.settle import count_members
from store.states import LEASED

# Heads of the line in every project; more than one, because a neighbour may be claiming the first. Each further
# one stands behind as many running jobs as heads before it: whoever finds the first taken goes to the next project.
HEADS = 16

# Whether a worker can take job j. As a CASE, of which the planner believes that it holds for every second row: of
# the conditions one by one it believes that hardly a row passes, and sorts a project's whole queue for a few heads.
FITS = """CASE WHEN (j.not_before IS NULL OR j.not_before <= now())
                AND j.device IN ('auto', :class, :device) AND coalesce(j.device_class, :class) = :class
                AND j.memory_bytes <= :memory AND (:class = 'cpu' OR j.device_memory_bytes <= :device_memory)
                AND (j.pack_id IS NULL OR NOT EXISTS (
                     SELECT 1 FROM jobs e WHERE e.pack_id = j.pack_id AND e.slot < j.slot AND e.state = 'queued'))
              THEN true ELSE false END"""

CLAIM = text(f"""
    WITH load AS (
        SELECT project_id, count(DISTINCT coalesce(pack_id, id)) AS running FROM jobs
         WHERE state IN ('running', 'pausing', 'cancelling') AND kind NOT IN ('study', 'sweep') GROUP BY project_id
    ), heads AS (
        SELECT head.id, head.priority, coalesce(load.running, 0) + head.place AS running, p.claimed_at
          FROM projects p
          LEFT JOIN load ON load.project_id = p.id
          LEFT JOIN quotas q ON q.project_id = p.id AND q.name = 'running_jobs'
         CROSS JOIN LATERAL (
            SELECT j.id, j.priority, row_number() OVER (ORDER BY j.priority DESC, j.id) - 1 AS place FROM jobs j
             WHERE j.project_id = p.id AND j.state = 'queued' AND {FITS}
             ORDER BY j.priority DESC, j.id LIMIT {HEADS}) AS head
         WHERE (q.amount IS NULL OR coalesce(load.running, 0) < q.amount)
           AND NOT EXISTS (
               SELECT 1 FROM quotas s WHERE s.project_id = p.id AND s.name = 'snapshot_bytes'
                  AND s.amount <= (SELECT coalesce(sum(bytes), 0) FROM snapshots WHERE project_id = p.id))
         ORDER BY head.priority DESC, coalesce(load.running, 0) + head.place, p.claimed_at, head.id
    ), picked AS (
        SELECT j.id, j.pack_id, j.project_id FROM heads JOIN jobs j ON j.id = heads.id
         WHERE j.state = 'queued'
         ORDER BY heads.priority DESC, heads.running, heads.claimed_at, heads.id
         LIMIT 1 FOR UPDATE OF j SKIP LOCKED
    ), turn AS (
        UPDATE projects SET claimed_at = clock_timestamp() WHERE id IN (
            SELECT p.id FROM projects p JOIN picked ON picked.project_id = p.id FOR NO KEY UPDATE OF p SKIP LOCKED)
    ), claimed AS (
        UPDATE jobs j SET state = 'running', reason = 'claimed', attempt = attempt + 1, epoch = epoch + 1,
               worker_id = :worker, lease_until = clock_timestamp() + make_interval(secs => :lease), not_before = NULL,
               device_class = coalesce(device_class, :class), threads = coalesce(threads, :threads),
               dtype = coalesce(dtype, spec ->> 'dtype')
          FROM picked WHERE (j.id = picked.id OR j.pack_id = picked.pack_id) AND j.state = 'queued'
        RETURNING j.id, j.project_id, j.parent_id, j.kind, j.spec, j.spec_hash, j.epoch, j.attempt, j.pack_id, j.slot,
                  j.limits, j.run_seconds, j.origin_snapshot_id, j.device_class, j.dtype, j.threads, j.trace_id, j.mark,
                  j.memory_bytes, j.progress_done, j.progress_total, j.progress_unit
    ), begun AS (
        INSERT INTO attempts (job_id, epoch, number, worker_id, worker_name, device, from_step)
        SELECT claimed.id, claimed.epoch, claimed.attempt, w.id, w.name, w.device,
               (SELECT max(step) FROM checkpoints c WHERE c.job_id = claimed.id)
          FROM claimed JOIN workers w ON w.id = :worker
    )
    SELECT * FROM claimed""")

# Everything past the last checkpoint is unmade: the attempt will make it again, with the same bits.
MARKS = """
    WITH marks AS (
        SELECT DISTINCT ON (j.id) j.id, coalesce(c.mark, 0) AS mark, coalesce(c.done, 0) AS done, c.step
          FROM jobs j LEFT JOIN checkpoints c ON c.job_id = j.id
         WHERE j.id = ANY(:ids) ORDER BY j.id, c.mark DESC NULLS LAST)
"""
CUT_SERIES = text(
    MARKS + "DELETE FROM series_chunks s USING marks WHERE s.job_id = marks.id AND s.mark > marks.mark"
)
CUT_SNAPSHOTS = text(
    MARKS + "DELETE FROM snapshots s USING marks WHERE s.job_id = marks.id AND s.mark > marks.mark"
)
REWIND = text(
    MARKS
    + """, rewound AS (
        UPDATE jobs j SET mark = marks.mark, progress_done = marks.done, event_seq = j.event_seq + 1
          FROM marks, (SELECT id, progress_done AS was FROM jobs WHERE id = ANY(:ids)) AS old
         WHERE j.id = marks.id AND old.id = j.id AND (old.was > marks.done OR j.mark > marks.mark)
        RETURNING j.*, marks.step AS to_step, old.was)
    INSERT INTO events (job_id, seq, project_id, parent_id, kind, data)
    SELECT id, event_seq, project_id, parent_id, 'rewound', jsonb_build_object('to_step', coalesce(to_step, 0),
           'done', progress_done, 'was', was, 'attempt', attempt) FROM rewound"""
)

# Heartbeat, progress, the poll for requests and the fence: one statement for all jobs of a child.
BEAT = text("""
    WITH beat AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:epochs AS bigint[]), CAST(:done AS bigint[]),
                             CAST(:total AS bigint[]), CAST(:units AS text[])) AS b(id, epoch, done, total, unit)
    ), held AS (
        SELECT j.id, j.progress_done AS was FROM jobs j JOIN beat ON beat.id = j.id AND beat.epoch = j.epoch
         WHERE j.state IN ('running', 'pausing', 'cancelling') ORDER BY j.id FOR NO KEY UPDATE OF j
    ), renewed AS (
        UPDATE jobs j SET lease_until = clock_timestamp() + make_interval(secs => :lease),
               progress_done = beat.done, progress_total = beat.total, progress_unit = beat.unit,
               event_seq = j.event_seq + (beat.done <> held.was)::int
          FROM beat JOIN held ON held.id = beat.id WHERE j.id = beat.id
        RETURNING j.id, j.epoch, j.state, j.event_seq, j.project_id, j.parent_id, j.progress_done, j.progress_total,
                  j.progress_unit, held.was, j.cancel_at, extract(epoch FROM clock_timestamp() - j.cancel_at) AS asked
    ), told AS (
        INSERT INTO events (job_id, seq, project_id, parent_id, kind, data)
        SELECT id, event_seq, project_id, parent_id, 'progress',
               jsonb_build_object('done', progress_done, 'total', progress_total, 'unit', progress_unit)
          FROM renewed WHERE progress_done <> was)
    SELECT id, epoch, state, asked FROM renewed""")


@dataclass(frozen=True, slots=True)
class Claimed:
    """One job with the lease its worker holds on it."""

    id: str
    project_id: str
    parent_id: str | None
    kind: str
    spec: dict[str, Any]
    spec_hash: str
    epoch: int
    attempt: int
    pack_id: str | None
    slot: int | None
    limits: dict[str, Any]
    run_seconds: float
    origin_snapshot_id: str | None
    device_class: str
    dtype: str | None
    threads: int
    trace_id: str | None
    mark: int
    memory_bytes: int
    progress_done: int
    progress_total: int
    progress_unit: str


@dataclass(frozen=True, slots=True)
class Room:
    """What a worker has to offer at this moment."""

    worker_id: str
    device_class: str
    device: str
    memory_bytes: int
    device_memory_bytes: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of one job."""

    job_id: str
    epoch: int
    done: int
    total: int
    unit: str


def claim(connection: Connection, room: Room, lease_seconds: float) -> list[Claimed]:
    """Takes the job whose turn it is, with its whole pack; nothing when nothing fits.

    Priority first, then the project with the fewest running and the longest wait for a turn, then age.
    The attempts begin, and what earlier ones left past their checkpoints is cut away.
    """
    rows = connection.execute(
        CLAIM,
        {
            "worker": room.worker_id,
            "class": room.device_class,
            "device": room.device,
            "memory": room.memory_bytes,
            "device_memory": room.device_memory_bytes,
            "threads": room.threads,
            "lease": lease_seconds,
        },
    ).mappings()
    claimed = sorted((Claimed(**row) for row in rows), key=lambda one: one.slot or 0)
    again = [one.id for one in claimed if one.attempt > 1]
    if again:
        rewind(connection, again)
    return claimed


def rewind(connection: Connection, ids: Sequence[str]) -> None:
    """Cuts the jobs' series, snapshots and progress back to their last checkpoints, and says so in an event."""
    connection.execute(CUT_SERIES, {"ids": list(ids)})
    connection.execute(CUT_SNAPSHOTS, {"ids": list(ids)})
    connection.execute(REWIND, {"ids": list(ids)})


def started(connection: Connection, parent_id: str) -> None:
    """Tells a study that a member has started. Apart from the claim, which must not wait for its lock."""
    count_members(connection, parent_id)


def pack_specs(connection: Connection, pack_id: str) -> dict[int, dict[str, Any]]:
    """The specs of all members of a pack by slot, the ended ones too: the pack keeps its shape."""
    rows = connection.execute(
        text("SELECT slot, spec FROM jobs WHERE pack_id = :pack ORDER BY slot"), {"pack": pack_id}
    )
    return {row.slot: row.spec for row in rows}


def beat(connection: Connection, beats: Sequence[Beat], lease_seconds: float) -> Mapping[str, Any]:
    """Renews the leases of `beats` and stores their progress; the rows still held by job id.

    Each row has `state` (`running`, `pausing`, `cancelling`) and `asked`, the seconds since cancel was asked.
    A job that is missing from the answer is fenced: its holder must stop.
    """
    rows = connection.execute(
        BEAT,
        {
            "ids": [one.job_id for one in beats],
            "epochs": [one.epoch for one in beats],
            "done": [one.done for one in beats],
            "total": [one.total for one in beats],
            "units": [one.unit for one in beats],
            "lease": lease_seconds,
        },
    )
    return {row.id: row for row in rows}


def renew(connection: Connection, job_id: str, epoch: int, lease_seconds: float) -> bool:
    """Renews one lease without progress; False when it is another's now."""
    result = connection.execute(
        text("""UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => :lease)
                 WHERE id = :id AND epoch = :epoch AND state IN ('running', 'pausing', 'cancelling')"""),
        {"id": job_id, "epoch": epoch, "lease": lease_seconds},
    )
    return result.rowcount > 0


def hold(connection: Connection, held: Mapping[str, int], marks: Mapping[str, int]) -> dict[str, int]:
    """Takes the row locks of those of `held` (epoch by job) that are still leased under their epochs.

    The first statement of every write of the sink: what follows in the transaction cannot be overtaken.
    Each job's mark rises to `marks`; returned is where it stood, by job: batches up to it have arrived before.
    """
    rows = connection.execute(
        text("""
            WITH mine AS (
                SELECT j.id, j.mark AS was, h.mark FROM jobs j
                  JOIN unnest(CAST(:ids AS text[]), CAST(:epochs AS bigint[]), CAST(:marks AS bigint[]))
                       AS h(id, epoch, mark) ON h.id = j.id AND h.epoch = j.epoch
                 WHERE j.state IN ('running', 'pausing', 'cancelling') ORDER BY j.id FOR NO KEY UPDATE OF j)
            UPDATE jobs SET mark = greatest(jobs.mark, mine.mark) FROM mine WHERE jobs.id = mine.id
            RETURNING jobs.id, mine.was"""),
        {"ids": list(held), "epochs": list(held.values()), "marks": [marks[job] for job in held]},
    )
    return {row.id: row.was for row in rows}


def tell(connection: Connection, told: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Adds events `(job_id, kind, data)`, in order, each under its job's next number."""
    if not told:
        return
    connection.execute(
        text("""
            WITH fresh AS (
                SELECT t.*, row_number() OVER (PARTITION BY job_id ORDER BY place) AS nth,
                       count(*) OVER (PARTITION BY job_id) AS many
                  FROM unnest(CAST(:jobs AS text[]), CAST(:kinds AS text[]), CAST(:data AS jsonb[]))
                       WITH ORDINALITY AS t(job_id, kind, data, place)
            ), counted AS (
                UPDATE jobs SET event_seq = event_seq + fresh.many
                  FROM (SELECT DISTINCT job_id, many FROM fresh) AS fresh WHERE jobs.id = fresh.job_id
                RETURNING jobs.id, jobs.event_seq, jobs.project_id, jobs.parent_id
            )
            INSERT INTO events (job_id, seq, project_id, parent_id, kind, data)
            SELECT c.id, c.event_seq - fresh.many + fresh.nth, c.project_id, c.parent_id, fresh.kind, fresh.data
              FROM fresh JOIN counted c ON c.id = fresh.job_id ORDER BY fresh.place"""),
        {
            "jobs": [job for job, _, _ in told],
            "kinds": [kind for _, kind, _ in told],
            "data": [json.dumps(data, allow_nan=False).replace("\\u0000", "") for _, _, data in told],
        },
    )


def leased(connection: Connection, worker_id: str) -> list[str]:
    """The jobs whose lease this worker holds."""
    rows = connection.execute(
        text("SELECT id FROM jobs WHERE worker_id = :worker AND state = ANY(:leased) ORDER BY id"),
        {"worker": worker_id, "leased": list(LEASED)},
    )
    return list(rows.scalars())
