"""Replies kept by `Idempotency-Key`, so that a repeated POST is answered from the first."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.tables import idempotency_keys as table

KEEP_HOURS = 24
#: longer than any work under a key may take
WORK_MINUTES = 20


class Kept(NamedTuple):
    """What a key stands for: the route and body it came with, and its reply (`status` None: at work)."""

    route: str
    body_hash: bytes
    status: int | None
    headers: dict[str, str]
    body: bytes | None


def begin(connection: Connection, project_id: str, key: str, route: str, body_hash: bytes) -> Kept | None:
    """Takes the key for a new request (None), or says what it already stands for.

    In one transaction with the work itself: an equal request waits here until the first has ended, then
    finds its reply; if the first failed, its row is gone with it and this one goes ahead.
    """
    _forget_lapsed(connection, project_id, key)
    row = upsert(table).values(project_id=project_id, key=key, route=route, body_hash=body_hash)
    taken = connection.execute(row.on_conflict_do_nothing().returning(table.c.key)).one_or_none()
    if taken is not None:
        return None
    query = select(table.c.route, table.c.body_hash, table.c.status, table.c.headers, table.c.body)
    found = connection.execute(query.where(table.c.project_id == project_id, table.c.key == key)).one()
    return Kept(found.route, bytes(found.body_hash), found.status, dict(found.headers), found.body)


def finish(
    connection: Connection, project_id: str, key: str, status: int, headers: dict[str, Any], body: bytes
) -> None:
    """Keeps the reply for whoever sends the same key again."""
    mine = (table.c.project_id == project_id, table.c.key == key)
    connection.execute(update(table).where(*mine).values(status=status, headers=headers, body=body))


def forget(connection: Connection, project_id: str, key: str) -> None:
    """Frees a key whose work failed."""
    connection.execute(delete(table).where(table.c.project_id == project_id, table.c.key == key))


def prune(connection: Connection, limit: int) -> int:
    """Forgets keys older than they are kept; how many."""
    lapsed = text(f"""
        DELETE FROM idempotency_keys WHERE (project_id, key) IN (
            SELECT project_id, key FROM idempotency_keys
             WHERE created_at < now() - interval '{KEEP_HOURS} hours' LIMIT :limit)""")
    return connection.execute(lapsed, {"limit": limit}).rowcount


def _forget_lapsed(connection: Connection, project_id: str, key: str) -> None:
    """A key whose work never told its end was cut off with its process."""
    old = table.c.created_at < text(f"now() - interval '{KEEP_HOURS} hours'")
    cut_off = table.c.status.is_(None) & (
        table.c.created_at < text(f"now() - interval '{WORK_MINUTES} minutes'")
    )
    lapsed = old | cut_off
    connection.execute(delete(table).where(table.c.project_id == project_id, table.c.key == key, lapsed))
