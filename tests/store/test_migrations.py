import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from migrations import commands
from store import schema
from store.config import Config
from store.engine import connect
from store.states import TRANSITIONS
from store.tables import metadata


@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
def test_the_migrated_schema_is_the_one_in_the_tables(database: Engine) -> None:
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_database_has_the_same_transition_table_as_the_code(database: Engine) -> None:
    with database.connect() as connection:
        rows = connection.execute(text("SELECT source, target FROM transitions")).all()
    assert {tuple(row) for row in rows} == {(s, t) for s, targets in TRANSITIONS.items() for t in targets}


def test_the_code_names_the_newest_migration() -> None:
    assert commands.head() == schema.REVISION


def test_the_schema_goes_down_to_nothing_and_up_again(fresh_database: str) -> None:
    engine = connect(Config(database_url=fresh_database), pool_size=1)
    try:
        commands.downgrade(engine)
        assert inspect(engine).get_table_names() == ["alembic_version"]
        with pytest.raises(commands.SchemaError, match="no schema yet"):
            commands.check(engine)
        commands.upgrade(engine)
        commands.check(engine)
    finally:
        engine.dispose()


def test_a_newer_schema_is_refused_by_name(fresh_database: str) -> None:
    engine = connect(Config(database_url=fresh_database), pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(commands.SchemaError, match="newer than this code"):
            commands.check(engine)
        for step in (commands.upgrade, commands.downgrade):
            with pytest.raises(commands.SchemaError, match="install the newer bfc-lab"):
                step(engine)
    finally:
        engine.dispose()
