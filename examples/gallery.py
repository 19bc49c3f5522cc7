"""Make the documentation's gallery: run each study on a lab, and keep its claims and figures.

    bfc serve &
    python examples/gallery.py                              # writes docs/gallery.md and docs/images/gallery/
    python examples/gallery.py information-gap --set spec.seeds=5 --to my-gallery

A study that this lab has run already is not run again. Needs bfc-lab alone; with pillow the pictures are smaller.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

from bfc_client import BfcError, Client, Job
from bfc_client.command import setting

ROOT = Path(__file__).parents[1]
#: Each study with what is said of it, and how it is made small enough for two cores.
STUDIES: dict[str, tuple[str, list[str]]] = {
    "correction-quick": (
        "Does training the higher levels correct the features of the lower ones, and is it the gradient path?",
        [],
    ),
    "duel": (
        "How many samples does each learner need? Every learner sees the same ones.",
        ['spec.against=["kernel_ridge/rbf", "random_features/relu"]'],
    ),
    "information-gap": ("What does each layer add to what the layers below it know of the target?", []),
}  # fmt: skip
COLOURS = 64


def main() -> int:
    parser = argparse.ArgumentParser(description="Run studies and keep their claims and figures as a page.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", default=list(STUDIES), help="files under examples/, without .json"
    )
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="change every spec")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "docs", help="folder of gallery.md and images/gallery/"
    )
    given = parser.parse_args()
    lines = [
        "# Gallery",
        "",
        "Studies with their claims and figures as they came out, made by `python examples/gallery.py`.",
    ]
    lines += ["A claim that is not supported is shown like one that is.", ""]
    try:
        with Client() as lab:
            for name in given.names:
                says, settings = STUDIES.get(name, ("", []))
                lines += section(lab, name, says, [*settings, *given.set], given.to / "images" / "gallery")
    except BfcError as fault:
        print(f"gallery: {fault}", file=sys.stderr)
        return 1
    (given.to / "gallery.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return 0


def section(lab: Client, name: str, says: str, settings: list[str], images: Path) -> list[str]:
    """Heading, command, claims in words, and a picture for each figure."""
    body = setting.apply(
        json.loads((ROOT / "examples" / f"{name}.json").read_text(encoding="utf-8")), settings
    )

    job = lab.wait(finished(lab, body) or lab.submit(body))
    summary = lab.results(job).summary
    command = " ".join(
        [f"bfc submit examples/{name}.json", *(f"--set '{one}'" for one in settings), "--watch"]
    )
    lines = [
        f"## {job.name or name}",
        "",
        says,
        "",
        "<!-- not run: the gallery's own study -->",
        "```bash",
        command,
        "```",
        "",
    ]
    lines += [f"{ran(lab, job)}", ""]
    lines += [
        f"- **{claim['verdict'].replace('_', ' ')}**: {claim['says']}" for claim in summary.get("claims", [])
    ]
    images.mkdir(parents=True, exist_ok=True)
    for figure in lab.figures(job):
        if figure.name == "curves":  # every series of every member: for the page, not for a gallery
            continue
        path = images / f"{name}-{figure.name}.png"
        path.write_bytes(small(lab.figure_file(job, figure.name)))
        lines += [
            "",
            f"### {figure.title or figure.name}",
            "",
            figure.doc or "",
            "",
            f"![{figure.title or figure.name}](images/gallery/{path.name})",
        ]
    return [*lines, ""]


def finished(lab: Client, body: dict[str, Any]) -> Job | None:
    """The study of this very spec that the lab has run already."""
    wanted = lab.dry_run(body).spec
    found = lab.jobs(kind="study", state="succeeded", name=body["name"])
    return next((job for job in found if job.spec == wanted), None)


def ran(lab: Client, job: Job) -> str:
    """How many jobs it took, for how long, and with what."""
    members = list(lab.children(job))
    seconds = (
        (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else 0.0
    )
    with_ = next((one.provenance for one in members if one.provenance), None) or {}
    environment = with_.get("environment", {})
    what = ", ".join(f"{part} {environment[part]}" for part in ("python", "torch") if part in environment)
    return f"*{len(members)} jobs in {seconds / 60:.0f} min on {with_.get('device', 'cpu')}; {what}.*"


def small(png: bytes) -> bytes:
    """The picture with a palette, where pillow is there."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        return png
    made = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        made, "PNG", optimize=True
    )
    return min(made.getvalue(), png, key=len)


if __name__ == "__main__":
    sys.exit(main())
