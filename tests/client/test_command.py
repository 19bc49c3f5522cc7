"""The command against a lab on paper: what is printed, and the exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.responses import JSONResponse
from typer.testing import CliRunner, Result

from bfc_client import Client, __version__
from bfc_client.command import app, main, render
from tests.client.paper_lab import PaperLab, Served, problem

TRAIN = {"kind": "train", "name": "quick", "spec": {"seed": 3}}


@pytest.fixture
def bfc(at: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> "Bfc":
    monkeypatch.setenv("BFC_URL", at.url)
    return Bfc(monkeypatch, capfd)


class Bfc:
    """Runs the entry point as a shell would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["bfc", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self.capfd.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(TRAIN))
    return str(path)


def test_submit_prints_the_id_alone_on_stdout(bfc: Bfc, lab: PaperLab, spec: str) -> None:
    status, out, err = bfc("submit", spec)
    assert status == 0
    assert out.strip() in lab.jobs
    assert "bfc watch" in err


def test_settings_change_the_spec_before_it_is_sent(bfc: Bfc, lab: PaperLab, spec: str) -> None:
    settings = [
        "spec.seed=7",
        "spec.optimizer.kind=adam",
        "spec.optimizer.betas=[0.9, 0.95]",
        "labels.series=mine",
        "spec.probes.0.every=100",
    ]
    Path(spec).write_text(json.dumps({**TRAIN, "spec": {"probes": [{"kind": "feature_error"}]}}))
    status, out, _ = bfc("submit", spec, *(part for one in settings for part in ("--set", one)), "--json")
    job = json.loads(out)
    assert status == 0
    assert job["spec"]["seed"] == 7
    assert job["spec"]["optimizer"]["betas"] == [0.9, 0.95]
    assert job["spec"]["probes"][0]["every"] == 100
    assert job["labels"] == {"series": "mine"}


@pytest.mark.parametrize("setting", ["spec.seed", "spec.seed.deeper=1", "spec.probes.4.every=1", "=1"])
def test_a_setting_that_cannot_be_is_refused_before_sending(
    bfc: Bfc, lab: PaperLab, spec: str, setting: str
) -> None:
    Path(spec).write_text(json.dumps({**TRAIN, "spec": {"seed": 0, "probes": []}}))
    status, _, err = bfc("submit", spec, "--set", setting)
    assert status == 1
    assert setting in err
    assert not lab.seen


def test_standard_input_is_a_file_too(lab: PaperLab, at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFC_URL", at.url)
    done: Result = CliRunner().invoke(app, ["submit", "-", "--json"], input=json.dumps(TRAIN))
    assert json.loads(done.stdout)["id"] in lab.jobs


def test_a_dry_run_shows_the_cost_and_queues_nothing(bfc: Bfc, lab: PaperLab, spec: str) -> None:
    status, out, _ = bfc("submit", spec, "--dry-run")
    assert status == 0
    assert "parameters" in out
    assert not lab.jobs


def test_an_invalid_spec_exits_4_with_a_pointer_to_each_fault(bfc: Bfc, spec: str) -> None:
    status, out, err = bfc("submit", spec, "--set", "spec.budget.steps=-1")
    assert status == 4
    assert out == ""
    assert "/spec/budget/steps" in err
    assert "bfc catalog" in err


def test_faults_are_json_too_when_json_is_asked_for(bfc: Bfc, spec: str) -> None:
    status, out, err = bfc("submit", spec, "--set", "spec.budget.steps=-1", "--json")
    told = json.loads(err)
    assert (status, out, told["status"]) == (4, "", 422)
    assert told["errors"][0]["pointer"] == "/spec/budget/steps"


def test_broken_json_is_told_with_its_line(bfc: Bfc, spec: str) -> None:
    Path(spec).write_text('{"kind": "train",\n "spec": }')
    status, _, err = bfc("submit", spec)
    assert status == 1
    assert "line 2" in err


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (problem(401, "A key is needed"), 7, "BFC_KEY"),
        (problem(404, "Not found"), 5, "bfc list"),
        (problem(409, "In conflict"), 6, "In conflict"),
    ],
)
def test_each_cause_has_its_exit_status(
    bfc: Bfc, lab: PaperLab, fault: object, status: int, says: str
) -> None:
    lab.faults.append(fault)  # type: ignore[arg-type]
    ended, _, err = bfc("show", "job_x")
    assert ended == status
    assert says in err


def test_without_a_server_the_message_says_how_to_start_one(
    bfc: Bfc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFC_URL", "http://127.0.0.1:9")
    status, _, err = bfc("list")
    assert status == 3
    assert "bfc serve" in err


def test_list_is_a_table_for_people_and_json_for_programs(bfc: Bfc, lab: PaperLab) -> None:
    job = lab.add(TRAIN)
    lab.move(job["id"], "running", progress={"done": 500, "total": 2000, "unit": "step"})
    _, out, _ = bfc("list")
    assert job["id"] in out
    assert "500/2000 step" in out
    _, out, _ = bfc("list", "--json", "--state", "running")
    assert [one["id"] for one in json.loads(out)] == [job["id"]]
    assert json.loads(bfc("list", "--json", "--state", "failed")[1]) == []


def test_watch_ends_with_the_job_and_says_how_it_went(bfc: Bfc, lab: PaperLab) -> None:
    good, bad = lab.add(TRAIN)["id"], lab.add(TRAIN)["id"]
    lab.results[good] = {"summary": {"relative_test_error": 0.00028}, "tables": {}}
    lab.move(good, "succeeded")
    lab.move(bad, "failed", error={"message": "diverged at step 12"})
    status, out, _ = bfc("watch", good)
    assert (status, "0.00028" in out) == (0, True)
    status, _, err = bfc("watch", bad)
    assert (status, "diverged at step 12" in err) == (8, True)
    status, out, _ = bfc("watch", good, "--json")
    assert json.loads(out)["state"] == "succeeded"


def test_results_print_claims_in_words_and_tables_as_csv(bfc: Bfc, lab: PaperLab) -> None:
    job = lab.add(TRAIN)["id"]
    claim = {
        "claim": "joint_beats_layerwise",
        "verdict": "supported",
        "readout": "signed",
        "says": "in plain words",
    }
    table = {"columns": [{"name": "schedule", "type": "string"}, {"name": "seed", "type": "integer"}]}
    lab.results[job] = {"summary": {"claims": [claim]}, "tables": {"runs": {**table, "rows": [["joint", 0]]}}}
    _, out, _ = bfc("results", job)
    assert "supported" in out
    assert "in plain words" in out
    assert bfc("results", job, "--table", "runs", "--csv")[1] == "schedule,seed\njoint,0\n"
    assert "joint" in bfc("results", job, "--table", "runs")[1]
    status, _, err = bfc("results", job, "--table", "rnus")
    assert (status, "there are runs" in err) == (1, True)


def test_a_figure_is_drawn_in_the_format_of_its_file(bfc: Bfc, lab: PaperLab, tmp_path: Path) -> None:
    job = lab.add(TRAIN)["id"]
    target = tmp_path / "deep.png"
    assert bfc("figure", job, "how_deep", "-o", str(target))[0] == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    status, _, err = bfc("figure", job, "how_deep", "-o", "deep.bmp")
    assert (status, ".png" in err) == (1, True)
    assert "how_deep" in bfc("figure", job)[1]


def test_a_state_change_says_the_new_state(bfc: Bfc, lab: PaperLab) -> None:
    job = lab.add(TRAIN)["id"]
    assert bfc("cancel", job)[1].split() == [job, "cancelled"]
    status, _, err = bfc("cancel", job)
    assert (status, "cannot cancel" in err) == (6, True)


def test_the_catalog_lists_every_part(bfc: Bfc) -> None:
    _, out, _ = bfc("catalog")
    assert "quadratic_densenet" in out
    _, out, _ = bfc("catalog", "schedule", "--json")
    assert {"joint", "layerwise"} <= {word["kind"] for word in json.loads(out)}


def test_events_are_one_json_object_a_line(bfc: Bfc, lab: PaperLab) -> None:
    job = lab.add(TRAIN)["id"]
    lab.move(job, "succeeded")
    _, out, _ = bfc("events", job, "--json")
    assert [json.loads(line)["data"]["state"] for line in out.splitlines()] == ["queued", "succeeded"]


def test_a_download_takes_the_name_it_is_given(bfc: Bfc, tmp_path: Path) -> None:
    target = tmp_path / "w.safetensors"
    status, out, _ = bfc("download", "snap_1", "-o", str(target), "--json")
    assert (status, json.loads(out)["bytes"]) == (0, target.stat().st_size)


def test_an_imported_job_is_shown_with_its_origin_and_not_with_all_it_holds(
    bfc: Bfc, lab: PaperLab, tmp_path: Path
) -> None:
    archive = tmp_path / "study.tar"
    archive.write_bytes(b"tar")
    lab.imported = lab.add(TRAIN, origin_id="job_elsewhere", result={"claims": ["long"] * 100})
    status, out, _ = bfc("import", str(archive))
    assert status == 0
    assert "job_elsewhere" in out
    assert "claims" not in out
    assert json.loads(bfc("import", str(archive), "--json")[1])["result"]["claims"]


def test_a_cell_of_names_and_numbers_is_no_json() -> None:
    assert render.cell({"running": 1, "run_seconds": 0.25}) == "running 1, run seconds 0.25"
    assert render.cell({"a": [1]}) == '{"a": [1]}'


@pytest.mark.parametrize("url", ["nonsense", "127.0.0.1:8321", "ftp://a.example", "http://", "http://a:port"])
def test_an_address_that_is_none_is_told_with_what_is_accepted(
    bfc: Bfc, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("BFC_URL", url)
    status, out, err = bfc("list", "--json")
    assert (status, out) == (1, "")
    assert "the lab's address" in json.loads(err)["detail"]


def test_quotas_are_set_and_taken_away_by_name(bfc: Bfc, lab: PaperLab) -> None:
    lab.faults.append(JSONResponse({"project": "proj_a", "quotas": {"running_jobs": 8}}))
    status, out, _ = bfc("projects", "quotas", "proj_a", "--set", "running_jobs=8", "--set", "retention_days=null", "--json")
    assert (status, json.loads(out)["quotas"]) == (0, {"running_jobs": 8})
    assert (lab.seen[-1].method, lab.seen[-1].url.path) == ("PATCH", "/v1/projects/proj_a/quotas")


def test_the_version_is_said(bfc: Bfc) -> None:
    assert bfc("--version")[1].strip() == f"bfc {__version__}"


def test_completion_can_be_shown() -> None:
    shell = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    bfc = Path(sys.executable).with_name("bfc")
    shown = subprocess.run(
        [bfc, "--show-completion", "bash"], env=shell, capture_output=True, text=True, check=True
    )
    assert "_BFC_COMPLETE=complete_bash" in shown.stdout


@pytest.mark.parametrize("command", ["list", "children JOB", "figure JOB", "metrics JOB", "catalog"])
def test_what_lists_prints_an_array(bfc: Bfc, lab: PaperLab, command: str) -> None:
    job = lab.add(TRAIN)["id"]
    status, out, _ = bfc(*command.replace("JOB", job).split(), "--json")
    assert status == 0
    assert isinstance(json.loads(out), list)


def test_everything_that_the_client_does_is_a_command() -> None:
    """Left out: what only a program needs, or another command does in its own way."""
    beside = {"close", "send", "watch", "healthy", "tensors", "figure"}
    folder = Path(sys.modules["bfc_client.command"].__file__ or "").parent
    used = {name for path in folder.glob("*.py") for name in re.findall(r"\blab\.(\w+)\(", path.read_text())}
    verbs = set(re.findall(r'_changing\("(\w+)"', (folder / "acts.py").read_text()))
    methods = {name for name, value in vars(Client).items() if callable(value) and not name.startswith("_")}
    assert methods - used - verbs - beside == set()


def test_a_watch_that_takes_too_long_is_told_by_its_status(bfc: Bfc, lab: PaperLab) -> None:
    job = lab.add(TRAIN)["id"]
    status, out, err = bfc("watch", job, "--timeout", "0", "--json")
    assert (status, out) == (9, "")
    assert json.loads(err)["error"] == "TimedOut"


def test_one_fault_is_said_once(bfc: Bfc, lab: PaperLab, spec: str) -> None:
    lab.faults.append(
        problem(422, "The request is not valid", "not so", errors=[{"pointer": "/a", "detail": "not so"}])
    )
    _, _, err = bfc("submit", spec)
    assert err.count("not so") == 1
    assert "/a: not so" in err


def test_a_command_of_the_server_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from launch import entry

    monkeypatch.setattr("sys.argv", ["bfc", "serve"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 2
    assert "bfc-lab[all]" in capfd.readouterr().err
