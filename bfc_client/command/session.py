"""What every command shares: the client, where output goes, and how a fault is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text

from bfc_client.client import Client
from bfc_client.errors import (
    BfcError,
    Conflict,
    Invalid,
    JobFailed,
    NotFound,
    Problem,
    TimedOut,
    TooMany,
    Unauthorised,
    Unreachable,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
PLAIN_WIDTH = 200  # columns where the output is no terminal, so that nothing is cut

_EXIT: tuple[tuple[type[BfcError], int], ...] = (
    (Unreachable, 3), (Invalid, 4), (NotFound, 5), (Conflict, 6), (Unauthorised, 7),
    (JobFailed, 8), (TimedOut, 9),
)  # fmt: skip


_LISTED = {
    "job": "bfc list", "snapshot": "bfc snapshots JOB", "data set": "bfc datasets list",
    "webhook": "bfc webhooks list", "key": "bfc keys list", "project": "bfc projects list",
}  # fmt: skip


def exit_status(fault: BfcError) -> int:
    """The exit status of a fault; see `bfc --help`."""
    return next((status for kind, status in _EXIT if isinstance(fault, kind)), 1)


@dataclass(slots=True)
class Output:
    """Where a command prints: rich for people, JSON for programs."""

    as_json: bool = False
    console: Console = field(default_factory=lambda: console(sys.stdout))
    notes: Console = field(default_factory=lambda: console(sys.stderr))

    def show(self, value: Any, render: Callable[[Any], RenderableType]) -> None:
        """One value: as JSON, or as `render` draws it."""
        if self.as_json:
            print(json.dumps(plain(value), indent=2, ensure_ascii=False))
        else:
            self.console.print(render(value))

    def line(self, value: Any) -> None:
        """One JSON object on one line."""
        print(json.dumps(plain(value), ensure_ascii=False), flush=True)

    def note(self, text: str) -> None:
        """A remark for people, on stderr."""
        if not self.as_json:
            self.notes.print(Text.from_markup(text))


@contextmanager
def session(as_json: bool) -> Iterator[tuple[Client, Output]]:
    """A client and an output. With `--json` a fault is one JSON object on stderr."""
    output = Output(as_json)
    try:
        with Client() as lab:
            yield lab, output
    except BfcError as fault:
        if not as_json:
            raise
        print(json.dumps(described(fault), ensure_ascii=False), file=sys.stderr)
        raise typer.Exit(exit_status(fault)) from fault


def console(stream: Any) -> Console:
    """A console on a stream; where it is no terminal nothing is wrapped to 80 columns."""
    return Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False)


def plain(value: Any) -> Any:
    """A reply as JSON values, under the names that the server uses."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def described(fault: BfcError) -> dict[str, Any]:
    """A fault as JSON."""
    said: dict[str, Any] = {"error": type(fault).__name__, "detail": str(fault)}
    if isinstance(fault, Problem):
        said |= {"status": fault.status, "title": fault.title, "detail": fault.detail, "type": fault.type}
        said["errors"] = [{"pointer": found.pointer, "detail": found.detail} for found in fault.faults]
    return said


def complain(fault: BfcError) -> None:
    """A fault on stderr, and what to do next."""
    out = console(sys.stderr)
    out.print(Text.assemble(("error ", "bold red"), str(fault)))
    advice = _advice(fault)
    if advice:
        out.print(Text(advice, style="dim"))


def _advice(fault: BfcError) -> str | None:
    if isinstance(fault, Invalid) and fault.faults:
        return "Each line is a JSON pointer into what was sent. `bfc catalog` lists what is accepted."
    if isinstance(fault, Unauthorised):
        return "Set BFC_KEY to a key of this lab; `bfc key create` makes one on the server's machine."
    if isinstance(fault, NotFound) and "accepted:" not in fault.detail:
        noun = next((noun for noun in _LISTED if fault.detail.startswith(f"no {noun} ")), "job")
        return f"`{_LISTED[noun]}` shows what there is in this project."
    if isinstance(fault, TooMany) and fault.retry_after_seconds is not None:
        return f"Try again in {fault.retry_after_seconds:g} seconds."
    return None
