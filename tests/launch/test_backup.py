"""Backups: whole, online, and the same rows again elsewhere."""

import zipfile
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from launch.backup import backup, restore, verify
from launch.errors import ArchiveError
from store.engine import libpq_url

JOB = """
INSERT INTO jobs (id, project_id, kind, spec, spec_hash, state, device)
VALUES (%s, 'proj_1', 'train', '{"data": {"samples": 10}}', 'sha256:0', 'queued', 'cpu')
"""


@pytest.fixture
def filled(database: Engine) -> str:
    """The URL of a database with a project, two jobs, a tensor, and the events and audit that the rules wrote."""
    url = libpq_url(database.url.render_as_string(hide_password=False))
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO projects (id, name) VALUES ('proj_1', 'größe')")
        for name in ("job_1", "job_2"):
            connection.execute(JOB, (name,))
        connection.execute("UPDATE jobs SET state = 'failed', error = '{\"code\": \"x\"}' WHERE id = 'job_2'")
        row = connection.execute(
            "INSERT INTO tensors (project_id, hash, dtype, shape, bytes, stored_bytes)"
            " VALUES ('proj_1', '\\x01', 'F32', '{3000000}', 12000000, 12000000) RETURNING id"
        ).fetchone()
        assert row is not None
        for number in range(12):
            connection.execute(
                "INSERT INTO tensor_chunks VALUES (%s, %s, 0, %s)", (row[0], number, bytes(range(256)) * 4096)
            )
    return url


@pytest.fixture
def archive(filled: str, tmp_path: Path) -> Path:
    """A backup of it."""
    backup(filled, tmp_path / "lab.backup")
    return tmp_path / "lab.backup"


def rows(url: str, table: str) -> list[object]:
    """All rows of a table as text, in a fixed order."""
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall()  # type: ignore[arg-type,return-value]


def test_every_row_comes_back_as_it_was(filled: str, archive: Path, fresh_database: str) -> None:
    moved = restore(fresh_database, archive)
    assert moved == verify(archive)
    for table in ("jobs", "events", "audit", "tensor_chunks", "outbox", "transitions", "projects"):
        assert rows(fresh_database, table) == rows(filled, table)
        assert rows(filled, table), f"{table} has rows to compare"


def test_a_restored_lab_goes_on_numbering_above_what_it_has(archive: Path, fresh_database: str) -> None:
    restore(fresh_database, archive)
    with psycopg.connect(fresh_database) as connection:
        connection.execute(JOB, ("job_3",))
        (new,) = connection.execute("SELECT min(id) FROM events WHERE job_id = 'job_3'").fetchone() or (0,)
        (old,) = connection.execute("SELECT max(id) FROM events WHERE job_id <> 'job_3'").fetchone() or (0,)
    assert new > old


def test_restored_events_lie_in_the_past_of_the_new_database(archive: Path, fresh_database: str) -> None:
    restore(fresh_database, archive)
    with psycopg.connect(fresh_database) as connection:
        seen = "SELECT count(*) FILTER (WHERE txid < pg_snapshot_xmin(pg_current_snapshot())), count(*) FROM events"
        assert connection.execute(seen).fetchone() == (3, 3)


def test_numbers_are_used_up_where_the_new_database_is_behind(
    filled: str, tmp_path: Path, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(filled) as connection:
        row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
    assert row is not None
    wanted = row[0] + 5000
    with psycopg.connect(filled) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE events SET txid = %s::text::xid8", (wanted - 1,))
    backup(filled, tmp_path / "ahead.backup")
    monkeypatch.setattr("launch.backup.NUMBERS_AT_ONCE", 1000)
    manifest = zipfile.ZipFile(tmp_path / "ahead.backup").read("manifest.json").decode()
    later = tmp_path / "later.backup"
    with zipfile.ZipFile(tmp_path / "ahead.backup") as old, zipfile.ZipFile(later, "w") as new:
        for name in old.namelist():
            body = old.read(name)
            if name == "manifest.json":
                line = next(line for line in manifest.splitlines() if '"next_transaction"' in line)
                body = manifest.replace(line, f'  "next_transaction": "{wanted}",').encode()
            new.writestr(name, body)
    restore(fresh_database, later)
    with psycopg.connect(fresh_database) as connection:
        seen = "SELECT bool_and(txid < pg_snapshot_xmin(pg_current_snapshot())) FROM events"
        assert connection.execute(seen).fetchone() == (True,)


def test_a_database_that_holds_something_is_never_overwritten(filled: str, archive: Path) -> None:
    before = rows(filled, "jobs")
    with pytest.raises(ArchiveError, match="the database is not empty"):
        restore(filled, archive)
    assert rows(filled, "jobs") == before


def test_an_existing_file_is_never_overwritten(filled: str, archive: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(ArchiveError, match="is there already"):
        backup(filled, archive)
    assert archive.read_bytes() == before


def test_a_failed_backup_leaves_no_file(filled: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be written"):
        backup(filled, tmp_path / "no" / "such" / "folder")
    with pytest.raises(ArchiveError, match="the database cannot be read"):
        backup("postgresql://127.0.0.1:1/nothing", tmp_path / "lab.backup")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("member", ["jobs.copy.zst", "tensor_chunks.copy.zst", "manifest.json"])
def test_a_changed_byte_is_found_before_anything_is_restored(archive: Path, member: str) -> None:
    with zipfile.ZipFile(archive) as opened:
        place = opened.getinfo(member)
    body = bytearray(archive.read_bytes())
    # The name and the extra field, whose lengths are in the local header, come before the data.
    head = place.header_offset
    data = head + 30 + sum(int.from_bytes(body[head + at : head + at + 2], "little") for at in (26, 28))
    body[data + place.compress_size // 2] ^= 0xFF
    archive.write_bytes(body)
    with pytest.raises(ArchiveError, match=r"is damaged|is not a backup"):
        verify(archive)


def test_a_cut_off_file_and_a_stranger_are_refused(archive: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(archive.read_bytes()[:-2000])
    stranger = tmp_path / "stranger.zip"
    with zipfile.ZipFile(stranger, "w") as other:
        other.writestr("thesis.tex", "years of work")
    for file in (cut, stranger):
        with pytest.raises(ArchiveError, match="is not a backup of BFC Lab"):
            verify(file)
    with pytest.raises(ArchiveError, match="cannot be read"):
        verify(tmp_path / "nothing")


def test_an_archive_of_a_newer_schema_is_refused_and_leaves_no_row(archive: Path, fresh_database: str) -> None:
    newer = archive.with_name("newer")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            body = old.read(name)
            new.writestr(name, body.replace(b'"revision": "', b'"revision": "9') if name == "manifest.json" else body)
    with pytest.raises(ArchiveError, match="is not known here"):
        restore(fresh_database, newer)
