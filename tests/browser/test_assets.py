"""The files that the page is made of."""

import re
from pathlib import Path

import pytest

from web import CONTENT_SECURITY_POLICY, FOLDER
from web.bundle import PATH, bundle

OURS = [
    path
    for path in FOLDER.rglob("*")
    if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts
]


def test_the_drawing_library_is_the_one_that_is_installed() -> None:
    """Else: python -m web.bundle."""
    assert PATH.read_text(encoding="utf-8") == bundle()


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_names_no_other_host_and_evaluates_nothing(path: Path) -> None:
    source = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//cdn", source)
    assert not re.search(
        r"\beval\(|new Function\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write", source
    )


def test_every_import_and_every_asset_is_there() -> None:
    missing = []
    for path in OURS:
        source = path.read_text(encoding="utf-8")
        relative = re.findall(r"(?:from|import\()\s*\"(\.[^\"]+)\"", source)
        missing += [f"{path.name}: {name}" for name in relative if not (path.parent / name).is_file()]
        absolute = re.findall(r"[\"(]/web/([^\")]+)[\")]", source)
        missing += [f"{path.name}: {name}" for name in absolute if not (FOLDER / name).is_file()]
    assert missing == []


def test_the_policy_allows_no_inline_script_and_no_eval() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "<style" not in (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)", (FOLDER / "index.html").read_text())
