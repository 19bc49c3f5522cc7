"""The server's commands of `bfc`: what runs the lab, as against what talks to one.

Nothing heavy is imported before a command runs: `bfc list` loads this file too.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from launch.errors import LaunchError
from store.config import ConfigError

if importlib.util.find_spec("psycopg") is None:
    # The client looks for this: installed alone, it shows no command that could not work.
    raise ModuleNotFoundError("the server's commands need: pip install 'bfc-lab[all]'", name="psycopg")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
key = typer.Typer(no_args_is_help=True, help="Create, list and revoke keys, on the server itself.")
app.add_typer(key, name="key")

Data = Annotated[
    # Whether it can be read is said by us, in one line.
    Path, typer.Option(envvar="BFC_DATA", help="The data folder.", show_default=True, readable=False)
]
Host = Annotated[str, typer.Option(envvar="BFC_HOST", help="The address to listen on; loopback needs no key.")]
Port = Annotated[int, typer.Option(envvar="BFC_PORT", min=0, max=65535, help="The port; 0 takes a free one.")]
Device = Annotated[str, typer.Option(help="cpu, or cuda:N for one GPU.")]
DATA, HOST, PORT = Path("bfc-data"), "127.0.0.1", 8321


def run() -> int:
    """Runs the command line; its status. A wrong call is one line too, also where a variable is what is wrong."""
    try:
        return int(app(prog_name="bfc", standalone_mode=False) or 0)
    except TyperException as error:
        if said := error.format_message():
            context = getattr(error, "ctx", None)
            where = context.command_path if context else " ".join(["bfc", *sys.argv[1:2]])
            print(f"bfc: {' '.join(said.split())}; see {where} --help", file=sys.stderr)
        return int(getattr(error, "exit_code", 2))
    except (KeyboardInterrupt, typer.Abort):
        return 130


@contextmanager
def one_line() -> Iterator[None]:
    """Ends the command with status 1 and one line when something can be said plainly."""
    try:
        yield
    except (LaunchError, ConfigError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Says what is wrong, on standard error, and ends with status 1."""
    print(f"bfc: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(1)


@app.command()
def serve(
    data: Data = DATA,
    host: Host = HOST,
    port: Port = PORT,
    workers: Annotated[int, typer.Option(min=0, help="How many workers on the CPU.")] = 1,
    device: Annotated[
        list[str] | None, typer.Option(help="A worker for this device alone (cpu, cuda:N); may be repeated.")
    ] = None,
    require_key: Annotated[bool, typer.Option("--require-key", help="Ask for a key on loopback too.")] = False,
) -> None:
    """Run the whole lab: PostgreSQL, Redis, API and workers, in one data folder."""
    from launch.serve import Options, check_device, serve

    with one_line():
        devices = tuple(check_device(name) for name in device or ())
        serve(Options(data, host, port, workers, devices, require_key))


@app.command()
def api(data: Data = DATA, host: Host = HOST, port: Port = PORT) -> None:
    """Run one API process on a database and a Redis that are there."""
    from launch.addresses import check_address
    from launch.serve import become, surroundings

    with one_line():
        port = check_address(host, port)
        become("api", surroundings(data), "--host", host, "--port", str(port))


@app.command()
def worker(
    data: Data = DATA,
    device: Device = "cpu",
    name: Annotated[str | None, typer.Option(help="What /v1/workers calls it.")] = None,
) -> None:
    """Run one worker, bound to one device, on a database and a Redis that are there."""
    from launch.serve import become, check_device, surroundings

    with one_line():
        named = () if name is None else ("--name", name)
        become("worker", surroundings(data), "--device", check_device(device), *named)


@app.command()
def migrate(
    step: Annotated[str, typer.Argument(help="upgrade, downgrade or check.")] = "upgrade",
    revision: Annotated[str | None, typer.Argument(help="Where to; default: the newest. base is an empty database.")] = None,
    data: Data = DATA,
) -> None:
    """Bring the database's schema up to date, or say whether it is."""
    from launch.ledger import migrations, open_ledger

    if step not in ("upgrade", "downgrade", "check"):
        fail(f"migrate knows upgrade, downgrade and check, not {step!r}")
    if step == "downgrade" and revision is None:
        fail("a downgrade deletes what only the newer schema has; say to which revision, base for an empty database")
    with one_line(), open_ledger(data, as_it_is=True) as url:
        if wrong := migrations(url, step, *([revision] if revision else [])):
            raise LaunchError(wrong)
        print(f"schema: {step} done")


@key.command("create")
def create_key(
    data: Data = DATA,
    project: Annotated[str, typer.Option(help="Its project, made if there is none.")] = "default",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    scopes: Annotated[str, typer.Option(help="Any of read,submit,admin.")] = "read,submit,admin",
    expires_in_days: Annotated[float | None, typer.Option(min=0, help="It never expires without.")] = None,
) -> None:
    """Create a key and print it: the one time that it can be seen."""
    from launch import keys
    from launch.ledger import open_ledger

    seconds = None if expires_in_days is None else expires_in_days * 86_400
    with one_line(), open_ledger(data) as url:
        made = keys.create(url, project, name, [part.strip() for part in scopes.split(",")], seconds)
        print(f"{made.id} of project {project}; it is not shown again:", file=sys.stderr)
        print(made.secret)


@key.command("list")
def list_keys(
    data: Data = DATA, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the living keys of all projects."""
    from launch import keys
    from launch.ledger import open_ledger

    with one_line(), open_ledger(data) as url:
        found = keys.living(url)
    if as_json:
        print(json.dumps([one._asdict() for one in found], default=str, indent=2))
        return
    for one in found:
        lapses = f"expires {one.expires_at:%Y-%m-%d}" if one.expires_at else "never expires"
        print(f"{one.id}  {one.project}  {','.join(one.scopes)}  {lapses}  {one.name}")


@key.command("revoke")
def revoke_key(key_id: str, data: Data = DATA) -> None:
    """End a key, at once and for good."""
    from launch import keys
    from launch.ledger import open_ledger

    with one_line(), open_ledger(data) as url:
        keys.revoke(url, key_id)


@app.command()
def doctor(
    data: Data = DATA,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation, the data folder and the server, and say what to mend."""
    from launch.doctor import examine

    findings = examine(data, host, port)
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding.line())
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write; it must not be there yet.")], data: Data = DATA
) -> None:
    """Write everything the database holds to one file, while the server runs on, and read it back."""
    from launch.backup import backup
    from launch.ledger import open_ledger

    with one_line(), open_ledger(data, as_it_is=True) as url:
        made = backup(url, file)
        print(f"{file}: {made.rows} rows of {made.tables} tables, {made.size_bytes} bytes, read back and right")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="An archive of `bfc backup`.")], data: Data = DATA
) -> None:
    """Fill an empty database, or a new data folder, from a backup, and compare every table."""
    from launch.backup import restore, verify
    from launch.ledger import open_ledger

    with one_line():
        # Before anything is started or made: a damaged archive leaves no trace.
        verify(file)
        with open_ledger(data, as_it_is=True) as url:
            made = restore(url, file)
        print(f"{made.rows} rows of {made.tables} tables restored and compared")
