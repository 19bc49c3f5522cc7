"""Projects and the keys that open them. Only a hash of a key is stored; the key itself is shown once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from store.ids import new_id
from store.tables import keys, projects, quotas

#: A row of projects or keys, its columns as attributes.
Found = Any
DEFAULT_PROJECT = "default"
SCOPES = ("read", "submit", "admin")

_FIND = """
SELECT k.id, k.project_id, k.scopes, p.name AS project_name, q.amount AS requests_per_minute
FROM keys k JOIN projects p ON p.id = k.project_id
LEFT JOIN quotas q ON q.project_id = k.project_id AND q.name = 'requests_per_minute'
WHERE k.hash = %s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
"""


class NewKey(NamedTuple):
    """A key just made: `secret` is what the caller sends, and is not kept."""

    id: str
    secret: str


async def find(connection: AsyncConnection[Any], hashed: bytes) -> Any:
    """The living key of that hash with its project, or None."""
    async with connection.cursor(row_factory=namedtuple_row) as cursor:
        await cursor.execute(_FIND, (hashed,), prepare=True)
        return await cursor.fetchone()


def project(connection: Connection, name: str = DEFAULT_PROJECT) -> str:
    """The id of the project of that name, made if there is none yet."""
    made = (
        upsert(projects).values(id=new_id("proj"), name=name).on_conflict_do_nothing(index_elements=["name"])
    )
    connection.execute(made)
    return str(connection.execute(select(projects.c.id).where(projects.c.name == name)).scalar_one())


def create_project(connection: Connection, name: str) -> Found | None:
    """A new project; None where the name is taken."""
    made = (
        upsert(projects).values(id=new_id("proj"), name=name).on_conflict_do_nothing(index_elements=["name"])
    )
    return connection.execute(
        made.returning(projects.c.id, projects.c.name, projects.c.created_at)
    ).one_or_none()


def list_projects(connection: Connection, only: str | None, after: str | None, limit: int) -> Sequence[Found]:
    """Projects, newest first; `only` narrows to one id."""
    query = select(projects.c.id, projects.c.name, projects.c.created_at).order_by(projects.c.id.desc())
    if only is not None:
        query = query.where(projects.c.id == only)
    if after is not None:
        query = query.where(projects.c.id < after)
    return connection.execute(query.limit(limit)).all()


def find_project(connection: Connection, id_or_name: str) -> str | None:
    """The id of the project so called."""
    query = select(projects.c.id).where((projects.c.id == id_or_name) | (projects.c.name == id_or_name))
    return connection.execute(query).scalars().first()


def create(
    connection: Connection,
    project_id: str,
    name: str = "",
    scopes: Sequence[str] = SCOPES,
    expires_in_seconds: float | None = None,
) -> NewKey:
    """A new key of the project. 256 random bits need no slow hash."""
    secret = f"bfc_{secrets.token_urlsafe(32)}"
    lapses = text("now() + make_interval(secs => :seconds)").bindparams(seconds=expires_in_seconds)
    made = NewKey(new_id("key"), secret)
    connection.execute(
        insert(keys).values(
            id=made.id,
            project_id=project_id,
            name=name,
            scopes=list(scopes),
            hash=hashlib.sha256(secret.encode()).digest(),
            expires_at=None if expires_in_seconds is None else lapses,
        )
    )
    return made


_SHOWN = (
    keys.c.id,
    keys.c.project_id,
    keys.c.name,
    keys.c.scopes,
    keys.c.created_at,
    keys.c.used_at,
    keys.c.expires_at,
    keys.c.revoked_at,
)


def get(connection: Connection, key_id: str, project_id: str | None) -> Found | None:
    """One living key, of that project unless None."""
    query = select(*_SHOWN).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    if project_id is not None:
        query = query.where(keys.c.project_id == project_id)
    return connection.execute(query).one_or_none()


def list_keys(
    connection: Connection, project_id: str | None, after: str | None, limit: int
) -> Sequence[Found]:
    """Living keys, newest first; of all projects where `project_id` is None."""
    query = select(*_SHOWN).where(keys.c.revoked_at.is_(None)).order_by(keys.c.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(keys.c.project_id == project_id)
    if after is not None:
        query = query.where(keys.c.id < after)
    return connection.execute(query).all()


def revoke(connection: Connection, key_id: str, project_id: str | None) -> bool:
    """Ends a key; False where there is no such living key (in that project, unless None)."""
    change = (
        update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=text("now()"))
    )
    if project_id is not None:
        change = change.where(keys.c.project_id == project_id)
    return connection.execute(change).rowcount > 0


def exist(connection: Connection) -> bool:
    """True where any living key exists."""
    living = select(keys.c.id).where(keys.c.revoked_at.is_(None)).limit(1)
    return connection.execute(living).first() is not None


def mark_used(connection: Connection, key_ids: Sequence[str]) -> None:
    """Notes that these keys were used just now."""
    connection.execute(update(keys).where(keys.c.id.in_(key_ids)).values(used_at=text("now()")))


def set_quota(connection: Connection, project_id: str, name: str, amount: int | None) -> None:
    """Sets one limit of a project; None takes it away."""
    if amount is None:
        connection.execute(delete(quotas).where(quotas.c.project_id == project_id, quotas.c.name == name))
        return
    row = upsert(quotas).values(project_id=project_id, name=name, amount=amount)
    connection.execute(
        row.on_conflict_do_update(index_elements=["project_id", "name"], set_={"amount": row.excluded.amount})
    )


def quotas_of(connection: Connection, project_id: str) -> dict[str, int]:
    """The limits set for a project, by name."""
    query = select(quotas.c.name, quotas.c.amount).where(quotas.c.project_id == project_id)
    return {row.name: row.amount for row in connection.execute(query)}
