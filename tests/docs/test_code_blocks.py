"""Every code block of the documentation is run: `make test-docs` runs all pages, `make test` the README and the tutorial.

A page's blocks run in order in one folder and one server. A block that cannot run here stands under an HTML comment
`<!-- not run: reason -->`; json blocks must parse, and be valid jobs where they have a `kind` of one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from bfc_core import specs
from launch.addresses import free_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SAMPLED = {"README.md", "tutorial.md"}
ALL = os.environ.get("BFC_TEST_DOCS") == "all"
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>.*?) -->\n+)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```", re.M | re.S
)


class Block(NamedTuple):
    page: Path
    number: int
    language: str
    code: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text())
    return [Block(page, i, m["language"], m["code"], m["reason"]) for i, m in enumerate(found, start=1)]


def runnable(page: Path) -> list[Block]:
    return [b for b in blocks(page) if b.language in ("bash", "python") and b.reason is None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json_on_a_page_is_what_it_says(page: Path) -> None:
    for block in blocks(page):
        if block.language == "json" and block.reason is None:
            body = json.loads(block.code)
            if isinstance(body, dict) and body.get("kind") in specs.JOBS and "spec" in body:
                specs.parse_job(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server of its own, and the environment in which a reader's shell would be."""
    data = tmp_path_factory.mktemp("docs")
    port = free_port()
    commands = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BFC_")}
    environment |= {
        "PATH": f"{commands}:{environment['PATH']}",
        "BFC_URL": f"http://127.0.0.1:{port}",
        "COLUMNS": "120",
    }
    with (data / "serve.log").open("wb") as log:
        serve = [commands / "bfc", "serve", "--data", str(data / "lab"), "--port", str(port)]
        child = subprocess.Popen(serve, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(300):
                if child.poll() is not None:
                    pytest.fail((data / "serve.log").read_text())
                try:
                    if httpx.get(environment["BFC_URL"] + "/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            yield environment
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize(
    "page", [p for p in PAGES if runnable(p) and (ALL or p.name in SAMPLED)], ids=lambda page: page.name
)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: Path, server: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in runnable(page):
        code = block.code.replace("http://127.0.0.1:8321", server["BFC_URL"])
        command = (
            ["bash", "-euo", "pipefail", "-c", code]
            if block.language == "bash"
            else [sys.executable, "-c", code]
        )
        done = subprocess.run(command, cwd=tmp_path, env=server, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (
            f"block {block.number} of {page.name}:\n{block.code}\n{done.stdout}\n{done.stderr}"
        )
