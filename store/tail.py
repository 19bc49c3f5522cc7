"""Events read in order and without gaps, for pages and for live streams.

One job's events are ordered by its own counter, drawn under the job's row lock, so a reader never passes a
late one. A study's and a project's are ordered by (transaction, id) and read only below the oldest transaction
still at work: nothing can appear behind the place a reader has reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import Connection, TextClause, text

Scope = Literal["job", "study", "project"]
#: A place in a stream: (seq,) of one job, (txid, id) of a study or a project.
Place = tuple[int, ...]


class Told(NamedTuple):
    """One event; `data` is JSON text, `at` RFC 3339."""

    place: Place
    job: str
    kind: str
    at: str
    data: str


_COLUMNS = """job_id, seq, txid::text AS txid, id, kind, data::text AS data,
    to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at"""
_SETTLED = "txid < pg_snapshot_xmin(pg_current_snapshot())"
_AFTER = "(txid, id) > (CAST(:txid AS xid8), :id)"

_JOB = text(f"SELECT {_COLUMNS} FROM events WHERE job_id = :of AND seq > :seq ORDER BY seq LIMIT :limit")
_PROJECT = text(
    f"SELECT {_COLUMNS} FROM events WHERE project_id = :of AND {_AFTER} AND {_SETTLED} ORDER BY txid, id LIMIT :limit"
)
_STUDY = text(
    f"""SELECT * FROM (
        (SELECT txid AS t, {_COLUMNS} FROM events WHERE parent_id = :of AND {_AFTER} AND {_SETTLED}
         ORDER BY events.txid, id LIMIT :limit)
        UNION ALL
        (SELECT txid AS t, {_COLUMNS} FROM events WHERE job_id = :of AND {_AFTER} AND {_SETTLED}
         ORDER BY events.txid, id LIMIT :limit)) AS merged ORDER BY t, id LIMIT :limit"""
)
_TAILS = text(
    f"""SELECT found.* FROM unnest(CAST(:jobs AS text[]), CAST(:seqs AS bigint[])) AS watched(job, seq)
    JOIN LATERAL (SELECT {_COLUMNS} FROM events WHERE job_id = watched.job AND events.seq > watched.seq
                  ORDER BY events.seq LIMIT :limit) AS found ON true"""
)


def after(connection: Connection, scope: Scope, of: str, place: Place, limit: int) -> list[Told]:
    """The next events past `place`, in order; `of` is a job's, a study's or a project's id."""
    if scope == "job":
        rows = connection.execute(_JOB, {"of": of, "seq": place[0], "limit": limit})
        return [Told((row.seq,), row.job_id, row.kind, row.at, row.data) for row in rows]
    query: TextClause = _STUDY if scope == "study" else _PROJECT
    rows = connection.execute(query, {"of": of, "txid": str(place[0]), "id": place[1], "limit": limit})
    return [Told((int(row.txid), row.id), row.job_id, row.kind, row.at, row.data) for row in rows]


def tails(connection: Connection, places: Mapping[str, int], limit: int) -> Sequence[Told]:
    """The events of many jobs past each one's seq, in one statement."""
    arguments = {"jobs": list(places), "seqs": list(places.values()), "limit": limit}
    rows = connection.execute(_TAILS, arguments)
    return [Told((row.seq,), row.job_id, row.kind, row.at, row.data) for row in rows]


def present(connection: Connection, scope: Scope, of: str) -> Place:
    """The place of now: all before it can be read, all after it is yet to come."""
    if scope == "job":
        return (
            connection.execute(text("SELECT event_seq FROM jobs WHERE id = :of"), {"of": of}).scalar() or 0,
        )
    xmin = connection.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")).scalar_one()
    return (int(xmin), -1)
