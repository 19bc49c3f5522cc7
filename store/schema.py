"""Which schema this code speaks to. Whoever starts looks once; Alembic itself is for `migrations` alone."""

from __future__ import annotations

from sqlalchemy import Connection, text

# The head of `migrations/versions`; a test compares them.
REVISION = "0001"


class SchemaError(RuntimeError):
    """The schema is not the one this code was written for; the message names the command that mends it."""


def check(connection: Connection) -> None:
    """`SchemaError` unless the schema is exactly the one this code needs."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        raise SchemaError("the database has no schema yet; run: bfc migrate upgrade")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if found is None:
        raise SchemaError("the database has no schema yet; run: bfc migrate upgrade")
    if found < REVISION:
        raise SchemaError(f"the schema is at {found}, behind {REVISION}; run: bfc migrate upgrade")
    if found > REVISION:
        raise newer(found)


def newer(found: str) -> SchemaError:
    """What to say of a schema that a newer version has made."""
    return SchemaError(f"the schema is at {found}, newer than this code ({REVISION}); install the newer bfc-lab")
