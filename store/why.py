"""Why a job is in its present state, and what happens next: fields for programs, a sentence for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, text

from store.errors import NotFound
from store.jobs import STUDIES
from store.states import LEASED

FACTS = text("""
    SELECT j.*, now() AS now, w.name AS worker_name, w.host, w.device AS worker_device,
           w.state AS worker_state, w.heard_at, extract(epoch FROM now() - w.heard_at) AS silent_seconds,
           extract(epoch FROM j.lease_until - now()) AS lease_seconds
      FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
     WHERE j.id = :id AND j.project_id = :project""")

# The place counts jobs of all projects that would be claimed first, and names none of them.
PLACE = text("""
    SELECT count(*) FROM jobs WHERE state = 'queued' AND id <> :id
       AND (priority > :priority OR (priority = :priority AND id < :id))
       AND (pack_id IS NULL OR pack_id IS DISTINCT FROM :pack)""")

ROOM = text("""
    SELECT count(*) AS live, count(*) FILTER (WHERE memory_bytes >= :memory) AS big_enough,
           count(*) FILTER (WHERE hardware ? 'disk_full') AS disk_full,
           count(*) FILTER (WHERE state = 'idle' AND NOT hardware ? 'disk_full') AS idle,
           count(*) FILTER (WHERE state = 'idle' AND NOT hardware ? 'disk_full' AND memory_free_bytes >= :memory
                            AND (device_class = 'cpu' OR device_memory_free_bytes >= :device_memory)) AS free
      FROM workers WHERE state IN ('idle', 'busy') AND heard_at > now() - interval '30 seconds'
       AND (CAST(:class AS text) IS NULL OR device_class = :class OR device = :class)""")

QUOTA = text("""
    SELECT q.amount, count(DISTINCT coalesce(j.pack_id, j.id)) AS running FROM quotas q
      LEFT JOIN jobs j ON j.project_id = q.project_id AND j.state IN ('running', 'pausing', 'cancelling')
       AND j.kind NOT IN ('study', 'sweep')
     WHERE q.project_id = :project AND q.name = 'running_jobs' GROUP BY q.amount""")

ROOM_LEFT = text("""
    SELECT q.amount, (SELECT coalesce(sum(bytes), 0) FROM snapshots WHERE project_id = :project) AS stored
      FROM quotas q WHERE q.project_id = :project AND q.name = 'snapshot_bytes'""")

WAITS_FOR = text("""
    SELECT n.id, n.state FROM job_dependencies d JOIN jobs n ON n.id = d.needs_id
     WHERE d.job_id = :id AND n.state <> 'succeeded' ORDER BY n.id LIMIT 100""")

MEMBERS = text("SELECT state, count(*) FROM jobs WHERE parent_id = :id GROUP BY state")


def why(connection: Connection, project_id: str, job_id: str) -> dict[str, Any]:
    """`{"state", "says", "next", …}` with the facts that bear on the state; `NotFound` in another project."""
    facts = connection.execute(FACTS, {"id": job_id, "project": project_id}).mappings().one_or_none()
    if facts is None:
        raise NotFound("job", job_id)
    told = {
        "job": job_id,
        "state": facts["state"],
        "since": facts["finished_at"] or facts["queued_at"] or facts["created_at"],
        "reason": facts["reason"],
        "attempt": facts["attempt"],
    }
    if facts["kind"] in STUDIES and facts["state"] not in ("succeeded", "failed", "cancelled"):
        return told | _study(connection, facts)
    return told | _TELL[facts["state"]](connection, facts)


def _study(connection: Connection, facts: RowMapping) -> dict[str, Any]:
    members = {str(state): int(count) for state, count in connection.execute(MEMBERS, {"id": facts["id"]})}
    waits = _waits(connection, facts)
    lease = _lease(facts) if facts["lease_until"] else {}
    spoken = ", ".join(f"{count} {state}" for state, count in sorted(members.items()))
    if facts["conclude_due"]:
        says, after = (
            "all members have ended; the study is being concluded",
            "its tables and claims are written",
        )
    elif facts["state"] == "waiting":
        says, after = f"no member has started yet ({spoken})", "it runs as soon as a member starts"
    elif facts["state"] in ("paused", "pausing"):
        says, after = f"it is {facts['state']} ({spoken})", "it goes on after POST …/resume"
    elif facts["state"] == "cancelling":
        says, after = (
            f"its members are being stopped ({spoken})",
            "it is cancelled when the last process is gone",
        )
    elif not any(members.get(state) for state in LEASED):
        says, after = f"no member is at work now ({spoken})", "it concludes when the last member has ended"
    else:
        says, after = f"its members are at work ({spoken})", "it concludes when the last member has ended"
    return {"says": says, "next": after, "members": members, "waits_for": waits, **lease}


def _waiting(connection: Connection, facts: RowMapping) -> dict[str, Any]:
    waits = _waits(connection, facts)
    return {
        "says": f"it waits for {len(waits)} job(s) to succeed",
        "next": "it is queued when all have succeeded, cancelled when one has not",
        "waits_for": waits,
    }


def _queued(connection: Connection, facts: RowMapping) -> dict[str, Any]:
    wanted = facts["device_class"] or (None if facts["device"] == "auto" else facts["device"])
    needs = {"memory": facts["memory_bytes"], "device_memory": facts["device_memory_bytes"], "class": wanted}
    place = 1 + int(
        connection.execute(
            PLACE, {"id": facts["id"], "priority": facts["priority"], "pack": facts["pack_id"]}
        ).scalar_one()
    )
    room = connection.execute(ROOM, needs).one()
    stored = connection.execute(ROOM_LEFT, {"project": facts["project_id"]}).one_or_none()
    quota = connection.execute(QUOTA, {"project": facts["project_id"]}).one_or_none()
    waiting_until = (
        facts["not_before"] if facts["not_before"] and facts["not_before"] > facts["now"] else None
    )
    if waiting_until is not None:
        says, after = (
            f"it waits before the next attempt until {waiting_until.isoformat()}",
            "then it is claimed",
        )
    elif quota is not None and quota.running >= quota.amount:
        says = f"the project runs {quota.running} of at most {quota.amount} jobs"
        after = "it is claimed when one of them ends"
    elif stored is not None and stored.stored >= stored.amount:
        says = f"the project's snapshots take {stored.stored} of at most {stored.amount} bytes"
        after = "it is claimed when some have been deleted"
    elif room.live == 0:
        says = f"no worker of class {wanted or 'cpu or cuda'} is alive"
        after = "it is claimed when one starts: bfc worker --device " + (wanted or "cpu")
    elif room.disk_full == room.live:
        says = "the disk of every worker of its class is nearly full, and new jobs wait"
        after = "it is claimed when there is room on a disk again"
    elif room.big_enough == 0:
        says = f"it needs {facts['memory_bytes']} bytes of memory, more than any worker has"
        after = "it is claimed when a larger worker starts"
    elif room.idle == 0:
        says, after = f"all {room.live} workers of its class are at work", "it is claimed when its turn comes"
    elif room.free == 0:
        says, after = "it does not fit in the memory that is free now", "it is claimed when memory is free"
    else:
        says, after = "a worker is free and its bell has been rung", "it is claimed in a moment"
    return {
        "says": says,
        "next": after,
        "place": place,
        "device": wanted or "auto",
        "memory_bytes": facts["memory_bytes"],
        "device_memory_bytes": facts["device_memory_bytes"],
        "workers": {"live": room.live, "big_enough": room.big_enough, "idle": room.idle, "free": room.free,
                    "disk_full": room.disk_full},
        "not_before": waiting_until,
        "lost_attempts": facts["lost_attempts"],
        "quota": None if quota is None else {"running_jobs": quota.amount, "running": quota.running},
    }


def _running(_: Connection, facts: RowMapping) -> dict[str, Any]:
    if facts["lease_seconds"] is not None and facts["lease_seconds"] < 0:
        says, after = (
            "its worker has been silent past its lease",
            "it is queued again and goes on from its checkpoint",
        )
    else:
        says = f"worker {facts['worker_name']} runs it, last heard {_seconds(facts['silent_seconds'])} ago"
        after = f"the lease lapses in {_seconds(facts['lease_seconds'])} unless a beat renews it"
    return {"says": says, "next": after, **_lease(facts)}


def _pausing(_: Connection, facts: RowMapping) -> dict[str, Any]:
    return {
        "says": "its process has been asked to keep a checkpoint and stop",
        "next": "it is paused when the process is gone",
        "asked_at": facts["pause_at"],
        **_lease(facts),
    }


def _cancelling(_: Connection, facts: RowMapping) -> dict[str, Any]:
    return {
        "says": "its process has been asked to stop",
        "next": "it is cancelled when the process is gone; one that ignores the request is killed",
        "asked_at": facts["cancel_at"],
        **_lease(facts),
    }


def _paused(_: Connection, __: RowMapping) -> dict[str, Any]:
    return {"says": "it was paused", "next": "it goes on from its checkpoint after POST …/resume"}


def _succeeded(_: Connection, __: RowMapping) -> dict[str, Any]:
    return {"says": "it has succeeded and its results are kept", "next": "nothing; only deletion changes it"}


def _failed(_: Connection, facts: RowMapping) -> dict[str, Any]:
    error = facts["error"] or {}
    return {
        "says": f"it failed: {error.get('message', 'no message was kept')}",
        "next": "nothing until POST …/retry, which goes on from its last checkpoint",
        "error": error,
        "lost_attempts": facts["lost_attempts"],
        "memory_kills": facts["memory_kills"],
    }


def _cancelled(connection: Connection, facts: RowMapping) -> dict[str, Any]:
    error = facts["error"]
    if error and error.get("code") == "dependency_failed":
        says = f"{error['message']}, and this job needed it"
    else:
        says = "it was cancelled"
    return {
        "says": says,
        "next": "nothing until POST …/retry",
        "error": error,
        "waits_for": _waits(connection, facts),
    }


_TELL = {
    "waiting": _waiting,
    "queued": _queued,
    "running": _running,
    "pausing": _pausing,
    "paused": _paused,
    "cancelling": _cancelling,
    "succeeded": _succeeded,
    "failed": _failed,
    "cancelled": _cancelled,
}


def _waits(connection: Connection, facts: RowMapping) -> list[dict[str, str]]:
    return [{"job": row.id, "state": row.state} for row in connection.execute(WAITS_FOR, {"id": facts["id"]})]


def _lease(facts: RowMapping) -> dict[str, Any]:
    return {
        "lease": {"epoch": facts["epoch"], "until": facts["lease_until"]},
        "worker": {
            "id": facts["worker_id"],
            "name": facts["worker_name"],
            "host": facts["host"],
            "device": facts["worker_device"],
            "state": facts["worker_state"],
            "heard_at": facts["heard_at"],
        },
    }


def _seconds(value: Any) -> str:
    return "an unknown time" if value is None else f"{max(0.0, float(value)):.1f} s"
