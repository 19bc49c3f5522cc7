"""Copy jobs to an MLflow tracking server, by its REST interface: a study becomes a run, its members runs inside it.

    python examples/export_mlflow.py JOB --to http://127.0.0.1:5000 [--experiment NAME]

Needs bfc-lab alone. Run twice, it makes new runs; each carries the job's id as the tag `bfc.job`.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import httpx

from bfc_client import BfcError, Client, Job, Series

METRICS_A_CALL = 1000  # MLflow's limits
PARAMS_A_CALL = 100
MOST_CHARACTERS = 6000


class Tracking:
    """The few calls of MLflow that are needed."""

    def __init__(self, url: str, experiment: str) -> None:
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/2.0/mlflow", timeout=60)
        self.experiment = self._experiment(experiment)

    def _experiment(self, name: str) -> str:
        found = self._http.get("/experiments/get-by-name", params={"experiment_name": name})
        if found.is_success:
            return str(found.json()["experiment"]["experiment_id"])
        return str(self._post("/experiments/create", name=name)["experiment_id"])

    def run(self, job: Job, series: list[Series], parent: str | None = None) -> str:
        """One run with the job's spec as parameters, and its summary and series as metrics."""
        tags = {"bfc.job": job.id, "bfc.spec_hash": job.spec_hash or "", **job.labels}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        body = {
            "experiment_id": self.experiment,
            "run_name": job.name or job.id,
            "start_time": milliseconds(job.started_at or job.created_at),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        run = str(self._post("/runs/create", **body)["run"]["info"]["run_id"])
        at = milliseconds(job.finished_at)
        for params in chunks(list(flat(job.spec)), PARAMS_A_CALL):
            self._post("/runs/log-batch", run_id=run, params=params)
        points = [*numbers(job.result or {}, at), *(one for found in series for one in values(found, at))]
        for metrics in chunks(points, METRICS_A_CALL):
            self._post("/runs/log-batch", run_id=run, metrics=metrics)
        status = {"succeeded": "FINISHED", "cancelled": "KILLED"}.get(job.state, "FAILED")
        self._post("/runs/update", run_id=run, status=status, end_time=at)
        return run

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        reply = self._http.post(path, json=body)
        if reply.is_error:
            raise RuntimeError(f"MLflow refused {path}: {reply.text[:300]}")
        answer: dict[str, Any] = reply.json()
        return answer


def milliseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1000) if moment is not None else 0


def flat(value: Any, path: str = "") -> Iterator[dict[str, str]]:
    """The leaves of a spec as parameters: `model.width` = `8`."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{path}.{name}" if path else name)
    else:
        yield {"key": path or "spec", "value": str(value)[:MOST_CHARACTERS]}


def numbers(summary: dict[str, Any], at: int) -> Iterator[dict[str, Any]]:
    for name, value in summary.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield {"key": name, "value": value, "timestamp": at, "step": 0}


def values(series: Series, at: int) -> Iterator[dict[str, Any]]:
    """The points of one series; its layer is part of the key, undefined values are left out."""
    key = series.key if series.layer is None else f"{series.key}/layer_{series.layer}"
    for step, value in zip(series.steps, series.values, strict=True):
        if value is not None:
            yield {"key": f"{key}/curve", "value": value, "timestamp": at, "step": step}


def chunks(items: list[Any], most: int) -> Iterator[list[Any]]:
    for begin in range(0, len(items), most):
        yield items[begin : begin + most]


def main() -> int:
    parser = argparse.ArgumentParser(description="Copy jobs of the lab to an MLflow tracking server.")
    parser.add_argument("job")
    parser.add_argument("--to", default="http://127.0.0.1:5000", help="the tracking server")
    parser.add_argument("--experiment", default="bfc-lab")
    given = parser.parse_args()
    try:
        with Client() as lab:
            tracking = Tracking(given.to, given.experiment)
            job = lab.job(given.job)
            grouped = job.kind in ("study", "sweep")
            outer = tracking.run(job, [] if grouped else lab.metrics(job, max_points=1000))
            made = 1
            for member in lab.children(job) if grouped else ():
                tracking.run(member, lab.metrics(member, max_points=1000), parent=outer)
                made += 1
    except httpx.TransportError as fault:
        print(f"export: no MLflow at {given.to} ({fault}); start one with: mlflow server", file=sys.stderr)
        return 1
    except (BfcError, RuntimeError) as fault:
        print(f"export: {fault}", file=sys.stderr)
        return 1
    print(f"{made} runs in experiment {given.experiment}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
