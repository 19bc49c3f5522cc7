"""Replies as rich draws them in a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.json import JSON
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bfc_client.command.session import plain
from bfc_client.replies import Claim, Job, Results, Why
from bfc_client.tables import Table

STATE_STYLES = {
    "succeeded": "green", "failed": "bold red", "cancelled": "dim", "running": "bold blue",
    "queued": "yellow", "waiting": "yellow dim", "paused": "magenta", "pausing": "magenta",
    "cancelling": "dim",
}  # fmt: skip
STATE_MARKS = {
    "succeeded": "■", "failed": "✗", "cancelled": "–", "running": "▶", "queued": "·", "waiting": "·",
    "paused": "‖", "pausing": "‖", "cancelling": "–",
}  # fmt: skip
VERDICT_STYLES = {"supported": "bold green", "not_supported": "bold red", "underpowered": "bold yellow"}


def jobs(found: Sequence[Job]) -> RenderableType:
    """A table of jobs."""
    if not found:
        return Text("no jobs match", style="dim")
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("id", "kind", "name", "state", "progress", "created"):
        grid.add_column(head, justify="right" if head == "progress" else "left", no_wrap=head == "id")
    for job in found:
        grid.add_row(
            job.id, job.kind, Text(job.name or ""), state(job.state), progress(job), ago(job.created_at)
        )
    return grid


def job(found: Job) -> RenderableType:
    """One job's facts; its spec is left to `--json`."""
    facts: dict[str, Any] = {
        "id": found.id, "kind": found.kind, "name": found.name, "state": state(found.state),
        "progress": progress(found), "attempt": found.attempt, "parent": found.parent,
        "priority": found.priority or None, "labels": " ".join(f"{k}:{v}" for k, v in found.labels.items()),
        "created": ago(found.created_at), "took": took(found), "spec": found.spec_hash,
        "origin": found.origin_id,
    }  # fmt: skip
    lines: list[RenderableType] = [pairs(facts)]
    if found.error:
        lines.append(Text.assemble(("error ", "bold red"), said(found.error)))
    return Group(*lines)


def why(found: Why) -> RenderableType:
    """A job's state in words, what happens next, and the facts below."""
    facts = {
        name: value for name, value in plain(found).items() if name not in ("state", "says", "next", "job")
    }
    head = Text.assemble(state(found.state), "  ", found.says)
    after = Text.assemble(("next ", "dim"), found.next) if found.next else Text()
    return Group(head, after, pairs(facts))


def pairs(facts: Mapping[str, Any]) -> RenderableType:
    """Names and values below each other; what is None or empty is left out."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim")
    for name, value in facts.items():
        if value is not None and value != "" and value != {} and value != []:
            grid.add_row(name.replace("_", " "), value if isinstance(value, Text) else Text(measured(name, value)))
    return grid


def measured(name: str, value: Any) -> str:
    """A value in the unit that its name ends with: bytes as MiB, seconds as minutes; others as in a table."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and name.endswith("bytes"):
        return size(value)
    return duration(value) if number and name.endswith("seconds") else cell(value)


def size(count: float) -> str:
    """Bytes as a person says them."""
    for factor, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def mapping(reply: Any) -> RenderableType:
    """Any reply as names and values."""
    return pairs(plain(reply))


def listing(*columns: str) -> Any:
    """A renderer of a list of replies as a table of the named columns that any of them has."""

    def render(found: Sequence[Any]) -> RenderableType:
        rows = [plain(item) for item in found]
        if not rows:
            return Text("none", style="dim")
        shown = [name for name in columns if any(row.get(name) not in (None, "", [], {}) for row in rows)]
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in shown:
            grid.add_column(name.replace("_", " "), no_wrap=name == "id")
        for row in rows:
            grid.add_row(*(Text(cell(row.get(name))) for name in shown))
        return grid

    return render


def table(found: Table) -> RenderableType:
    """A result table, numbers to the right."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(found.columns):
        numeric = any(isinstance(row[place], int | float) for row in found.rows)
        head = f"{column.name} [dim]{column.unit}[/dim]" if column.unit else column.name
        grid.add_column(head, justify="right" if numeric else "left")
    for row in found.rows:
        grid.add_row(*(Text(cell(value)) for value in row))
    return grid


def results(found: Results) -> RenderableType:
    """Claims in words, the summary's numbers, and which tables there are."""
    plain_numbers = {
        name: value for name, value in found.summary.items() if not isinstance(value, list | dict)
    }
    parts: list[RenderableType] = [claim(one) for one in found.claims]
    if plain_numbers:
        parts.append(pairs(plain_numbers))
    if found.tables:
        sizes = ", ".join(f"{name} ({len(rows)})" for name, rows in found.tables.items())
        parts.append(Text(f"tables: {sizes}; `--table NAME` prints one, `--csv` as CSV", style="dim"))
    return Group(*parts) if parts else Text("no results yet", style="dim")


def claim(found: Claim) -> RenderableType:
    """One claim: verdict, name, and what it says."""
    verdict = found.verdict.replace("_", " ")
    readout = f" ({found.readout})" if found.readout else ""
    head = Text.assemble(
        (f"{verdict:>13}  ", VERDICT_STYLES.get(found.verdict, "")), (found.claim + readout, "bold")
    )
    return Group(head, Padding(Text(found.says or "", style="dim"), (0, 0, 0, 15)))


def comparisons(found: Mapping[str, Any]) -> RenderableType:
    """Each comparison as a matrix: layers of the first down, of the second across."""
    parts: list[RenderableType] = []
    for one in found.get("items", []):
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("layer")
        for name in one["columns"]:
            grid.add_column(str(name), justify="right")
        for name, values in zip(one["rows"], one["values"], strict=True):
            grid.add_row(str(name), *(cell(value) for value in values))
        parts += [Text(f"{one['first']} against {one.get('second') or 'itself'}", style="bold"), grid]
        parts += [Text(f"undefined: {gap['reason']}", style="dim") for gap in one.get("undefined", [])]
    return Group(*parts)


def document(value: Any) -> RenderableType:
    """Anything as coloured JSON."""
    return JSON(json.dumps(plain(value), ensure_ascii=False), indent=2)


def state(word: str) -> Text:
    return Text(f"{STATE_MARKS.get(word, ' ')} {word}", style=STATE_STYLES.get(word, ""))


def progress(found: Job) -> str:
    """Done of total, or nothing while the total is unknown."""
    p = found.progress
    return f"{p.done:g}/{p.total:g} {p.unit}" if p.total else ""


def took(found: Job) -> str | None:
    """How long the job ran, or has run."""
    if found.started_at is None:
        return None
    return duration(((found.finished_at or datetime.now(UTC)) - found.started_at).total_seconds())


def ago(moment: datetime | None) -> str:
    """How long ago, in one unit."""
    return f"{duration((datetime.now(UTC) - moment).total_seconds())} ago" if moment else ""


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def said(error: Mapping[str, Any]) -> str:
    """An error's message, whichever name it goes by."""
    return str(
        next((error[name] for name in ("detail", "message", "title", "code") if error.get(name)), dict(error))
    )


def cell(value: Any) -> str:
    """One value in a table: four digits for fractions, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple) and all(not isinstance(item, dict | list) for item in value):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, dict) and all(not isinstance(item, dict | list) for item in value.values()):
        return ", ".join(f"{name.replace('_', ' ')} {cell(item)}" for name, item in value.items())
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def words(found: Iterable[Any]) -> RenderableType:
    """The catalog by part."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("part", "kind", "what it is"):
        grid.add_column(head)
    last = None
    for word in found:
        first = " ".join((word.doc or word.title or "").strip().split("\n\n")[0].split())
        grid.add_row(word.part if word.part != last else "", Text(word.kind, style="bold"), first)
        last = word.part
    return grid
