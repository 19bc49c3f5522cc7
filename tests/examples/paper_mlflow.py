"""MLflow's tracking server on paper: the calls that the export makes, with the limits that MLflow sets."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

API = "/api/2.0/mlflow"


class PaperMlflow:
    """Keeps what it is sent; refuses what MLflow would refuse."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}

    async def find(self, request: Request) -> Response:
        name = request.query_params["experiment_name"]
        if name not in self.experiments:
            return JSONResponse({"error_code": "RESOURCE_DOES_NOT_EXIST"}, 404)
        return JSONResponse({"experiment": {"experiment_id": self.experiments[name], "name": name}})

    async def create_experiment(self, request: Request) -> Response:
        self.experiments[(await request.json())["name"]] = id_ = str(len(self.experiments) + 1)
        return JSONResponse({"experiment_id": id_})

    async def create_run(self, request: Request) -> Response:
        run = {**await request.json(), "metrics": [], "params": {}, "status": "RUNNING"}
        id_ = f"run{len(self.runs)}"
        self.runs[id_] = run
        return JSONResponse({"run": {"info": {"run_id": id_}}})

    async def log_batch(self, request: Request) -> Response:
        body = await request.json()
        metrics, params = body.get("metrics", []), body.get("params", [])
        if len(metrics) > 1000 or len(params) > 100 or any(len(one["value"]) > 6000 for one in params):
            return JSONResponse({"error_code": "INVALID_PARAMETER_VALUE"}, 400)
        self.runs[body["run_id"]]["metrics"] += metrics
        self.runs[body["run_id"]]["params"] |= {one["key"]: one["value"] for one in params}
        return JSONResponse({})

    async def update(self, request: Request) -> Response:
        body = await request.json()
        self.runs[body.pop("run_id")] |= body
        return JSONResponse({"run_info": {}})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"{API}/experiments/get-by-name", self.find),
                Route(f"{API}/experiments/create", self.create_experiment, methods=["POST"]),
                Route(f"{API}/runs/create", self.create_run, methods=["POST"]),
                Route(f"{API}/runs/log-batch", self.log_batch, methods=["POST"]),
                Route(f"{API}/runs/update", self.update, methods=["POST"]),
            ]
        )
