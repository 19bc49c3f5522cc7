"""Every example is a job that the lab accepts, and runs at reduced size to its result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bfc_core
from bfc_client.command import setting
from bfc_core import local, specs, studies
from bfc_core.images.datasets import Arrays
from bfc_core.records import Result

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.json"))
DATA = ["data.input_dim=8", "data.width=2", "data.samples=300", "data.test_samples=500"]
SMALL = [*DATA, "model.width=4", "budget.steps=20", "budget.batch=32"]
IMAGES = ["data.samples=40", "data.test_samples=20", "model.groups=[1,1]", "model.widths=[4,8]",
          "budget.steps=3", "budget.batch=8", "data.validation=0.2"]  # fmt: skip
STUDY = ["spec.seeds=2", *(f"spec.base.{one}" for one in SMALL)]
# What makes each example small enough to be run here, as `bfc submit --set` would.
REDUCED = {
    "train": [f"spec.{one}" for one in SMALL],
    "train-window": [*(f"spec.{one}" for one in SMALL), "spec.model.width=5"],
    "baseline": [f"spec.{one}" for one in DATA],
    "sweep": [*(f"spec.base.{one}" for one in SMALL), 'spec.grid={"data.gap": [[1, -0.7]], "seed": [0, 1]}'],
    "correction-quick": [*STUDY, 'spec.readouts=["signed"]', "spec.baselines.seeds=1"],
    "duel": [*STUDY, "spec.samples=[200]", 'spec.against=["kernel_ridge/rbf"]'],
    "information-gap": STUDY,
    "correction-images-quick": [*(f"spec.base.{one}" for one in IMAGES), "spec.seeds=1", "spec.rows=[2]"],
}


class Pictures:
    """Stands for the uploaded data set: ten classes of noise."""

    def dataset(self, dataset_id: str) -> Arrays:
        rng = np.random.default_rng(0)
        made = [rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (60, 30)]
        labels = [np.arange(len(part), dtype=np.int64) % 10 for part in made]
        return Arrays(made[0], labels[0], tuple("0123456789"), made[1], labels[1])


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_job(path: Path) -> None:
    job = specs.parse_job(read(path))
    assert job.name


def test_every_kind_and_every_study_has_an_example() -> None:
    jobs = [specs.parse_job(read(path)) for path in FILES]
    asked = {job.spec.kind for job in jobs if job.kind == "study"}
    assert {job.kind for job in jobs} == set(specs.JOBS)
    assert asked == {kind for part, kind, _ in specs.words() if part == "study"}


def test_every_example_that_can_stand_alone_is_run_here() -> None:
    assert {path.stem for path in FILES} - REDUCED.keys() == {"probe"}


@pytest.mark.parametrize("name", REDUCED)
def test_an_example_runs_at_reduced_size(name: str) -> None:
    job = specs.parse_job(setting.apply(read(EXAMPLES / f"{name}.json"), REDUCED[name]))
    inputs = Pictures() if "images" in name else None
    if job.kind in ("study", "sweep"):
        result = local.run_study(job.spec, inputs=inputs)
        ended = len(studies.members(job.spec)) - len(result.tables["failed_runs"].rows)
        assert ended == len(studies.members(job.spec))
    else:
        *_, last = bfc_core.run(job.spec, inputs=inputs)
        assert isinstance(last, Result), last
        result = last
    assert result.summary
