"""Commands that read what came out: results, figures, metrics, snapshots, archives, comparisons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from bfc_client.command import render
from bfc_client.command.acts import read_document
from bfc_client.command.session import AsJson, JobId, session
from bfc_client.errors import BfcError
from bfc_client.figures import format_of
from bfc_client.replies import Series

Out = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")]


def results(
    job: JobId,
    table: Annotated[str | None, typer.Option(help="Print this table.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="The table as CSV.")] = False,
    output: Out = None,
    as_json: AsJson = False,
) -> None:
    """Show the claims, the summary and the tables."""
    with session(as_json) as (lab, out):
        if csv:
            if table is None:
                names = ", ".join(lab.results(job).tables) or "none"
                raise BfcError(f"--csv prints one table: add --table; there are {names}")
            _write(output, lab.table_csv(job, table))
            return
        found = lab.results(job)
        if table is None:
            out.show(found, render.results)
        elif table in found.tables:
            out.show(found.tables[table], render.table)
        else:
            raise BfcError(f"no table {table!r}; there are {', '.join(found.tables) or 'none'}")


def figure(
    job: JobId,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A figure; without, they are listed.")
    ] = None,
    output: Out = None,
    theme: Annotated[str | None, typer.Option(help="light or dark.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a figure into a file (.png, .svg, .pdf, or .json for Vega-Lite), or list the figures."""
    with session(as_json) as (lab, out):
        if name is None:
            out.show(lab.figures(job), render.listing("name", "title"))
            return
        target = output or Path(f"{name}.png")
        try:
            wanted = format_of(target)
        except ValueError as fault:
            raise BfcError(str(fault)) from fault
        drawn = lab.figure_file(job, name, wanted, theme=theme)
        _save(target, drawn)
        out.show({"figure": name, "file": str(target), "bytes": len(drawn)}, lambda done: done["file"])


def metrics(
    job: Annotated[list[str], typer.Argument(metavar="JOB…", help="One id, or several to read at once.")],
    keys: Annotated[
        list[str] | None, typer.Option("--key", "-k", help="Only this series; may be repeated.")
    ] = None,
    from_step: Annotated[int | None, typer.Option(min=0)] = None,
    to_step: Annotated[int | None, typer.Option(min=0)] = None,
    max_points: Annotated[int | None, typer.Option(min=1, help="Down-sample each series to so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a job's series, each with a small curve; with --json their points."""
    with session(as_json) as (lab, out):
        if len(job) > 1:
            if from_step is not None or to_step is not None:
                raise BfcError("--from-step and --to-step are for one job")
            out.show(lab.metrics_of(job, keys or None, max_points=max_points), _curves)
            return
        bounds = {"from_step": from_step, "to_step": to_step, "max_points": max_points}
        out.show(lab.metrics(job[0], keys or None, **bounds), _curves)


def snapshots(job: JobId, as_json: AsJson = False) -> None:
    """List a job's snapshots."""
    with session(as_json) as (lab, out):
        out.show(list(lab.snapshots(job)), render.listing("id", "kind", "step", "bytes", "created_at"))


def snapshot(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A snapshot's id.")],
    as_json: AsJson = False,
) -> None:
    """Show a snapshot's tensors: name, dtype, shape, hash."""
    with session(as_json) as (lab, out):
        columns = render.listing("name", "dtype", "shape", "hash")
        out.show(lab.snapshot(snapshot), lambda found: columns(found.tensors))


def download(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A snapshot's id.")],
    output: Out = None,
    tensor: Annotated[str | None, typer.Option(help="Only this tensor.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="A:B", help="Only these rows of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Download a snapshot, or one tensor of it, as a safetensors file."""
    with session(as_json) as (lab, out):
        if tensor is not None:
            target = output or Path(f"{snapshot}-{tensor.replace('/', '-')}.safetensors")
            content = bytes(lab.tensor(snapshot, tensor, rows=rows))
            _save(target, content)
            told = {"snapshot": snapshot, "tensor": tensor, "file": str(target), "bytes": len(content)}
            out.show(told, lambda done: done["file"])
            return
        if rows is not None:
            raise BfcError("--rows are those of one tensor: add --tensor; `bfc snapshot ID` lists them")
        path = lab.download(snapshot, output or Path(f"{snapshot}.safetensors"))
        out.show(
            {"snapshot": snapshot, "file": str(path), "bytes": path.stat().st_size}, lambda done: done["file"]
        )


def export(job: JobId, output: Out = None, as_json: AsJson = False) -> None:
    """Export a finished study as one self-contained archive."""
    with session(as_json) as (lab, out):
        path = lab.export(job, output or Path(f"{job}.bfc.tar"))
        out.show({"job": job, "file": str(path), "bytes": path.stat().st_size}, lambda done: done["file"])


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive made by `bfc export`.")],
    as_json: AsJson = False,
) -> None:
    """Import an archive; its jobs get fresh ids."""
    with session(as_json) as (lab, out):
        out.show(lab.import_archive(file), render.job)


def compare(
    snapshots: Annotated[
        list[str] | None, typer.Argument(metavar="SNAPSHOT…", help="Two or more ids.")
    ] = None,
    measure: Annotated[str, typer.Option(help="cka, svcca, pwcca, procrustes, subspace_angles, …")] = "cka",
    file: Annotated[
        str | None, typer.Option(help="The whole request as JSON, or - for standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare stored snapshots, of any jobs of the project."""
    with session(as_json) as (lab, out):
        body: dict[str, Any]
        if file is not None:
            body = read_document(file)
        elif snapshots:
            body = {"snapshots": snapshots, "probe": {"kind": measure}}
        else:
            raise BfcError("give two snapshots, or a request with --file; `bfc snapshots JOB` lists them")
        out.show(lab.compare(body), render.comparisons)


def _write(output: Path | None, text: str) -> None:
    if output is None:
        print(text, end="")
    else:
        _save(output, text.encode())


def _save(target: Path, content: bytes) -> None:
    try:
        target.write_bytes(content)
    except OSError as fault:
        raise BfcError(f"cannot write {target}: {fault.strerror}") from fault


def _curves(found: list[Series]) -> RenderableType:
    rows = [
        {
            "job": series.job,
            "key": series.key,
            "layer": series.layer,
            "unit": series.unit,
            "points": len(series.values),
            "first": series.values[0] if series.values else None,
            "last": series.values[-1] if series.values else None,
            "curve": spark([value for value in series.values if value is not None]),
        }
        for series in found
    ]
    if not rows:
        return Text("no series yet", style="dim")
    return render.listing("job", "key", "layer", "unit", "points", "first", "last", "curve")(rows)  # type: ignore[no-any-return]


def spark(values: list[float], width: int = 32) -> str:
    """A curve in block characters, on a log scale where all values are positive."""
    if not values:
        return ""
    kept = [
        values[place * len(values) // min(width, len(values))] for place in range(min(width, len(values)))
    ]
    if min(kept) > 0 and max(kept) / min(kept) > 30:
        kept = [math.log(value) for value in kept]
    low, high = min(kept), max(kept)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * (value - low) / span))] for value in kept)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    for command in (results, figure, metrics, snapshots, snapshot, download, export, compare):
        app.command(command.__name__)(command)
    app.command("import")(import_)
