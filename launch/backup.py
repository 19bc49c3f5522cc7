"""`bfc backup` and `bfc restore`: all tables in one file, read in one snapshot while the server runs on.

The file is a zip: `<table>.copy.zst` holds PostgreSQL's binary COPY of the table, `manifest.json` the schema's revision and
each table's columns, rows and hash. It goes from any PostgreSQL to any other, and needs no program of either.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psycopg
import zstandard
from psycopg import Connection, sql

from launch import ledger
from launch.errors import ArchiveError

FORMAT = 1
MANIFEST = "manifest.json"
PIECE_BYTES = 1 << 20
# Transaction numbers that one statement uses up; about four seconds' worth.
NUMBERS_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What a backup or a restore moved."""

    tables: int
    rows: int
    size_bytes: int


def backup(url: str, file: Path) -> Summary:
    """Writes the database to `file`, which must not exist, and reads it back; whole or not at all."""
    if file.exists():
        raise ArchiveError(f"{file} is there already; choose another name")
    half = file.with_name(file.name + ".part")
    try:
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            _write(url, archive)
        summary = verify(half)
        half.replace(file)
    except OSError as error:
        raise ArchiveError(f"{file} cannot be written: {error.strerror}") from None
    except psycopg.Error as error:
        raise ArchiveError(f"the database cannot be read: {ledger.first_line(error)}") from None
    finally:
        half.unlink(missing_ok=True)
    return summary


def verify(file: Path) -> Summary:
    """Reads all of an archive; `ArchiveError` unless it is whole and every table has the hash of its manifest."""
    with _opened(file) as archive:
        manifest = _manifest(archive, file)
        for name, facts in manifest["tables"].items():
            digest = hashlib.sha256()
            for piece in _pieces(archive, name, file):
                digest.update(piece)
            if digest.hexdigest() != facts["sha256"]:
                raise ArchiveError(f"{file} is damaged: table {name} is not what was written")
    return _summary(manifest, file)


def restore(url: str, file: Path) -> Summary:
    """Fills an empty database from an archive, compares every table, and brings the schema up to date."""
    with _opened(file) as archive:
        manifest = _manifest(archive, file)
        try:
            _refuse_filled(url)
            _lay_schema(url, manifest["revision"])
            with psycopg.connect(ledger.plain(url), autocommit=True) as connection:
                _pass_number(connection, int(manifest["next_transaction"]))
                with connection.transaction():
                    _fill(connection, archive, manifest, file)
                connection.execute("ANALYZE")
        except psycopg.errors.InsufficientPrivilege:
            raise ArchiveError("a restore needs a superuser of the database, to write rows as they were") from None
        except psycopg.Error as error:
            raise ArchiveError(f"{file} cannot be restored: {ledger.first_line(error)}") from None
    ledger.migrate(url, may_upgrade=True)
    return _summary(manifest, file)


def _write(url: str, archive: zipfile.ZipFile) -> None:
    with psycopg.connect(ledger.plain(url)) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        revision = ledger.revision(connection)
        if revision is None:
            raise ArchiveError("the database has no schema: there is nothing to back up")
        next_transaction = _one(connection, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
        tables = {}
        for name, columns in _tables(connection).items():
            with archive.open(f"{name}.copy.zst", "w", force_zip64=True) as member:
                tables[name] = {"columns": columns, **_copy_out(connection, name, columns, member)}
        manifest = {
            "format": FORMAT,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "revision": revision,
            "postgres": connection.info.server_version,
            "next_transaction": next_transaction,
            "tables": tables,
        }
        archive.writestr(MANIFEST, json.dumps(manifest, indent=2))


def _copy_out(connection: Connection[Any], name: str, columns: list[str], member: IO[bytes]) -> dict[str, Any]:
    """Writes a table, compressed; returns its number of rows and the hash of what was read."""
    digest = hashlib.sha256()
    with zstandard.ZstdCompressor(level=1).stream_writer(member, closefd=False) as packed:

        def take(piece: bytes) -> None:
            digest.update(piece)
            packed.write(piece)

        rows = _copy(connection, name, columns, take)
    return {"rows": rows, "sha256": digest.hexdigest()}


def _copy(connection: Connection[Any], name: str, columns: list[str], take: Callable[[bytes], object]) -> int:
    """Hands the table's rows to `take`, in binary; returns their number."""
    with connection.cursor() as cursor:
        with cursor.copy(_copy_statement(name, columns, "TO STDOUT")) as pieces:
            for piece in pieces:
                take(bytes(piece))
        return cursor.rowcount


def _copy_statement(name: str, columns: list[str], direction: str) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) {} (FORMAT binary)").format(sql.Identifier(name), names, sql.SQL(direction))


def _tables(connection: Connection[Any]) -> dict[str, list[str]]:
    """The columns of every table of ours, by table."""
    found = connection.execute(
        """
        SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
        GROUP BY c.relname ORDER BY c.relname
        """
    )
    return dict(found.fetchall())


def _refuse_filled(url: str) -> None:
    """`ArchiveError` when the database holds anything that a restore would lose."""
    with psycopg.connect(ledger.plain(url)) as connection:
        for name in _tables(connection).keys() & {"projects", "jobs", "keys", "datasets"}:
            if _one(connection, f"SELECT EXISTS (SELECT 1 FROM {name})"):  # noqa: S608 - one of the four names
                raise ArchiveError("the database is not empty; restore into a new one, or with --data into a new folder")


def _lay_schema(url: str, revision: str) -> None:
    """Brings a database without content to exactly the revision that the archive was made at."""
    with psycopg.connect(ledger.plain(url)) as connection:
        found = ledger.revision(connection)
    if found == revision:
        return
    wrong = ledger.migrations(url, "downgrade") if found is not None else ""
    wrong = wrong or ledger.migrations(url, "upgrade", revision)
    if wrong:
        raise ArchiveError(f"the backup's schema {revision} is not known here (a newer bfc-lab made it?): {wrong}")


def _pass_number(connection: Connection[Any], wanted: int) -> None:
    """Uses up transaction numbers until ours are past those in the archive.

    Readers follow the order of events by the number of the transaction that wrote them, and trust only numbers below every
    running one: rows from the future would stay unseen. A quarter of a million a second.
    """
    connection.execute("SET synchronous_commit = off")
    while (ahead := wanted - int(_one(connection, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))) > 0:
        count = min(ahead, NUMBERS_AT_ONCE)
        connection.execute(
            f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        )
    connection.execute("RESET synchronous_commit")


def _fill(connection: Connection[Any], archive: zipfile.ZipFile, manifest: dict[str, Any], file: Path) -> None:
    """Writes every table as it was, sets the counters of its identities, and compares what is there now."""
    # Rules and triggers judged these rows once, when they were made; told again, they would tell every job's story twice.
    connection.execute("SET LOCAL session_replication_role = replica")
    # Rows come back in the order they went in, so that the hashes can be compared.
    connection.execute("SET LOCAL synchronize_seqscans = off")
    tables: dict[str, dict[str, Any]] = manifest["tables"]
    if tables.keys() != _tables(connection).keys():
        raise ArchiveError(f"{file} does not hold the tables of schema {manifest['revision']}")
    names = sql.SQL(", ").join(map(sql.Identifier, tables))
    connection.execute(sql.SQL("TRUNCATE {}").format(names))
    for name, facts in tables.items():
        with connection.cursor().copy(_copy_statement(name, facts["columns"], "FROM STDIN")) as into:
            for piece in _pieces(archive, name, file):
                into.write(piece)
        digest = hashlib.sha256()
        rows = _copy(connection, name, facts["columns"], digest.update)
        if (rows, digest.hexdigest()) != (facts["rows"], facts["sha256"]):
            raise ArchiveError(f"table {name} did not come back as it was: {rows} rows of {facts['rows']}")
    _set_identities(connection)


def _set_identities(connection: Connection[Any]) -> None:
    """Lets every identity go on above the largest number that is there."""
    found = connection.execute(
        """
        SELECT table_name::text, column_name::text FROM information_schema.columns
        WHERE table_schema = current_schema() AND is_identity = 'YES'
        """
    )
    for table, column in found.fetchall():
        connection.execute(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), coalesce(max({}) + 1, 1), false) FROM {}").format(
                sql.Literal(table), sql.Literal(column), sql.Identifier(column), sql.Identifier(table)
            )
        )


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except OSError as error:
        raise ArchiveError(f"{file} cannot be read: {error.strerror}") from None
    except zipfile.BadZipFile:
        raise ArchiveError(f"{file} is not a backup of BFC Lab, or is cut off") from None


def _manifest(archive: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
    except (KeyError, ValueError, zipfile.BadZipFile):
        raise ArchiveError(f"{file} is not a backup of BFC Lab") from None
    if manifest.get("format") != FORMAT:
        raise ArchiveError(f"{file} has format {manifest.get('format')}; this version reads {FORMAT}")
    return manifest


def _pieces(archive: zipfile.ZipFile, table: str, file: Path) -> Iterator[bytes]:
    """A table's COPY stream; `ArchiveError` where the archive is damaged."""
    try:
        with archive.open(f"{table}.copy.zst") as member:
            yield from zstandard.ZstdDecompressor().read_to_iter(member, write_size=PIECE_BYTES)
    except (KeyError, zipfile.BadZipFile, zstandard.ZstdError, EOFError, OSError) as error:
        raise ArchiveError(f"{file} is damaged: table {table}: {ledger.first_line(error)}") from None


def _summary(manifest: dict[str, Any], file: Path) -> Summary:
    tables = manifest["tables"].values()
    return Summary(len(tables), sum(facts["rows"] for facts in tables), file.stat().st_size)


def _one(connection: Connection[Any], statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]
