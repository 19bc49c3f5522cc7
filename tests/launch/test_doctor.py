"""What the doctor finds, one broken thing at a time."""

from pathlib import Path

import psycopg
import pytest

from launch import doctor
from launch.addresses import free_port


@pytest.fixture
def ill(fresh_database: str, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Patient":
    monkeypatch.setenv("BFC_DATABASE_URL", fresh_database)
    monkeypatch.setenv("BFC_REDIS_URL", broker)
    return Patient(fresh_database, tmp_path, monkeypatch)


class Patient:
    """A lab of a database and a broker, to be made ill."""

    def __init__(self, url: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.data, self._monkeypatch = url, data, monkeypatch

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def set(self, name: str, value: str) -> None:
        self._monkeypatch.setenv(name, value)

    def wrong(self) -> dict[str, doctor.Finding]:
        found = doctor.examine(self.data, "127.0.0.1", free_port())
        assert all(one.mend for one in found if one.state == "wrong"), "each says what to do"
        return {one.about: one for one in found if one.state == "wrong"}


def test_a_well_lab_has_nothing_to_mend(ill: Patient) -> None:
    assert ill.wrong() == {}


def test_a_database_and_a_broker_that_are_away_are_named(ill: Patient) -> None:
    ill.set("BFC_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    ill.set("BFC_REDIS_URL", "redis://127.0.0.1:1/0")
    found = ill.wrong()
    assert {"postgres", "redis"} <= found.keys()
    assert "secret" not in found["postgres"].said


@pytest.mark.parametrize(("found", "mend"), [("0000", "bfc migrate"), ("9999", "install the newer bfc-lab")])
def test_another_schema_is_named_with_what_mends_it(ill: Patient, found: str, mend: str) -> None:
    ill.run(f"UPDATE alembic_version SET version_num = '{found}'")
    assert mend in ill.wrong()["schema"].mend


def test_jobs_of_silent_workers_and_bells_that_nobody_rings_are_counted(ill: Patient) -> None:
    ill.run("INSERT INTO projects (id, name) VALUES ('proj_1', 'p')")
    ill.run(
        """INSERT INTO jobs (id, project_id, kind, spec, spec_hash, state, lease_until)
           VALUES ('job_1', 'proj_1', 'train', '{}', '', 'running', now() - interval '1 s')"""
    )
    ill.run("INSERT INTO outbox (queue, job_id, created_at) VALUES ('cpu', 'job_1', now() - interval '1 hour')")
    found = ill.wrong()
    assert found["leases"].said.startswith("1 job(s)")
    assert found["bells"].said.startswith("1 bell(s)")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BFC_SPOOL_BYTES", "much", "BFC_SPOOL_BYTES is 'much'"),
        ("BFC_REDIS_URL", "redis://:secret@localhost:here/0", "BFC_REDIS_URL is 'redis://localhost:here/0'"),
        ("BFC_REDIS_URL", "redis://localhost/mine", "names the database 'mine'"),
        ("BFC_DATABASE_URL", "mysql://localhost/x", "accepted: postgresql://"),
        ("BFC_LEASE_SECONDS", "1", "healthy workers lose their jobs"),
    ],
)
def test_settings_that_cannot_work_are_named(ill: Patient, name: str, value: str, words: str) -> None:
    ill.set(name, value)
    assert words in ill.wrong()["settings"].said
