"""`bfc key`: the keys of a server's projects, made where its database is, because the first one cannot come over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from launch.errors import LaunchError
from store import keys
from store.config import Config
from store.engine import connect


class Key(NamedTuple):
    """A key as it may be shown: never its secret, which is not kept."""

    id: str
    name: str
    project: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None


def create(url: str, project: str, name: str, scopes: Sequence[str], expires_in_seconds: float | None) -> keys.NewKey:
    """Makes a key, and its project if there is none of that name."""
    if unknown := sorted(set(scopes) - set(keys.SCOPES)):
        raise LaunchError(f"unknown scope {', '.join(unknown)}; accepted: {', '.join(keys.SCOPES)}")
    with connect(Config(database_url=url), pool_size=1, name="bfc key").begin() as connection:
        return keys.create(connection, keys.project(connection, project), name, scopes, expires_in_seconds)


def living(url: str) -> list[Key]:
    """The keys of all projects, newest first."""
    with connect(Config(database_url=url), pool_size=1, name="bfc key").connect() as connection:
        names = {row.id: row.name for row in keys.list_projects(connection, None, None, 10_000)}
        return [
            Key(row.id, row.name, names[row.project_id], row.scopes, row.created_at, row.expires_at)
            for row in keys.list_keys(connection, None, None, 10_000)
        ]


def revoke(url: str, key_id: str) -> None:
    """Ends a key; `LaunchError` when there is no such living key."""
    with connect(Config(database_url=url), pool_size=1, name="bfc key").begin() as connection:
        if not keys.revoke(connection, key_id, None):
            raise LaunchError(f"there is no living key {key_id}; 'bfc key list' shows them")
