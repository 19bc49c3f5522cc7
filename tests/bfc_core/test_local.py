"""A real study, small enough to train here: from the spec to tables, verdicts and figures."""

from __future__ import annotations

import json

import pytest

from bfc_core import figures, local, specs, studies
from bfc_core.records import Metric

SMALL = {
    "data": {"kind": "hierarchical", "input_dim": 8, "width": 2, "samples": 200, "test_samples": 200},
    "model": {"kind": "quadratic_densenet", "width": 4},
    "budget": {"steps": 30, "batch": 32},
    "probes": [{"kind": "feature_error", "inputs": 1000}],
}


@pytest.fixture(scope="module")
def ran():
    spec = specs.load("study", {"kind": "correction", "base": SMALL, "seeds": 2, "baselines": {"seeds": 1}})
    told: list[str] = []

    def hear(member, record):
        if isinstance(record, Metric):
            told.append(member.key)

    result = local.run_study(spec, told=hear)
    return spec, result, told


def test_every_member_of_a_real_study_reports_and_none_is_missing(ran):
    spec, result, told = ran
    assert set(told) == {member.key for member in studies.members(spec)}
    assert not result.tables["failed_runs"].rows
    rows = result.tables["runs"].records()
    assert len(rows) == 7 * 2 * 2
    assert all(row["relative_test_error"] is not None and row["feature_error_2"] is not None for row in rows)
    assert {c["verdict"] for c in result.summary["claims"]} == {"underpowered"}


def test_forks_of_one_seed_are_the_same_up_to_where_they_part(ran):
    _, result, _ = ran
    before = {
        (r["schedule"], r["readout"], r["seed"], r["key"], r["layer"]): r["value"]
        for r in result.tables["curves"].records()
        if r["step"] == 60
    }
    for (schedule, *rest), value in before.items():
        if schedule in ("layerwise_then_joint", "detached", "cyclic", "upper_frozen"):
            assert value == before["layerwise", *rest]


def test_what_a_real_study_measures_lands_in_its_tables(ran):
    _, result, _ = ran
    measured = {row["measure"] for row in result.tables["how_much"].records()}
    assert {"weight_correlation", "raw_cosine", "aligned_cosine", "matched_cosine"} <= measured
    parts = result.tables["which_part"].records()
    assert {(r["layer"], r["part"]) for r in parts} >= {
        (2, "captured"),
        (2, "captured_effective"),
        (3, "captured_subspace"),
    }
    assert all(r["initial"] is not None and r["before"] is not None for r in parts if r["part"] == "captured")
    assert {(r["train_up_to"], r["free"], r["control"]) for r in result.tables["how_deep"].records()} == {
        (2, 0, "none"), (2, 1, "none"), (2, 1, "equal_updates"), (None, None, "joint"), (None, None, "reinitialised"),
    }  # fmt: skip
    json.dumps([result.summary, [t.json() for t in result.tables.values()]], allow_nan=False)


def test_every_figure_of_a_real_study_has_its_data(ran):
    _, result, _ = ran
    drawn = {one["name"]: figures.draw(one["name"], result.tables, result.summary) for one in figures.names("correction")}
    # Sliding windows were not asked for.
    assert {name for name, figure in drawn.items() if not figure.get("datasets")} == {"sliding"}
