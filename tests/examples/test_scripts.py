"""The examples that speak to a lab, run against one at work."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfc_client import Client, Job
from bfc_client.command import setting
from bfc_core import specs
from tests.client.paper_lab import Served
from tests.examples.paper_mlflow import PaperMlflow
from tests.examples.test_specs import EXAMPLES, REDUCED, read
from tests.site import Site

pytestmark = pytest.mark.xdist_group("examples")
STUDY = [*REDUCED["correction-quick"], "spec.how_deep=false", "spec.baselines=null"]
SWEEP = [*REDUCED["sweep"], 'spec.grid={"seed": [0, 1]}']


@pytest.fixture(scope="module")
def lab(site: Site) -> Iterator[Client]:
    with Client(site.url) as client:
        yield client


@pytest.fixture(scope="module")
def trained(lab: Client) -> Job:
    """The train example, done."""
    body = setting.apply(
        read(EXAMPLES / "train.json"), [*REDUCED["train"], "spec.snapshots.weights.every=10"]
    )
    return lab.wait(lab.submit(body), timeout_seconds=120)


@pytest.fixture(scope="module")
def swept(lab: Client) -> Job:
    """The sweep example, done."""
    return lab.wait(lab.submit(setting.apply(read(EXAMPLES / "sweep.json"), SWEEP)), timeout_seconds=120)


def script(site: Site, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, "BFC_URL": site.url},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_the_client_reads_what_a_real_lab_wrote(lab: Client, trained: Job) -> None:
    results = lab.results(trained)
    assert results.summary["updates"] == 20
    assert {series.key for series in lab.metrics(trained)} >= {"train_loss", "test_error", "feature_error"}
    weights = [one for one in lab.snapshots(trained) if one.kind == "weights"]
    assert lab.tensors(weights[0]).numpy()["W2"].shape == (4, 16)
    assert lab.audit(trained).attempts[0].counts
    assert "succeeded" in lab.why(trained).says
    assert lab.figure(trained, lab.figures(trained)[0].name).png is not None
    types = [event.type for event in lab.events(trained)]
    assert types[0] == "state"
    assert "progress" in types


def test_a_member_is_told_with_its_sweep_unless_not_asked_for(lab: Client, swept: Job) -> None:
    with_members = {event.job for event in lab.events(swept)}
    assert with_members == {swept.id, *(member.id for member in lab.children(swept))}
    assert {event.job for event in lab.events(swept, members=False)} == {swept.id}


def test_another_tool_is_told_by_webhook_and_reads_the_result(site: Site, tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps(setting.apply(read(EXAMPLES / "baseline.json"), REDUCED["baseline"])))
    done = script(site, "drive_from_another_tool.py", str(spec))
    assert done.returncode == 0, done.stderr
    assert "told: state" in done.stdout
    assert "relative_test_error" in done.stdout


def test_another_tool_is_told_what_is_wrong_with_its_spec(site: Site, tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text('{"kind": "train", "spec": {"seed": -1}}')
    done = script(site, "drive_from_another_tool.py", str(spec))
    assert done.returncode == 1
    assert "/spec/seed" in done.stderr


def test_a_sweep_becomes_mlflow_runs_inside_a_run(site: Site, lab: Client, swept: Job) -> None:
    mlflow = PaperMlflow()
    at = Served(mlflow)  # type: ignore[arg-type]
    at.start()
    try:
        done = script(site, "export_mlflow.py", swept.id, "--to", at.url)
    finally:
        at.stop()
    assert done.returncode == 0, done.stderr
    outer, *members = mlflow.runs.values()
    assert len(members) == 2
    tags: list[dict[str, Any]] = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in members]
    assert all(tag["mlflow.parentRunId"] == "run0" for tag in tags)
    assert {run["params"]["seed"] for run in members} == {"0", "1"}
    assert outer["status"] == "FINISHED"
    curve = [one for one in members[0]["metrics"] if one["key"] == "test_error/curve"]
    first = next(member for member in lab.children(swept) if member.id == tags[0]["bfc.job"])
    expected = next(one for one in lab.metrics(first) if one.key == "test_error")
    assert [(one["step"], one["value"]) for one in curve] == list(
        zip(expected.steps, expected.values, strict=True)
    )


def test_without_mlflow_the_export_says_how_to_start_it(site: Site, trained: Job) -> None:
    done = script(site, "export_mlflow.py", trained.id, "--to", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "no MLflow at http://127.0.0.1:1" in done.stderr
    assert "mlflow server" in done.stderr


def test_series_become_tensorboard_scalars(site: Site, lab: Client, trained: Job, tmp_path: Path) -> None:
    done = script(site, "export_tensorboard.py", trained.id, "--logdir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    expected = next(one for one in lab.metrics(trained) if one.key == "train_loss")
    assert scalars(file)["train_loss"] == pytest.approx(
        dict(zip(expected.steps, expected.values, strict=True))
    )


def scalars(file: Path) -> dict[str, dict[int, float]]:
    """The scalars of an event file by tag and step."""
    from tensorboardX.proto.event_pb2 import Event

    content, found = file.read_bytes(), dict[str, dict[int, float]]()
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, {})[event.step] = value.simple_value
        content = content[16 + size :]
    return found


def test_the_notebook_runs_from_top_to_bottom(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((EXAMPLES / "correction.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    monkeypatch.setenv("BFC_URL", site.url)
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace('"steps": 1000', '"steps": 50')
            exec(compile(source, cell["id"], "exec"), names)
    assert names["done"].state == "succeeded"
    assert "succeeded" in names["done"]._repr_html_()
    assert names["results"]._repr_html_()
    names["lab"].close()


def test_the_gallery_is_made_by_its_studies(site: Site, tmp_path: Path) -> None:
    given = [part for one in REDUCED["information-gap"] for part in ("--set", one)]
    done = script(site, "gallery.py", "information-gap", "--to", str(tmp_path), *given)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "## what each layer adds" in text
    assert (
        (tmp_path / "images" / "gallery" / "information-gap-information_gap.png")
        .read_bytes()
        .startswith(b"\x89PNG")
    )


def test_the_gallery_of_the_documentation_holds_every_question_with_its_figures() -> None:
    docs = EXAMPLES.parent / "docs"
    text = (docs / "gallery.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((images/gallery/[^)]+)\)", text)
    assert all((docs / one).stat().st_size < 200_000 for one in pictures)
    kept = {path.name for path in (docs / "images" / "gallery").iterdir()}
    assert {Path(one).name for one in pictures} == kept
    asked = {
        read(EXAMPLES / f"{name}.json")["spec"]["kind"]
        for name in re.findall(r"examples/([\w-]+)\.json", text)
    }
    assert asked == {kind for part, kind, _ in specs.words() if part == "study"}
    assert re.search(r"^- \*\*(supported|not supported|underpowered)\*\*: ", text, re.M)
