"""From the HTTP body to the figure, undisturbed and killed in every way: the same numbers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bfc_core import local, specs
from tests.acceptance.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("acceptance")]

BASE = {
    "data": {"kind": "hierarchical", "input_dim": 16, "width": 3, "samples": 1000, "test_samples": 1000},
    "model": {"kind": "quadratic_densenet", "width": 6},
    "budget": {"steps": 250, "batch": 64},
    "snapshots": {"checkpoint": {"every_seconds": 0.2}, "weights": None, "features": None},
    "seed": 40,
}
STUDY: dict[str, Any] = {
    "kind": "correction",
    "base": BASE,
    "seeds": 6,
    "readouts": ["signed"],
    "baselines": {"learners": ["kernel_ridge/rbf"], "seeds": 1},
}
TIMED = ("cpu_seconds", "train_seconds")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path / "lab")
    yield found
    if found.supervisor is not None and found.supervisor.poll() is None:
        found.stop()
    found.http.close()


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """The study's tables, computed in this very process."""
    result = local.run_study(specs.CorrectionSpec.model_validate(STUDY))
    return {name: untimed(table.json()) for name, table in result.tables.items()}


def untimed(table: dict[str, Any]) -> dict[str, Any]:
    kept = [i for i, column in enumerate(table["columns"]) if column["name"] not in TIMED]
    return {
        "columns": [table["columns"][i]["name"] for i in kept],
        "rows": [[row[i] for i in kept] for row in table["rows"]],
    }


def without_baselines(tables: dict[str, Any]) -> dict[str, Any]:
    return {name: table for name, table in tables.items() if name != "baselines"}


def tables_of(lab: Lab, job_id: str) -> dict[str, Any]:
    found = lab.http.get(f"/v1/jobs/{job_id}/results").raise_for_status().json()["tables"]
    return {name: untimed(table) for name, table in found.items()}


def test_a_study_goes_from_the_body_to_the_figure(lab: Lab, undisturbed: dict[str, Any]) -> None:
    lab.start("--workers", "1")
    study = lab.ended(lab.post({"kind": "study", "name": "acceptance", "spec": STUDY})["id"])
    assert study["state"] == "succeeded", study["error"]
    tables = tables_of(lab, study["id"])
    # Kernels are fitted by LAPACK, whose threads this process has and the lab's child has not.
    served, here = (one.pop("baselines")["rows"] for one in (tables, dict(undisturbed)))
    assert [row[:5] for row in served] == [row[:5] for row in here]
    assert [row[5] for row in served] == pytest.approx([row[5] for row in here], rel=1e-9)
    assert tables == without_baselines(undisturbed)
    claims = study["result"]["claims"]
    assert {claim["verdict"] for claim in claims} <= {"supported", "not_supported", "underpowered"}
    assert all(claim["n"] == 6 and claim["planned"] == 6 and claim["says"] for claim in claims)
    listed = lab.http.get(f"/v1/jobs/{study['id']}/figures").json()["items"]
    assert {"correction_is_backward", "which_part"} <= {figure["name"] for figure in listed}
    for figure in listed:
        at = f"/v1/jobs/{study['id']}/figures/{figure['name']}"
        assert "vega-lite" in lab.http.get(at).json()["$schema"]
        assert lab.http.get(f"{at}.png").content.startswith(b"\x89PNG")
        assert lab.http.get(f"{at}.svg").text.startswith("<svg")
    lab.stop()
    lab.start("--workers", "1")
    assert tables_of(lab, study["id"])["baselines"]["rows"] == served


def test_a_study_killed_in_every_way_ends_with_the_numbers_of_an_undisturbed_one(
    lab: Lab, undisturbed: dict[str, Any]
) -> None:
    lab.start("--workers", "1")
    study = lab.post({"kind": "study", "name": "killed", "spec": STUDY})["id"]
    for kills, victim in enumerate(("worker.child", "-m worker"), start=1):
        lab.until(lambda times=kills: at_work(lab, study, times), 60, f"a member to be at work in attempt {kills}")  # type: ignore[misc]
        lab.processes(victim)[0].kill()
    lab.until(lambda: trained(lab, study) > 0, 120, "the first member to end")
    lab.stop(signal.SIGKILL)
    lab.start("--workers", "1")
    found = lab.ended(study)
    assert found["state"] == "succeeded", found["error"]
    assert without_baselines(tables_of(lab, study)) == without_baselines(undisturbed)
    members = lab.http.get(f"/v1/jobs/{study}/children", params={"limit": 500}).json()["items"]
    assert {member["state"] for member in members} == {"succeeded"}
    assert max(member["attempt"] for member in members) >= 3


def at_work(lab: Lab, study: str, attempt: int) -> bool:
    """Whether a member has made steps in its attempt of that number."""
    found = lab.http.get(f"/v1/jobs/{study}/children", params={"limit": 500, "state": "running"})
    members = found.raise_for_status().json()["items"]
    return any(member["attempt"] >= attempt and member["progress"]["done"] > 0 for member in members)


def trained(lab: Lab, study: str) -> int:
    found = lab.http.get(f"/v1/jobs/{study}/children", params={"limit": 500, "state": "succeeded"})
    return len(found.raise_for_status().json()["items"])
