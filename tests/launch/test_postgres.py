"""The embedded PostgreSQL, as root and as an ordinary user, and what a kill leaves behind."""

import os
import pwd
import shutil
import signal
import stat
from pathlib import Path

import psutil
import psycopg
import pytest

from launch import process
from launch.errors import FolderError
from launch.folder import DataFolder
from launch.ledger import embedded
from launch.postgres import Postgres
from tests.launch.conftest import Runner

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

SERVE = """
import sys, time
from pathlib import Path
from launch.folder import DataFolder
from launch.ledger import embedded
folder = DataFolder(Path(sys.argv[1]))
folder.lock()
with embedded(folder) as url:
    print(url, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a database in it, to be copied."""
    path = tmp_path_factory.mktemp("made") / "data"
    folder = DataFolder(path)
    folder.lock()
    with embedded(folder) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    folder.unlock()
    return path


@pytest.fixture
def copy(made: Path, open_path: Path) -> DataFolder:
    """A data folder of this test's own, with the database, which nobody holds yet."""
    shutil.copytree(made, open_path / "data", symlinks=True)
    for entry in [made, *made.rglob("*")]:
        owner = entry.lstat()
        os.chown(open_path / "data" / entry.relative_to(made), owner.st_uid, owner.st_gid, follow_symlinks=False)
    return DataFolder(open_path / "data")


def kept(url: str) -> int:
    """What the table holds."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT number FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_the_cluster_is_as_the_house_wants_it(copy: DataFolder) -> None:
    copy.lock()
    with embedded(copy) as url, psycopg.connect(url) as connection:
        settings = {
            name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            for name in ("data_checksums", "listen_addresses", "password_encryption", "server_encoding", "fsync")
        }
        locale = connection.execute(
            "SELECT datlocprovider::text, datlocale FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    copy.unlock()
    assert settings == {
        "data_checksums": ("on",),
        "listen_addresses": ("",),
        "password_encryption": ("scram-sha-256",),
        "server_encoding": ("UTF8",),
        "fsync": ("on",),
    }
    assert locale == ("b", "C.UTF-8")


def test_nobody_comes_in_without_the_password(copy: DataFolder) -> None:
    copy.lock()
    with embedded(copy) as url:
        wrong = url.replace(copy.password(), "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
    copy.unlock()


def test_a_lost_password_is_told_at_once(copy: DataFolder) -> None:
    (copy.path / "password").unlink()
    copy.lock()
    with pytest.raises(FolderError, match="is not that of its database"), embedded(copy):
        pass
    copy.unlock()


def test_a_clean_stop_leaves_no_process_and_no_lock(copy: DataFolder) -> None:
    copy.lock()
    postgres = Postgres(copy)
    with embedded(copy):
        assert postgres._serving()
    assert postgres._serving() == []
    assert not (copy.postgres / "postmaster.pid").exists()
    copy.unlock()


def test_after_the_supervisor_is_killed_the_next_start_waits_and_loses_nothing(
    copy: DataFolder, run_python: Runner
) -> None:
    first = run_python(SERVE, copy.path)
    assert first.stdout is not None
    assert kept(first.stdout.readline().strip()) == 1
    first.kill()
    copy.lock()
    with embedded(copy) as url:
        assert kept(url) == 1
    copy.unlock()


def test_after_everything_is_killed_the_database_recovers(copy: DataFolder, run_python: Runner) -> None:
    first = run_python(SERVE, copy.path)
    assert first.stdout is not None
    url = first.stdout.readline().strip()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE kept SET number = 2")
    for victim in psutil.Process(first.pid).children(recursive=True):
        victim.kill()
    first.kill()
    copy.lock()
    with embedded(copy) as url:
        assert kept(url) == 2
    copy.unlock()


def test_a_stale_number_that_now_belongs_to_a_stranger_is_no_live_server(copy: DataFolder) -> None:
    # PostgreSQL alone would refuse: "lock file postmaster.pid already exists".
    (copy.postgres / "postmaster.pid").write_text(f"{os.getpid()}\n{copy.postgres}\n1\n5432\n\n\n")
    copy.lock()
    with embedded(copy) as url:
        assert kept(url) == 1
    copy.unlock()


def test_a_server_that_lost_its_supervisor_and_does_not_stop_is_ended(copy: DataFolder, tmp_path: Path) -> None:
    copy.lock()
    postgres = Postgres(copy)
    postgres.prepare()
    orphan = process.start(
        postgres.command, log=tmp_path / "orphan.log", death_signal=signal.SIGINT, account=postgres.account
    )
    assert process.wait_for(postgres.is_ready, 10)
    postgres._kill_leftovers()
    orphan.wait(5)
    assert postgres._serving() == []
    postgres.clear()
    copy.unlock()


def test_another_major_is_refused_with_the_command_that_mends_it(copy: DataFolder) -> None:
    (copy.postgres / "PG_VERSION").write_text("16\n")
    copy.lock()
    with pytest.raises(FolderError, match=r"is of PostgreSQL 16 .* 'bfc backup FILE'.* 'bfc restore FILE"), embedded(copy):
        pass
    copy.unlock()


def test_half_a_cluster_from_a_crash_is_made_again(copy: DataFolder) -> None:
    shutil.rmtree(copy.postgres)
    (copy.path / "postgres.new").mkdir()
    (copy.path / "postgres.new" / "PG_VERSION").write_text("18\n")
    copy.lock()
    with embedded(copy) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)
    copy.unlock()


def test_a_path_too_long_for_a_socket_works(made: Path, open_path: Path) -> None:
    deep = open_path.joinpath(*["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    folder = DataFolder(deep / "data")
    shutil.copytree(made, folder.path, symlinks=True)
    if os.geteuid() == 0:
        owner = made.joinpath("postgres").stat()
        for path in [folder.postgres, folder.run, *folder.postgres.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    folder.lock()
    with embedded(folder) as url:
        outside = Path((folder.path / "socket-folder").read_text().strip())
        assert outside.is_dir()
        assert kept(url) == 1
    assert not outside.exists()
    folder.unlock()


@as_root
def test_root_owns_the_folder_and_another_account_the_database(copy: DataFolder) -> None:
    copy.lock()
    with embedded(copy):
        server = Postgres(copy)._serving()[0]
        account = server.uids()
    copy.unlock()
    assert 0 not in (account.real, account.effective, account.saved)
    assert copy.path.stat().st_uid == 0
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o711
    for below in (copy.postgres, copy.run):
        assert (below.stat().st_uid, stat.S_IMODE(below.stat().st_mode)) == (account.real, 0o700)


@as_root
def test_as_root_a_folder_below_a_closed_one_works_and_the_closed_one_stays_closed(made: Path) -> None:
    closed = made.parent
    assert any(not parent.stat().st_mode & 0o001 for parent in made.parents), "pytest's folders are closed"
    modes = [parent.stat().st_mode for parent in made.parents]
    folder = DataFolder(made)
    folder.lock()
    with embedded(folder) as url:
        assert kept(url) == 1
        server = Postgres(folder)._serving()[0]
        capabilities = Path(f"/proc/{server.pid}/status").read_text()
    folder.unlock()
    assert [parent.stat().st_mode for parent in made.parents] == modes
    assert closed.stat().st_uid == 0
    # To look through folders, and nothing else.
    assert "CapEff:\t0000000000000004" in capabilities or "CapEff:\t0000000000000002" in capabilities


@as_root
def test_as_root_programs_below_a_closed_folder_are_copied(copy: DataFolder, tmp_path: Path) -> None:
    copy.lock()
    postgres = Postgres(copy)
    installed = postgres.installed.parents[1]
    closed = tmp_path / "site-packages"
    closed.mkdir()
    shutil.copytree(installed, closed / installed.name, symlinks=True, ignore=shutil.ignore_patterns("pginstall", "*.a"))
    libraries = installed.with_name(f"{installed.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name, symlinks=True)
    tmp_path.chmod(0o700)
    postgres.installed = closed / postgres.installed.relative_to(installed.parent)
    assert postgres.programs.is_relative_to(copy.programs)
    server = process.start(postgres.command, log=tmp_path / "log", account=postgres.account)
    postgres.prepare()
    assert process.wait_for(postgres.is_ready, 10)
    process.kill(server)
    copy.unlock()


@as_root
def test_an_ordinary_user_runs_it_too(open_path: Path, run_python: Runner) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(open_path, user.pw_uid, user.pw_gid)
    # The Python of the tests may lie below a folder that is closed to this user.
    account = process.Account(user.pw_uid, user.pw_gid, search=True)
    first = run_python(SERVE, open_path / "data", account=account)
    assert first.stdout is not None
    assert first.stdout.readline().startswith("postgresql://")
    server = Postgres(DataFolder(open_path / "data"))._serving()[0]
    assert server.uids().real == user.pw_uid
    first.kill()
    assert process.wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, 10)
