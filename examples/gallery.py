"""Make the documentation's gallery: run each study of a list through a server, and keep its figures and claims.

bfc serve &
python examples/gallery.py correction-quick duel …     writes docs/gallery.md and docs/images/gallery/
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bfc_client import Client

ROOT = Path(__file__).parents[1]
STUDIES = ["correction-quick", "duel", "information-gap"]


def main(names: list[str]) -> None:
    images = ROOT / "docs" / "images" / "gallery"
    images.mkdir(parents=True, exist_ok=True)
    lines = ["# Gallery", ""]
    lines += ["Studies with their figures, made by `python examples/gallery.py` from the files under `examples/`.", ""]
    with Client() as lab:
        for name in names:
            body = json.loads((ROOT / "examples" / f"{name}.json").read_text())
            job = lab.wait(lab.submit(body, idempotency_key=f"gallery-{name}"))
            lines += section(lab, job, name, images)
    (ROOT / "docs" / "gallery.md").write_text("\n".join(lines))


def section(lab: Client, job: object, name: str, images: Path) -> list[str]:
    """Heading, claims in words, and a picture for each figure."""
    results = lab.results(job)  # type: ignore[arg-type]
    lines = [f"## {name}", ""]
    lines += [f"- **{claim['verdict'].replace('_', ' ')}** — {claim['says']}" for claim in results.summary.get("claims", [])]
    for figure in lab.figures(job):  # type: ignore[arg-type]
        path = images / f"{name}-{figure.name}.png"
        path.write_bytes(lab.figure_file(job, figure.name))  # type: ignore[arg-type]
        lines += ["", f"![{figure.title or figure.name}](images/gallery/{path.name})"]
    return [*lines, ""]


if __name__ == "__main__":
    main(sys.argv[1:] or STUDIES)
