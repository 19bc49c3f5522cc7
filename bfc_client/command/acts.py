"""Commands that make jobs and change them, and those that show them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bfc_client.command import render, setting
from bfc_client.command.session import AsJson, JobId, session
from bfc_client.command.watching import watch_job
from bfc_client.errors import BfcError
from bfc_client.replies import DryRun, Job

Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change the spec before it is sent: --set spec.seed=3."),
]


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A job as JSON, or - for standard input.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay and show the progress.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Queue nothing; show the spec and its cost.")
    ] = False,
    settings: Setting = None,
    name: Annotated[str | None, typer.Option(help="A name in place of the file's.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Sent twice, the job is made once.")] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Where a job of the same spec has succeeded, that one instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a job."""
    with session(as_json) as (lab, out):
        body = setting.apply(read_document(file), settings or [])
        if name is not None:
            body["name"] = name
        if dry_run:
            out.show(lab.dry_run(body), _cost)
            return
        job = lab.submit(body, idempotency_key=idempotency_key, reuse=reuse)
        if watch:
            out.note(f"[dim]{job.id} {job.state}[/dim]")
            watch_job(lab, out, job)
            return
        out.show(job, lambda made: made.id)
        out.note(f"[dim]{job.state}; `bfc watch {job.id}` shows its progress[/dim]")


def read_document(file: str) -> dict[str, Any]:
    """A job from a file or standard input. Raises BfcError, with the place, for what is no JSON object."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as fault:
        raise BfcError(f"cannot read {file}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise BfcError(f"{file} is not text") from fault
    except json.JSONDecodeError as fault:
        where = f"line {fault.lineno}, column {fault.colno}"
        raise BfcError(f"{file} is not JSON: {fault.msg} at {where}") from fault
    if not isinstance(document, dict):
        raise BfcError(f"{file} holds a JSON {type(document).__name__}, but a job is an object")
    return document


def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="train, probe, baseline, study or sweep.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only members of this study or sweep; `none`: no members.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K:V", help="Only jobs with this label.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 25,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with session(as_json) as (lab, out):
        filters = {"state": state, "kind": kind, "parent": parent, "label": label, "name": name}
        found = list(lab.jobs(most=limit, limit=min(limit, 500), **filters))
        out.show(found, render.jobs)


def show(job: JobId, as_json: AsJson = False) -> None:
    """Show a job; with --json its spec, provenance and result too."""
    with session(as_json) as (lab, out):
        out.show(lab.job(job), render.job)


def why(job: JobId, as_json: AsJson = False) -> None:
    """Say why a job is in its present state, and what happens next."""
    with session(as_json) as (lab, out):
        out.show(lab.why(job), render.why)


def audit(job: JobId, as_json: AsJson = False) -> None:
    """Show each attempt at a job, and the one whose results count."""
    columns = ("number", "epoch", "worker_name", "device", "started_at", "ended_at", "outcome", "counts")
    with session(as_json) as (lab, out):
        found = lab.audit(job)
        out.show(found, lambda all_: render.listing(*columns)(all_.attempts))


def fork(
    job: JobId,
    snapshot: Annotated[str, typer.Option(help="The checkpoint to start from.")],
    settings: Setting = None,
    as_json: AsJson = False,
) -> None:
    """Start a new job from a checkpoint of this one; --set paths are inside the spec."""
    with session(as_json) as (lab, out):
        made = lab.fork(job, snapshot, setting.apply({}, settings or []))
        out.show(made, lambda one: one.id)


def delete(
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a finished job and all that it owns."""
    with session(as_json) as (lab, out):
        if not (yes or as_json) and sys.stdin.isatty():
            typer.confirm(f"Delete {job} with its results and snapshots?", abort=True)
        lab.delete(job)
        out.show({"deleted": job}, lambda gone: f"deleted {gone['deleted']}")


def children(
    job: JobId,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 500,
    as_json: AsJson = False,
) -> None:
    """List the members of a study or a sweep."""
    with session(as_json) as (lab, out):
        out.show(list(lab.children(job, most=limit)), render.jobs)


def _changing(verb: str, doc: str) -> Callable[..., None]:
    def act(job: JobId, as_json: AsJson = False) -> None:
        with session(as_json) as (lab, out):
            change: Callable[[str], Job] = getattr(lab, verb)
            out.show(change(job), lambda now: f"{now.id} {now.state}")

    act.__doc__ = doc
    return act


def _cost(run: DryRun) -> Any:
    power = (run.power or {}).get("says")
    return render.pairs({**run.estimate, "members": run.members or None, "power": power})


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command("submit")(submit)
    app.command("list")(list_jobs)
    for command in (show, why, audit):
        app.command(command.__name__)(command)
    app.command("cancel")(_changing("cancel", "Stop a job; its checkpoint is kept."))
    app.command("pause")(_changing("pause", "Pause a job at a checkpoint."))
    app.command("resume")(_changing("resume", "Let a paused job go on."))
    app.command("retry")(_changing("retry", "Queue a failed or cancelled job again."))
    app.command("fork")(fork)
    app.command("delete")(delete)
    app.command("children")(children)
