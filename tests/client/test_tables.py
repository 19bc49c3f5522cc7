"""Tables, and how replies look in a notebook."""

import sys

import pytest

from bfc_client import Job, MissingLibrary, Results, Table

RUNS = Table.model_validate(
    {
        "columns": [
            {"name": "schedule", "type": "string"},
            {"name": "relative_test_error", "type": "number", "unit": "1"},
        ],
        "rows": [["joint", 2.8e-4], ["layerwise", 0.22], ["joint", None]],
    }
)


def test_a_table_iterates_as_dicts_and_filters_by_columns() -> None:
    assert next(iter(RUNS)) == {"schedule": "joint", "relative_test_error": 2.8e-4}
    assert RUNS.where(schedule="joint").column("relative_test_error") == [2.8e-4, None]
    with pytest.raises(KeyError, match="there are schedule"):
        RUNS.column("shedule")


def test_csv_leaves_missing_values_empty() -> None:
    assert RUNS.csv() == "schedule,relative_test_error\njoint,0.00028\nlayerwise,0.22\njoint,\n"


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingLibrary, match="pip install pandas"):
        RUNS.pandas()


def test_what_a_notebook_shows_is_safe_for_any_content() -> None:
    job = Job(
        id="job_1", kind="train", state="failed", name="<script>alert(1)</script>", error={"detail": "<b>"}
    )
    claims = {"claims": [{"claim": "c", "verdict": "supported", "says": "<i>joint</i>"}], "stuck": 0.5}
    shown = job._repr_html_() + Results(summary=claims, tables={"<x>": RUNS})._repr_html_()
    for tag in ("<script>", "<b></div>", "<i>", "<x>"):
        assert tag not in shown
    assert "&lt;i&gt;joint" in shown
    assert "0.22" in shown
