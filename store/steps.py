"""What a client may ask of a job: cancel, pause, resume, retry. Each is one short transaction.

A step that does not apply is a `Conflict` that says why. Locks: the study before its members.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from store.errors import Conflict, NotFound
from store.jobs import STUDIES
from store.settle import UNMET, count_members, ended, follow, lock_parents
from store.states import TERMINAL

BY_CLIENT = "a client asked for it"


def actor(connection: Connection, who: str) -> None:
    """Names who acts in this transaction, for the audit."""
    connection.execute(text("SELECT set_config('bfc.actor', :who, true)"), {"who": who})


def cancel(connection: Connection, project_id: str, job_id: str) -> None:
    """Asks a job to stop for good; a study with all its members. Asking twice is no fault.

    It is `cancelled` at once where nothing runs, else `cancelling` until its process is gone.
    """
    job = _lock(connection, project_id, job_id)
    if job.state in TERMINAL:
        raise Conflict("cancel", job.state, "it has ended already")
    if job.state == "cancelling":
        return
    if job.kind in STUDIES:
        cancel_members(connection, job_id, BY_CLIENT)
        if count_leased(connection, job_id):
            _set(connection, [job_id], "cancelling", BY_CLIENT, "cancel_at = clock_timestamp()")
        else:
            # A worker may be concluding it: the new epoch refuses what that would write.
            _set(connection, [job_id], "cancelling", BY_CLIENT, "epoch = epoch + 1, conclude_due = false")
            _set(connection, [job_id], "cancelled", BY_CLIENT)
            ended(connection, [job_id])
    elif job.state in ("running", "pausing"):
        _set(connection, [job_id], "cancelling", BY_CLIENT, "cancel_at = clock_timestamp(), pause_at = NULL")
    else:
        _set(connection, [job_id], "cancelled", BY_CLIENT)
        ended(connection, [job_id])


def cancel_members(connection: Connection, study_id: str, reason: str) -> None:
    """Cancels every member that has not ended; those with a process are asked to stop."""
    rows = _members(connection, study_id)
    still = [row.id for row in rows if row.state in ("waiting", "queued", "paused")]
    live = [row.id for row in rows if row.state in ("running", "pausing")]
    _set(connection, still, "cancelled", reason, "cancel_at = NULL, pause_at = NULL")
    _set(connection, live, "cancelling", reason, "cancel_at = clock_timestamp(), pause_at = NULL")
    # Others outside the study may wait for a member.
    follow(connection, still)


def pause(connection: Connection, project_id: str, job_id: str) -> None:
    """Asks a job to keep a checkpoint and let its worker go, until `resume`; a study with all its members."""
    job = _lock(connection, project_id, job_id)
    if job.state in (*TERMINAL, "cancelling"):
        raise Conflict("pause", job.state, "it has ended, or is about to")
    if job.state in ("pausing", "paused"):
        return
    if job.kind in STUDIES:
        rows = _members(connection, job_id)
        if all(row.state in TERMINAL for row in rows):
            raise Conflict("pause", job.state, "all its members have ended; it is being concluded")
        _set(connection, [row.id for row in rows if row.state in ("waiting", "queued")], "paused", BY_CLIENT)
        live = [row.id for row in rows if row.state == "running"]
        _set(connection, live, "pausing", BY_CLIENT, "pause_at = clock_timestamp()")
        _set(connection, [job_id], "pausing", BY_CLIENT)
        count_members(connection, job_id)
    elif job.state == "running":
        _set(connection, [job_id], "pausing", BY_CLIENT, "pause_at = clock_timestamp()")
    else:
        _set(connection, [job_id], "paused", BY_CLIENT)


def resume(connection: Connection, project_id: str, job_id: str) -> None:
    """Lets a paused job go on from where it was; a study with all its paused members."""
    job = _lock(connection, project_id, job_id)
    if job.state == "pausing":
        raise Conflict("resume", job.state, "it is still keeping its checkpoint; wait until it is paused")
    if job.state != "paused":
        raise Conflict("resume", job.state, "only a paused job can go on")
    if job.kind in STUDIES:
        paused = [row.id for row in _members(connection, job_id) if row.state == "paused"]
        _set(connection, [job_id], "waiting", BY_CLIENT, "pause_at = NULL")
        _requeue(connection, paused, BY_CLIENT)
        count_members(connection, job_id)
    else:
        _free_parent(connection, job, "resume")
        _requeue(connection, [job_id], BY_CLIENT)


def retry(connection: Connection, project_id: str, job_id: str) -> None:
    """Queues a failed or cancelled job again, from its last checkpoint; of a study only what is missing.

    Members that ended for a reason of their own, such as divergence, are results and stay as they are.
    """
    job = _lock(connection, project_id, job_id)
    if job.state not in ("failed", "cancelled"):
        raise Conflict("retry", job.state, "only a failed or cancelled job can be tried again")
    if job.kind not in STUDIES:
        _free_parent(connection, job, "retry")
        _needs_may_succeed(connection, job)
        _requeue(connection, [job_id], BY_CLIENT)
        if job.parent_id is not None:
            count_members(connection, job.parent_id)
        return
    rows = _members(connection, job_id)
    missing = [
        row.id for row in rows if row.state == "cancelled" or (row.state == "failed" and not row.final)
    ]
    forgiven = "conclude_due = false, error = NULL, cancel_at = NULL, not_before = NULL, lost_attempts = 0"
    _set(connection, [job_id], "waiting", BY_CLIENT, forgiven)
    _requeue(connection, missing, BY_CLIENT)
    _blame_again(connection, [*missing, job_id])
    count_members(connection, job_id)


def count_leased(connection: Connection, study_id: str) -> int:
    """How many members have a process."""
    return int(
        connection.execute(
            text("""SELECT count(*) FROM jobs WHERE parent_id = :id
                       AND state IN ('running', 'pausing', 'cancelling')"""),
            {"id": study_id},
        ).scalar_one()
    )


def _lock(connection: Connection, project_id: str, job_id: str) -> Row[Any]:
    lock_parents(connection, [job_id])
    row = connection.execute(
        text(
            "SELECT id, kind, state, parent_id FROM jobs WHERE id = :id AND project_id = :project FOR UPDATE"
        ),
        {"id": job_id, "project": project_id},
    ).one_or_none()
    if row is None:
        raise NotFound("job", job_id)
    return row


def _members(connection: Connection, study_id: str) -> list[Row[Any]]:
    """Every member, held, in the study's order; `final` says that it ended for a reason of its own."""
    return list(
        connection.execute(
            text("""SELECT id, state, coalesce(error ->> 'code' = 'diverged', false) AS final
                      FROM jobs WHERE parent_id = :id ORDER BY id FOR UPDATE"""),
            {"id": study_id},
        )
    )


def _set(connection: Connection, ids: list[str], state: str, reason: str, also: str = "") -> None:
    if ids:
        more = f", {also}" if also else ""
        connection.execute(
            text(f"UPDATE jobs SET state = :state, reason = :reason{more} WHERE id = ANY(:ids)"),
            {"state": state, "reason": reason, "ids": ids},
        )


def _requeue(connection: Connection, ids: list[str], reason: str) -> None:
    """Back to the queue, or to waiting; what earlier attempts used up is forgiven."""
    if ids:
        connection.execute(
            text(f"""
                UPDATE jobs SET state = CASE WHEN {UNMET} THEN 'waiting' ELSE 'queued' END, reason = :reason,
                       error = NULL, cancel_at = NULL, pause_at = NULL, not_before = NULL, lost_attempts = 0,
                       memory_kills = 0,
                       run_seconds = CASE WHEN state IN ('failed', 'cancelled') THEN 0 ELSE run_seconds END
                 WHERE id = ANY(:ids)"""),
            {"ids": ids, "reason": reason},
        )


def _needs_may_succeed(connection: Connection, job: Row[Any]) -> None:
    """A job that waits for one which ended without success would be cancelled again at once."""
    ended = connection.execute(
        text("""SELECT n.id, n.state FROM job_dependencies d JOIN jobs n ON n.id = d.needs_id
                 WHERE d.job_id = :id AND n.state IN ('failed', 'cancelled') ORDER BY n.id LIMIT 1"""),
        {"id": job.id},
    ).one_or_none()
    if ended is not None:
        raise Conflict("retry", job.state, f"job {ended.id}, which it waits for, is {ended.state}; retry that first")


def _blame_again(connection: Connection, ids: list[str]) -> None:
    """Those requeued that wait for a job which failed for good are cancelled at once, as they were before."""
    failed = connection.execute(
        text("""SELECT DISTINCT n.id FROM job_dependencies d JOIN jobs n ON n.id = d.needs_id
                 WHERE d.job_id = ANY(:ids) AND n.state IN ('failed', 'cancelled')"""),
        {"ids": ids},
    ).scalars()
    follow(connection, list(failed))


def _free_parent(connection: Connection, job: Row[Any], action: str) -> None:
    """A member may move on its own only while its study is still under way."""
    if job.parent_id is None:
        return
    state = connection.execute(
        text("SELECT state, conclude_due FROM jobs WHERE id = :id"), {"id": job.parent_id}
    ).one()
    if state.state not in ("waiting", "running") or state.conclude_due:
        raise Conflict(
            action, job.state, f"its study {job.parent_id} is {state.state}; {action} that instead"
        )
