"""`make demo`: the quick correction study from the HTTP body to the figure, on a server of its own.

Serves the data folder on a free port, submits the spec, shows the study as it goes on, prints its tables and claims, writes
its first figure as a PNG, and stops what it started. Status 0 only if the study succeeded.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from bfc_client import BfcError, Client, Job, Results, Table
from bfc_client.command import render
from bfc_client.command.watching import Scene
from bfc_client.tables import Column
from launch.process import tethered

HERE = Path(__file__).parent
# What is printed of each table; the others are named.
SHOWN = {
    "runs": ("relative_test_error", "feature_error_2", "feature_error_3", "stuck"),
    "how_deep": ("relative_test_error", "updates"),
    "how_much": ("value",),
    "which_part": ("before", "after"),
    "baselines": ("relative_test_error",),
}
# Few rows, not by seed: printed as they are.
WHOLE = ("stuck_rates",)
FIGURE = "correction_is_backward"
MOST_ROWS = 16
# Of lines that go to a file or a pipe, where nobody knows the width: what the names of columns need.
FILE_WIDTH = 120
MOST_WORKERS = 4
STOP_SECONDS = 60
SAY_EVERY_SECONDS = 5


def main() -> int:
    """Runs the demo; its exit status."""
    parser = argparse.ArgumentParser(description="Run the quick correction study, from the HTTP body to the figure.")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="the server's data folder")
    parser.add_argument("--spec", type=Path, default=HERE / "correction-quick.json", help="the job to submit")
    parser.add_argument("--figure", type=Path, default=Path("out/correction-quick.png"), help="where the picture goes")
    given = parser.parse_args()
    console, began = Console(width=None if sys.stdout.isatty() else FILE_WIDTH), time.monotonic()
    try:
        with served(given.data) as url, Client(url) as lab:
            console.print(f"serving {given.data} at {url}", style="dim")
            job = follow(lab, lab.submit(json.loads(given.spec.read_text())), console)
            if job.state == "succeeded":
                report(lab.results(job), console)
                picture(lab, job, given.figure, console)
            else:
                console.print(f"the study {job.state}: {job.error}", style="bold red")
    except (BfcError, OSError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped; `make serve` goes on with the study", file=sys.stderr)
        return 130
    console.print(f"{time.monotonic() - began:.0f} s in all; `make serve` opens the study in the page", style="dim")
    return 0 if job.state == "succeeded" else 1


@contextmanager
def served(data: Path) -> Iterator[str]:
    """Runs `bfc serve` on a free port while the block lasts; yields its address."""
    workers = str(min(os.cpu_count() or 1, MOST_WORKERS))
    command = [sys.executable, "-m", "launch.entry", "serve", "--data", str(data), "--port", "0", "--workers", workers]
    # Tied to us: should we be killed, it is asked to stop. A session of its own keeps our Ctrl-C from it until we are done.
    server = subprocess.Popen(
        tethered(command, signal.SIGTERM), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stdout is not None
    try:
        ready = server.stdout.readline()
        if not ready:
            raise RuntimeError("the server did not start")
        yield ready.split()[-1]
    finally:
        server.terminate()
        server.wait(STOP_SECONDS)


def follow(lab: Client, job: Job, console: Console) -> Job:
    """Shows the study until it has ended: its members as a grid in a terminal, else a line now and then."""
    if console.is_terminal:
        scene = Scene(lab, job)
        with Live(scene.draw(job), console=console, refresh_per_second=8) as live:
            return lab.wait(job, check=False, on_change=lambda now: live.update(scene.draw(now)))
    said_at = 0.0

    def say(now: Job) -> None:
        nonlocal said_at
        if now.final or time.monotonic() - said_at > SAY_EVERY_SECONDS:
            said_at = time.monotonic()
            print(f"{now.id} {now.state} {render.progress(now)}", flush=True)

    return lab.wait(job, check=False, on_change=say)


def report(results: Results, console: Console) -> None:
    """Prints the main tables, seeds gathered into medians, and each claim in words."""
    for name, table in results.tables.items():
        console.rule(f"{name}: {len(table)} rows", align="left")
        if name in SHOWN and len(table):
            console.print(render.table(over_seeds(table, SHOWN[name])))
        elif name in WHOLE:
            console.print(render.table(table))
    console.rule("claims", align="left")
    for claim in results.claims:
        console.print(render.claim(claim))


def over_seeds(table: Table, measured: tuple[str, ...]) -> Table:
    """Medians over seeds of the measured columns; rows are told apart by the columns before `seed`."""
    place = table.names.index("seed")
    measures = [table.names.index(name) for name in measured if name in table.names]
    groups: dict[str, list[list[Any]]] = {}
    for row in table.rows:
        groups.setdefault(json.dumps(row[:place]), []).append(row)
    rows = [
        [*found[0][:place], len(found), *(median([row[at] for row in found]) for at in measures)]
        for found in groups.values()
    ]
    seeds = Column(name="seeds", type="integer")
    columns = [*table.columns[:place], seeds, *(table.columns[at] for at in measures)]
    return table.model_copy(update={"columns": columns, "rows": rows[:MOST_ROWS]})


def median(values: list[Any]) -> Any:
    """The median of numbers, the share of truths, or what all have in common."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], bool):
        return sum(known) / len(known)
    return statistics.median(known) if isinstance(known[0], int | float) else known[0]


def picture(lab: Client, job: Job, file: Path, console: Console) -> None:
    """Writes a figure of the study, the backward correction where it has that one."""
    figures = {figure.name: figure for figure in lab.figures(job)}
    figure = figures.get(FIGURE) or next(iter(figures.values()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(lab.figure_file(job, figure.name))
    console.print(f"figure “{figure.title or figure.name}”: {file}")


if __name__ == "__main__":
    sys.exit(main())
