"""Upgrade, downgrade and check, as functions: the command line and the tests call the same ones."""

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from store import schema
from store.schema import SchemaError

__all__ = ["SchemaError", "check", "current", "downgrade", "head", "upgrade"]

# Any number, the same for all migrators: only one of them works at a time.
LOCK = 0x62_66_63


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Brings the schema up to `revision`; `SchemaError` for one that is newer than this code."""
    _migrate(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Takes the schema down to `revision`."""
    _migrate(engine, command.downgrade, revision)


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision this code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def check(engine: Engine) -> None:
    """`SchemaError` unless the schema is exactly the one this code needs."""
    with engine.connect() as connection:
        schema.check(connection)


def _config(connection: Connection | None = None) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _migrate(engine: Engine, step: "object", revision: str) -> None:
    with engine.begin() as connection:
        # Wait for another migrator, but never queue behind a long reader and so block every writer.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SET LOCAL statement_timeout = '10min'"))
        found = current(connection)
        if found is not None and found > head():
            raise schema.newer(found)
        step(_config(connection), revision)  # type: ignore[operator]
