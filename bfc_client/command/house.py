"""Commands about the lab itself: its catalog, data sets, keys, workers, queues, usage and webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfc_client.command import render, setting
from bfc_client.command.session import AsJson, session
from bfc_client.errors import BfcError

datasets = typer.Typer(help="Data sets: list, upload, delete.", no_args_is_help=True)
keys = typer.Typer(help="Access keys of the project (needs an admin key).", no_args_is_help=True)
webhooks = typer.Typer(help="Webhooks: list, create, test, redeliver, delete.", no_args_is_help=True)
projects = typer.Typer(help="Projects (needs an admin key): list, create, set quotas.", no_args_is_help=True)


def catalog(
    part: Annotated[
        str | None, typer.Argument(metavar="[PART]", help="data, model, schedule, probe, …")
    ] = None,
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="One word of that part, in full.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every kind that a spec may name, or show one with its schema and an example."""
    with session(as_json) as (lab, out):
        found = [word for word in lab.catalog() if part in (None, word.part) and kind in (None, word.kind)]
        if not found:
            raise BfcError(
                f"the catalog has no {part or ''} {kind or ''}".rstrip() + "; `bfc catalog` lists it"
            )
        if kind is not None and not as_json:
            out.console.print((found[0].doc or "").strip())
            out.show(found[0].example, render.document)
        else:
            out.show(found, render.words)


def workers(as_json: AsJson = False) -> None:
    """List the workers, the device of each, and what it does now."""
    with session(as_json) as (lab, out):
        out.show(lab.workers(), render.listing("id", "name", "device", "state", "jobs", "heard_at", "host"))


def queues(as_json: AsJson = False) -> None:
    """List the queues, and how many jobs wait in each."""
    with session(as_json) as (lab, out):
        out.show(lab.queues(), render.listing("name", "queued", "running", "workers", "oldest_seconds"))


def usage(as_json: AsJson = False) -> None:
    """Say what the project uses, of what it may."""
    with session(as_json) as (lab, out):
        out.show(lab.usage(), render.mapping)


def ready(as_json: AsJson = False) -> None:
    """Say whether database, broker and schema are as they must be; status 1 while they are not."""
    with session(as_json) as (lab, out):
        out.show(lab.ready(), render.mapping)


@projects.command("list")
def list_projects(as_json: AsJson = False) -> None:
    """List the projects that this key may manage."""
    with session(as_json) as (lab, out):
        out.show(list(lab.projects()), render.listing("id", "name", "created_at"))


@projects.command("create")
def create_project(name: str, as_json: AsJson = False) -> None:
    """Create a project. Its first key is shown once."""
    with session(as_json) as (lab, out):
        out.show(lab.create_project(name=name), render.mapping)
        out.note("[dim]keep the key now: only its hash is stored[/dim]")


@projects.command("quotas")
def set_quotas(
    project: str,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="NAME=NUMBER", help="retention_days=90; null takes one away.")
    ],
    as_json: AsJson = False,
) -> None:
    """Set limits of a project (needs an admin key of the project `default`)."""
    with session(as_json) as (lab, out):
        out.show(lab.set_quotas(project, **setting.apply({}, settings)), render.mapping)


@datasets.command("show")
def show_dataset(dataset: str, as_json: AsJson = False) -> None:
    """Show a data set: its format, size, shapes and classes."""
    with session(as_json) as (lab, out):
        out.show(lab.dataset(dataset), render.mapping)


@datasets.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the data sets."""
    with session(as_json) as (lab, out):
        out.show(list(lab.datasets()), render.listing("id", "name", "format", "bytes", "created_at"))


@datasets.command("upload")
def upload_dataset(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help=".npz, .safetensors, CIFAR .bin or .tar, images.")
    ],
    name: Annotated[str | None, typer.Option(help="Its name; the file's without.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Told from the content without.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a data set; it is checked before it is used."""
    with session(as_json) as (lab, out):
        out.show(lab.upload_dataset(file, name=name, format_=format_), render.mapping)


@datasets.command("delete")
def delete_dataset(dataset: str, as_json: AsJson = False) -> None:
    """Delete a data set."""
    with session(as_json) as (lab, out):
        lab.delete_dataset(dataset)
        out.show({"deleted": dataset}, lambda gone: f"deleted {gone['deleted']}")


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys; their secrets are not kept anywhere."""
    with session(as_json) as (lab, out):
        out.show(list(lab.keys()), render.listing("id", "name", "scopes", "created_at", "used_at"))


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, submit or admin; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Its secret is shown once."""
    with session(as_json) as (lab, out):
        made = lab.create_key(name=name, scopes=scope or ["read", "submit"])
        out.show(made, lambda key: key.key or key.id)
        out.note("[dim]keep it now: only its hash is stored[/dim]")


@keys.command("delete")
def delete_key(key: str, as_json: AsJson = False) -> None:
    """Delete a key; it stops working at once."""
    with session(as_json) as (lab, out):
        lab.delete_key(key)
        out.show({"deleted": key}, lambda gone: f"deleted {gone['deleted']}")


@webhooks.command("list")
def list_webhooks(as_json: AsJson = False) -> None:
    """List the webhooks."""
    with session(as_json) as (lab, out):
        out.show(list(lab.webhooks()), render.listing("id", "url", "events", "created_at"))


@webhooks.command("create")
def create_webhook(
    url: Annotated[str, typer.Argument(help="An https address.")],
    event: Annotated[list[str] | None, typer.Option(help="Only these events; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe an address. The secret that signs its deliveries is shown once."""
    with session(as_json) as (lab, out):
        out.show(lab.create_webhook(url, event), render.mapping)


@webhooks.command("deliveries")
def list_deliveries(webhook: str, as_json: AsJson = False) -> None:
    """List what was sent to a webhook, and what it answered."""
    columns = ("id", "event", "state", "status", "attempt", "error", "created_at")
    with session(as_json) as (lab, out):
        out.show(list(lab.deliveries(webhook)), render.listing(*columns))


@webhooks.command("test")
def try_webhook(webhook: str, as_json: AsJson = False) -> None:
    """Send a test delivery."""
    with session(as_json) as (lab, out):
        out.show(lab.test_webhook(webhook), render.document)


@webhooks.command("redeliver")
def redeliver(webhook: str, delivery: str, as_json: AsJson = False) -> None:
    """Send a delivery again."""
    with session(as_json) as (lab, out):
        out.show(lab.redeliver(webhook, delivery), render.document)


@webhooks.command("delete")
def delete_webhook(webhook: str, as_json: AsJson = False) -> None:
    """Delete a webhook."""
    with session(as_json) as (lab, out):
        lab.delete_webhook(webhook)
        out.show({"deleted": webhook}, lambda gone: f"deleted {gone['deleted']}")


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    for command in (catalog, workers, queues, usage, ready):
        app.command(command.__name__)(command)
    for name, group in (("datasets", datasets), ("keys", keys), ("webhooks", webhooks), ("projects", projects)):
        app.add_typer(group, name=name)
