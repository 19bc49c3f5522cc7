"""Rows with binary results, for bytes in bulk: as text every byte of a bytea travels as two letters of hex."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString

import psycopg
from sqlalchemy import Connection


def rows(
    connection: Connection, query: LiteralString, values: Mapping[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """The rows of `query` (psycopg's spelling, `%(name)s`), inside the transaction of `connection`."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor(binary=True) as cursor:
        cursor.execute(query, values)
        yield from cursor
