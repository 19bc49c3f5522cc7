"""`bfc watch` and `bfc events`: a job as it goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from bfc_client.client import Client, checked
from bfc_client.command import render
from bfc_client.command.session import AsJson, JobId, Output, session
from bfc_client.replies import Event, Job

GRID_SECONDS = 1.0  # a study's members are read this often
MOST_ROWS = 24


class Scene:
    """The progress bar of a job and, for a study or a sweep, its members as a grid that fills."""

    def __init__(self, lab: Client, job: Job) -> None:
        self._lab = lab
        self._grouped = job.kind in ("study", "sweep")
        self._members: list[Job] = []
        self._read_at = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=40), MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"), TimeRemainingColumn(),
        )  # fmt: skip
        self._task: TaskID = self._bar.add_task(render.state(job.state).markup, total=None, unit="")

    def draw(self, job: Job) -> RenderableType:
        """The scene as the job is now."""
        p = job.progress
        total = p.total if p.total is not None else None
        title = Text.assemble(render.state(job.state), "  ", (job.name or job.id, "bold"))
        self._bar.update(self._task, description=title.markup, completed=p.done, total=total, unit=p.unit)
        return Group(self._bar, member_grid(self._current(job))) if self._grouped else self._bar

    def _current(self, job: Job) -> list[Job]:
        if job.final or time.monotonic() - self._read_at > GRID_SECONDS:
            self._members = list(self._lab.children(job))
            self._read_at = time.monotonic()
        return self._members


def member_grid(members: Sequence[Job]) -> RenderableType:
    """One row for all members that differ by seed alone, one mark a member."""
    rows: dict[str, list[Job]] = {}
    for member in members:
        rows.setdefault(row_of(member), []).append(member)
    grid = Grid.grid(padding=(0, 2))
    for name, found in list(rows.items())[:MOST_ROWS]:
        marks = Text()
        for member in found:
            marks.append(
                render.STATE_MARKS.get(member.state, "?"), style=render.STATE_STYLES.get(member.state, "")
            )
        done = sum(member.final for member in found)
        grid.add_row(Text(name, style="dim"), marks, Text(f"{done}/{len(found)}", style="dim"))
    if len(rows) > MOST_ROWS:
        grid.add_row(Text(f"… {len(rows) - MOST_ROWS} rows more", style="dim"))
    return grid


def row_of(member: Job) -> str:
    """What a member shares with those that differ from it by seed alone."""
    shared = [value for name, value in member.labels.items() if name != "seed"]
    return " ".join(shared) if shared else member.kind


def watch_job(lab: Client, out: Output, job: Job, timeout_seconds: float | None = None) -> None:
    """Show a job until it is final. Raises JobFailed if it does not succeed, TimedOut if that takes too long."""
    try:
        if out.as_json or not out.console.is_terminal:
            last = _follow_quietly(lab, out, job, timeout_seconds)
        else:
            scene = Scene(lab, job)
            with Live(scene.draw(job), console=out.console, refresh_per_second=8) as live:
                last = lab.wait(
                    job,
                    check=False,
                    timeout_seconds=timeout_seconds,
                    on_change=lambda now: live.update(scene.draw(now)),
                )
    except KeyboardInterrupt:
        out.note(f"[dim]the job goes on; `bfc cancel {job.id}` would stop it[/dim]")
        raise typer.Exit(130) from None
    _conclude(lab, out, last)


def _follow_quietly(lab: Client, out: Output, job: Job, timeout_seconds: float | None) -> Job:
    """A line at each change of state, on stderr."""
    seen = ""

    def tell(now: Job) -> None:
        nonlocal seen
        if now.state != seen:
            seen = now.state
            out.note(f"{now.id} {now.state} {render.progress(now)}".rstrip())

    return lab.wait(job, check=False, timeout_seconds=timeout_seconds, on_change=tell)


def _conclude(lab: Client, out: Output, job: Job) -> None:
    if out.as_json:
        out.show(job, render.job)
    elif job.state == "succeeded":
        out.console.print(render.results(lab.results(job)))
    checked(job)


def watch(
    job: JobId,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Give up after so long, with status 9.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a job's progress until it ends; a study's members as a grid. Ctrl-C leaves the job alone."""
    with session(as_json) as (lab, out):
        watch_job(lab, out, lab.job(job), timeout)


def events(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="A job's id; the project without.")
    ] = None,
    after: Annotated[str | None, typer.Option(help="Only events after this id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print events as they happen, one a line, through restarts of the server."""
    with session(as_json) as (lab, out):
        for event in lab.events(job, after=after):
            if as_json:
                out.line(event)
            else:
                out.console.print(_line(event))


def _line(event: Event) -> Text:
    facts = " ".join(f"{name}={render.cell(value)}" for name, value in event.data.items())
    return Text.assemble((f"{event.id:>8} ", "dim"), (f"{event.type:<9}", "bold"), facts)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command("watch")(watch)
    app.command("events")(events)
