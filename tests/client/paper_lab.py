"""A lab on paper: a small application that follows the HTTP contract, for tests of what speaks it.

Its jobs move when a test says so, and it can fall silent, refuse or lose a connection on demand.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bfc_core import specs

NOW = "2026-01-01T00:00:00Z"
FINAL = ("succeeded", "failed", "cancelled")


def problem(status: int, title: str, detail: str = "", **more: Any) -> Response:
    headers = more.pop("headers", None)
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def safetensors(**tensors: list[float]) -> bytes:
    """Vectors of F32 as a safetensors file."""
    header, data = {}, b""
    for name, values in tensors.items():
        block = struct.pack(f"<{len(values)}f", *values)
        header[name] = {
            "dtype": "F32",
            "shape": [len(values)],
            "data_offsets": [len(data), len(data) + len(block)],
        }
        data += block
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@dataclass
class PaperLab:
    """The lab's whole state; tests read and change it."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    replies: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    faults: deque[Response | None] = field(default_factory=deque)
    seen: list[Request] = field(default_factory=list)
    key: str | None = None
    cut_stream_after: int | None = None
    imported: dict[str, Any] = field(default_factory=dict)

    def add(self, job: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A queued job."""
        made = {
            "id": f"job_{len(self.jobs):020d}", "project": "prj_paper", "kind": job["kind"], "name": job.get("name"),
            "labels": job.get("labels", {}), "spec": job["spec"], "spec_hash": "sha256:0", "state": "queued",
            "progress": {"done": 0, "total": 2000, "unit": "step", "eta_seconds": None}, "attempt": 0, "parent": None,
            "priority": job.get("priority", 0), "created_at": NOW, "started_at": None, "finished_at": None,
            "error": None, "result": None, "provenance": None, **more,
        }  # fmt: skip
        self.jobs[made["id"]] = made
        self.tell(made["id"], "state", {"state": "queued"})
        return made

    def move(self, job: str, state: str, **more: Any) -> None:
        """A change of state, with its event."""
        self.jobs[job].update(state=state, **more)
        self.tell(job, "state", {"state": state})

    def tell(self, job: str, type_: str, data: dict[str, Any]) -> None:
        found = self.events.setdefault(job, [])
        found.append({"id": str(len(found) + 1), "type": type_, "job": job, "at": NOW, "data": data})

    # ---- routes

    async def create(self, request: Request) -> Response:
        try:
            body = await request.json()
        except json.JSONDecodeError as fault:
            return problem(400, "The request cannot be read", f"not JSON: {fault}")
        try:
            job = specs.parse_job(body)
        except specs.SpecError as fault:
            faults = [{"pointer": one.pointer, "detail": one.detail} for one in fault.faults]
            return problem(422, "The request is not valid", errors=faults)
        if request.query_params.get("dry_run") == "true":
            return JSONResponse({"spec": specs.dump(job.spec), "estimate": {"parameters": 1, "seconds": 0.5}})
        key = request.headers.get("idempotency-key", "")
        text = json.dumps(body, sort_keys=True)
        if key in self.replies:
            sent, first = self.replies[key]
            if first != text:
                return problem(409, "In conflict with the present state", "this key came with another body")
            return Response(sent, 201, {"Idempotent-Replayed": "true"}, media_type="application/json")
        made = self.add(specs.dump(job))
        self.replies[key] = (json.dumps(made).encode(), text)
        return JSONResponse(made, 201, {"Location": f"/v1/jobs/{made['id']}"})

    async def import_archive(self, _: Request) -> Response:
        return JSONResponse(self.imported, 201)

    async def list_jobs(self, request: Request) -> Response:
        wanted = request.query_params
        found = [job for job in reversed(self.jobs.values()) if wanted.get("parent") in (None, job["parent"])]
        states = wanted.getlist("state")
        found = [job for job in found if not states or job["state"] in states]
        begin, limit = int(wanted.get("cursor", 0)), int(wanted.get("limit", 2))
        after = begin + limit
        page = {"items": found[begin:after], "next": str(after) if after < len(found) else None}
        return JSONResponse(page)

    async def show(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        return JSONResponse(job) if job else problem(404, "Not found", "no job of this id in this project")

    async def change(self, request: Request) -> Response:
        job, verb = self.jobs[request.path_params["id"]], request.path_params["verb"]
        if job["state"] in FINAL and verb != "retry":
            return problem(
                409, "In conflict with the present state", f"a job that {job['state']} cannot {verb}"
            )
        self.move(job["id"], {"cancel": "cancelled", "pause": "paused"}.get(verb, "queued"))
        return JSONResponse(job)

    async def stream(self, request: Request) -> Response:
        job = request.path_params["id"]
        if "text/event-stream" not in request.headers.get("accept", ""):
            return JSONResponse({"items": self.events.get(job, []), "next": None})
        after = int(request.headers.get("last-event-id") or 0)
        return StreamingResponse(self._events(job, after), media_type="text/event-stream")

    async def _events(self, job: str, after: int) -> AsyncIterator[str]:
        sent = 0
        while True:
            yield ": here\n\n"
            for event in self.events.get(job, [])[after:]:
                if self.cut_stream_after is not None and sent >= self.cut_stream_after:
                    self.cut_stream_after = None
                    yield f'id: {after + 1}\nevent: {event["type"]}\ndata: {{"cut'
                    raise ConnectionResetError("cut on demand")
                yield f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
                after, sent = after + 1, sent + 1
                if event["type"] == "state" and event["data"]["state"] in FINAL:
                    return
            await asyncio.sleep(0.02)

    async def metrics(self, request: Request) -> Response:
        series = {"key": "train_loss", "layer": None, "unit": None, "steps": [0, 10], "values": [1.0, 0.1]}
        return JSONResponse({"series": [series]})

    async def read_results(self, request: Request) -> Response:
        found = self.results.get(request.path_params["id"], {"summary": {}, "tables": {}})
        name = request.query_params.get("table")
        if name is None:
            return JSONResponse(found)
        table = found["tables"].get(name)
        if table is None:
            return problem(404, "Not found", f"no table {name!r}")
        lines = [[column["name"] for column in table["columns"]], *table["rows"]]
        return Response("".join(",".join(map(str, line)) + "\n" for line in lines), media_type="text/csv")

    async def figures(self, request: Request) -> Response:
        return JSONResponse({"items": [{"name": "how_deep", "title": "How deep", "doc": ""}], "next": None})

    async def figure(self, request: Request) -> Response:
        if "image/png" in request.headers["accept"]:
            return Response(b"\x89PNG", media_type="image/png")
        return JSONResponse({"mark": "bar"}, media_type="application/vnd.vegalite.v5+json")

    async def download(self, request: Request) -> Response:
        content = safetensors(W_2=[1.0, 2.0, 3.0])
        begin = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        return Response(content[begin:], 206 if begin else 200, {"ETag": '"paper"'})

    async def catalog(self, request: Request) -> Response:
        return JSONResponse({"items": specs.catalog(), "next": None})

    def app(self) -> ASGIApp:
        job = "/v1/jobs/{id}"
        routes = [
            Route("/v1/jobs", self.create, methods=["POST"]), Route("/v1/jobs", self.list_jobs),
            Route("/v1/imports", self.import_archive, methods=["POST"]),
            Route(f"{job}/children", self.list_jobs), Route(f"{job}/events", self.stream),
            Route(f"{job}/metrics", self.metrics), Route(f"{job}/results", self.read_results),
            Route(f"{job}/figures", self.figures), Route(f"{job}/figures/{{name}}", self.figure),
            Route(f"{job}/{{verb}}", self.change, methods=["POST"]), Route(job, self.show),
            Route("/v1/snapshots/{id}/download", self.download), Route("/v1/catalog", self.catalog),
        ]  # fmt: skip
        routed = Starlette(routes=routes)

        async def gate(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await routed(scope, receive, send)
            request = Request(scope)
            self.seen.append(request)
            answer = self.faults.popleft() if self.faults else None
            if (
                answer is None
                and self.key is not None
                and request.headers.get("authorization") != f"Bearer {self.key}"
            ):
                answer = problem(401, "A key is needed", "send Authorization: Bearer <key>")
            return await (answer or routed)(scope, receive, send)

        return gate


@dataclass
class Served:
    """A lab on paper at a real address; `stop` and `start` again, at the same port, are a restart."""

    lab: PaperLab
    port: int = 0
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(
            self.lab.app(),
            host="127.0.0.1",
            port=self.port,
            log_level="critical",
            timeout_graceful_shutdown=0,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the paper lab did not start")
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()


@contextmanager
def served(lab: PaperLab) -> Iterator[Served]:
    """The lab at a free port while the block runs."""
    at = Served(lab)
    at.start()
    try:
        yield at
    finally:
        at.stop()
