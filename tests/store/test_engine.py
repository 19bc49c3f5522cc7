from sqlalchemy import Engine

from store.config import Config
from store.engine import connect


def test_a_connection_that_comes_back_to_a_pool_that_is_over_is_closed(database: Engine) -> None:
    engine = connect(Config(database_url=database.url.render_as_string(hide_password=False)), pool_size=1)
    with engine.connect() as late:
        raw = late.connection.driver_connection
        engine.dispose()
        assert not raw.closed
    assert raw.closed
