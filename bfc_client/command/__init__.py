"""The `bfc` command: everything that the client does, and the server's commands where they are installed."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from bfc_client.command import acts, house, outcomes, watching
from bfc_client.command.session import complain, exit_status
from bfc_client.errors import BfcError
from bfc_client.version import __version__

EXIT_STATUSES = {
    0: "done", 1: "refused or failed", 2: "usage", 3: "no server answers", 4: "invalid request", 5: "not found",
    6: "does not apply in this state", 7: "not allowed", 8: "the job did not succeed", 9: "waited too long",
    130: "interrupted",
}  # fmt: skip

app = typer.Typer(
    name="bfc",
    help="A laboratory for backward feature correction: submit jobs, watch them, read what came out.",
    epilog=(
        "Reads BFC_URL (default http://127.0.0.1:8321) and BFC_KEY. Exit status: "
        + " · ".join(f"{status} {meaning}" for status, meaning in EXIT_STATUSES.items())
        + "."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bfc {__version__}")
        raise typer.Exit


@app.callback()
def bfc(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """A laboratory for backward feature correction: submit jobs, watch them, read what came out."""


for room in (acts, watching, outcomes, house):
    room.add_to(app)


def _with_server_commands() -> None:
    """`serve`, `api`, `worker`, … where the server is installed; a client alone does without."""
    try:
        server = importlib.import_module("launch.command")
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] == "bfc_client":
            raise
        return
    for command in server.app.registered_commands:
        command.rich_help_panel = command.rich_help_panel or "Server"
        app.registered_commands.append(command)
    for group in server.app.registered_groups:
        group.rich_help_panel = group.rich_help_panel or "Server"
        app.registered_groups.append(group)


_with_server_commands()


def main() -> None:
    """Entry point: a fault becomes one clear message on stderr and its exit status."""
    try:
        app()
    except BfcError as fault:
        complain(fault)
        sys.exit(exit_status(fault))
    except BrokenPipeError:  # `bfc list | head`
        sys.stderr.close()
        sys.exit(0)
