"""What follows from a job's end or start: dependents are released or cancelled, a study counts its members.

Locks are taken parent before member, earlier id before later one; dependencies point to earlier ids.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

UNMET = """EXISTS (SELECT 1 FROM job_dependencies d JOIN jobs n ON n.id = d.needs_id
                    WHERE d.job_id = jobs.id AND n.state <> 'succeeded')"""

DEPENDENTS = text("""
    SELECT jobs.id, jobs.parent_id FROM jobs JOIN job_dependencies d ON d.job_id = jobs.id
     WHERE d.needs_id = ANY(:ids) AND jobs.state IN ('waiting', 'paused')
     ORDER BY jobs.id FOR UPDATE OF jobs""")

RELEASE = text(f"""
    UPDATE jobs SET state = 'queued', reason = 'all it waited for has succeeded'
     WHERE id = ANY(:ids) AND state = 'waiting' AND kind NOT IN ('study', 'sweep') AND NOT {UNMET}""")

BLAME = text("""
    UPDATE jobs SET state = 'cancelled', cancel_at = NULL, pause_at = NULL, epoch = epoch + 1,
           reason = 'a job it waited for did not succeed',
           error = jsonb_build_object('code', 'dependency_failed', 'message',
               'job ' || blamed.needs_id || ' ended as ' || blamed.state, 'job', blamed.needs_id)
      FROM (SELECT DISTINCT ON (d.job_id) d.job_id, d.needs_id, n.state
              FROM job_dependencies d JOIN jobs n ON n.id = d.needs_id
             WHERE n.state IN ('failed', 'cancelled') ORDER BY d.job_id, d.needs_id) AS blamed
     WHERE jobs.id = ANY(:ids) AND jobs.id = blamed.job_id AND jobs.state IN ('waiting', 'queued', 'paused')
    RETURNING jobs.id, jobs.parent_id""")

# Members are counted by one statement that the parent's lock has made to wait for every earlier end.
COUNT = text("""
    SELECT count(*) AS total,
           count(*) FILTER (WHERE state IN ('succeeded', 'failed', 'cancelled')) AS ended,
           count(*) FILTER (WHERE state IN ('running', 'pausing', 'cancelling')) AS leased,
           count(*) FILTER (WHERE state = 'paused') AS paused,
           count(*) FILTER (WHERE attempt > 0) AS begun
      FROM jobs WHERE parent_id = :id""")


def lock_parents(connection: Connection, ids: Sequence[str]) -> None:
    """Takes the locks of the studies that own `ids`: always before the jobs' own."""
    connection.execute(
        text("""SELECT id FROM jobs WHERE id IN (SELECT parent_id FROM jobs WHERE id = ANY(:ids))
                 ORDER BY id FOR UPDATE"""),
        {"ids": list(ids)},
    )


def ended(connection: Connection, ids: Sequence[str]) -> None:
    """Draws the consequences of the ends of the jobs `ids`, whose rows and parents this transaction holds."""
    own = _parents(connection, ids)
    follow(connection, ids)
    for parent in sorted(own):
        count_members(connection, parent)


def follow(connection: Connection, ids: Sequence[str]) -> None:
    """Releases or cancels those that wait for the ended jobs `ids`, and theirs, and counts their studies."""
    parents: set[str] = set()
    frontier = list(ids)
    while frontier:
        frontier = _follow(connection, frontier)
        parents.update(_parents(connection, frontier))
    for parent in sorted(parents):
        count_members(connection, parent)


def count_members(connection: Connection, study_id: str) -> None:
    """Brings a study's progress and state in line with its members."""
    study = connection.execute(
        text("SELECT state, conclude_due FROM jobs WHERE id = :id FOR UPDATE"), {"id": study_id}
    ).one()
    tally = connection.execute(COUNT, {"id": study_id}).one()
    _told_progress(connection, study_id, tally.ended, tally.total)
    over = tally.ended == tally.total
    match study.state:
        case "cancelling" if tally.leased == 0 and over:
            _step(connection, study_id, "cancelled", "all its members have ended")
            ended(connection, [study_id])
        case "pausing" if tally.leased == 0:
            _step(connection, study_id, "paused", "no member runs any more")
        case "waiting" | "running" if over:
            if study.state == "waiting":
                _step(connection, study_id, "running", "all its members have ended")
            connection.execute(text("UPDATE jobs SET conclude_due = true WHERE id = :id"), {"id": study_id})
        case "waiting" if tally.leased > 0 or tally.begun > 0:
            _step(connection, study_id, "running", "a member has started")


def _follow(connection: Connection, ids: list[str]) -> list[str]:
    """Releases or cancels those that wait for `ids`; the cancelled ones, whose own dependents come next."""
    dependents = [row.id for row in connection.execute(DEPENDENTS, {"ids": ids})]
    if not dependents:
        return []
    cancelled = [row.id for row in connection.execute(BLAME, {"ids": dependents})]
    connection.execute(RELEASE, {"ids": dependents})
    return cancelled


def _parents(connection: Connection, ids: Sequence[str]) -> list[Any]:
    return list(
        connection.execute(
            text("SELECT DISTINCT parent_id FROM jobs WHERE id = ANY(:ids) AND parent_id IS NOT NULL"),
            {"ids": list(ids)},
        ).scalars()
    )


def _told_progress(connection: Connection, study_id: str, done: int, total: int) -> None:
    connection.execute(
        text("""
            WITH told AS (UPDATE jobs SET progress_done = :done, progress_total = :total,
                                 event_seq = event_seq + 1
                           WHERE id = :id AND progress_done <> :done RETURNING *)
            INSERT INTO events (job_id, seq, project_id, parent_id, kind, data)
            SELECT id, event_seq, project_id, parent_id, 'progress',
                   jsonb_build_object('done', progress_done, 'total', progress_total, 'unit', progress_unit)
              FROM told"""),
        {"id": study_id, "done": done, "total": total},
    )


def _step(connection: Connection, job_id: str, state: str, reason: str) -> None:
    connection.execute(
        text("UPDATE jobs SET state = :state, reason = :reason WHERE id = :id"),
        {"id": job_id, "state": state, "reason": reason},
    )
