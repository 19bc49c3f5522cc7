"""The reference is complete: every kind, field, unit and error of the product stands in it, and the pages build."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bfc_core
from api.models import QuotaBody
from api.problems import CODES, TITLES
from api.settings import Settings
from bfc_client.command import EXIT_STATUSES
from bfc_client.command.session import exit_status
from bfc_client.errors import BfcError
from bfc_core import specs
from bfc_core.records import FAILURES, Failure, Metric, Result
from bfc_core.specs.series import UNITS
from bfc_core.specs.vocabulary import series

ROOT = Path(__file__).parents[2]
#: Where the code of a problem stands among the arguments of what makes it.
PROBLEMS = {"Problem": 1, "Refusal": 1, "Conflicting": 1, "NotAllowed": 0, "TooMany": 2}


@cache
def hooks() -> ModuleType:
    """The mkdocs hooks, which write the reference."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def page(name: str) -> str:
    return str(getattr(hooks(), f"{name}_page")())


def section(text: str, heading: str) -> str:
    """What stands under a heading of the third level."""
    found = re.search(rf"^### {re.escape(heading)}\s.*?(?=^##|\Z)", text, re.M | re.S)
    assert found is not None, f"no section {heading!r}"
    return found[0]


@pytest.mark.parametrize(("part", "kind", "word"), list(specs.words()), ids=lambda one: str(one)[:40])
def test_every_kind_and_field_stands_in_the_reference(part: str, kind: str, word: type[Any]) -> None:
    text = section(page("specs"), f"{kind} {{#{part}-{kind}}}")
    missing = [name for name in word.model_fields if f"| `{name}` |" not in text]
    assert missing == []


def test_every_object_inside_a_spec_stands_in_the_reference() -> None:
    kinds = {word.__name__: (part, kind) for part, kind, word in specs.words()}
    for word in (specs.Envelope, *(word for _, _, word in specs.words())):
        for name, inner in word.model_json_schema().get("$defs", {}).items():
            if "properties" not in inner:
                continue
            heading = (
                "{0} {{#{1}-{0}}}".format(*reversed(kinds[name])) if name in kinds else f"{name} {{#object-"
            )
            text = page("specs") if name not in kinds else section(page("specs"), heading)
            assert heading in text
            assert [field for field in inner["properties"] if f"| `{field}` |" not in text] == []


def test_every_learner_stands_in_the_reference() -> None:
    assert [name for name in specs.LEARNERS if f"| `{name}` |" not in page("learners")] == []


def test_every_operation_parameter_and_field_of_the_api_stands_in_the_reference() -> None:
    from api.app import app

    document, text = app.openapi(), page("http")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            part = text[text.index(f"## `{method.upper()} {path}`") :].split("\n## ", 1)[0]
            assert [
                one["name"] for one in operation.get("parameters", []) if f"| `{one['name']}` |" not in part
            ] == []
            assert [status for status in operation["responses"] if f"| {status} |" not in part] == []
    for name, schema in hooks().reply_objects(document).items():
        part = section(text, name)
        assert [field for field in schema["properties"] if f"| `{field}` |" not in part] == [], name


def calls(folder: str, *names: str) -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call of one of these names in the files of a room."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in names:
                    yield path, node, name


def constant(node: ast.Call, place: int, keyword: str) -> Any:
    """The literal given at a place or by keyword; None where it is none."""
    given = [one.value for one in node.keywords if one.arg == keyword] or node.args[place : place + 1]
    return given[0].value if given and isinstance(given[0], ast.Constant) else None


def test_every_problem_of_the_api_stands_in_the_reference() -> None:
    raised = {
        constant(call, PROBLEMS[name], "code")
        for path, call, name in calls("api", *PROBLEMS)
        if path.name != "__main__.py"
    }
    defaults = set(re.findall(r'code: str = "(\w+)"', (ROOT / "api" / "problems.py").read_text()))
    assert (raised | defaults) - {None} <= CODES.keys()
    assert {status for status, _ in CODES.values()} <= TITLES.keys()
    assert [code for code in CODES if f"| `{code}` |" not in page("errors")] == []


def test_every_error_of_a_job_stands_in_the_reference() -> None:
    said = {constant(call, 0, "code") for _, call, _ in calls("bfc_core", "Failure")}
    said |= {constant(call, 1, "code") for _, call, _ in calls("worker", "_expire")}
    for path in (
        file for folder in ("worker", "store", "bfc_core") for file in (ROOT / folder).rglob("*.py")
    ):
        said |= set(
            re.findall(r"""["']code["']\s*[:,]\s*["'](?!string)(\w+)["']""", path.read_text(encoding="utf-8"))
        )
    assert said - {None} <= FAILURES.keys()
    assert [code for code in FAILURES if f"| `{code}` |" not in page("errors")] == []


def test_every_exit_status_stands_in_the_reference() -> None:
    def kinds(of: type[BfcError]) -> Iterator[type[BfcError]]:
        yield of
        for inner in of.__subclasses__():
            yield from kinds(inner)

    assert {exit_status(kind.__new__(kind)) for kind in kinds(BfcError)} <= EXIT_STATUSES.keys()
    assert [status for status in EXIT_STATUSES if f"| {status} |" not in page("errors")] == []


def test_every_command_and_every_method_stands_in_the_reference() -> None:
    import typer

    from bfc_client import Client
    from bfc_client.command import app

    found = hooks().commands(typer.main.get_command(app), "bfc")
    assert len(found) > 40
    assert [path for path, _ in found if f"## `{path}`" not in page("command")] == []
    methods = [name for name, one in vars(Client).items() if callable(one) and not name.startswith("_")]
    assert [name for name in methods if f"## {name}\n" not in page("client")] == []


def test_every_unit_stands_in_the_reference() -> None:
    said = {one.unit for _, one in series()}
    said |= {constant(call, 2, "unit") for _, call, _ in calls("bfc_core", "Column", "Progress")}
    said |= {constant(call, 99, "unit") for _, call, _ in calls("bfc_core", "Metric", "Reading", "columns")}
    assert said - {None} <= UNITS.keys()
    assert [unit for unit in UNITS if f"| `{unit}` |" not in page("results")] == []


DATA: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hierarchical": (
        {"kind": "hierarchical", "input_dim": 8, "width": 2, "samples": 300, "test_samples": 500},
        {"kind": "quadratic_densenet", "width": 4},
    ),
    "parity": (
        {"kind": "parity", "input_dim": 12, "samples": 300, "test_samples": 300},
        {"kind": "mlp", "width": 16, "depth": 2},
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_every_series_that_a_training_reports_is_known_with_its_unit(name: str) -> None:
    data, model = DATA[name]
    left_out = {"pictures", "sensitivity" if name == "hierarchical" else "pictures"}
    probes = [{"kind": kind} for part, kind, _ in specs.words() if part == "probe" and kind not in left_out]
    spec = {"data": data, "model": model, "budget": {"steps": 4, "batch": 32}, "probes": probes}
    known = {one.stem for _, one in series()}
    seen: dict[str, str | None] = {}
    for record in bfc_core.run(specs.load("train", spec)):
        assert not isinstance(record, Failure), record
        if isinstance(record, Metric):
            seen[record.key.partition("/")[0]] = record.unit
        if isinstance(record, Result):
            assert {column.unit for table in record.tables.values() for column in table.columns} <= {
                None,
                *UNITS,
            }
    assert seen.keys() <= known
    assert set(seen.values()) <= UNITS.keys(), seen


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "feature_error" in (tmp_path / "site" / "reference" / "specs.html").read_text(encoding="utf-8")


def test_every_setting_stands_in_the_guide_with_its_default() -> None:
    guide = (ROOT / "docs" / "guides" / "operate.md").read_text()
    read = "".join((ROOT / path).read_text() for path in ("store/config.py", "api/settings.py", "bfc_client/transport.py"))
    names = set(re.findall(r"\bBFC_[A-Z_]+[A-Z]\b", read))
    assert len(names) > 25
    assert names - set(re.findall(r"\bBFC_[A-Z_]+[A-Z]\b", guide)) == set()
    default = Settings()
    for name, value in (
        ("BFC_REQUESTS_PER_MINUTE", default.requests_per_minute),
        ("BFC_MAX_STREAMS", default.max_streams),
        ("BFC_MAX_QUEUED_JOBS", default.max_queued_jobs),
    ):
        assert f"| `{name}` | `{value}` |" in guide


def test_every_quota_is_told_in_the_reference() -> None:
    page = hooks().http_page()
    for name in QuotaBody.model_fields:
        assert f"`{name}`" in page, name
