"""Metric series of one job or of several, down-sampled with their extremes kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import Query, Request
from sqlalchemy import Connection, bindparam, text
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import Reader
from api.documented import answers
from api.lab import Lab, TheLab
from api.models import MetricsReply
from api.outgoing import in_pieces
from api.problems import NotHere, Refused, in_query
from api.replies import Id, dumps
from api.routing import router
from api.submission import filled
from store import thinning
from store.jobs import exists
from store.series import Points
from store.thinning import Head, Window

routes = router("metrics")
MOST_JOBS = 1_000
MOST_STEP = 2**62
#: up to so many points are read, spelt and sent at once
LIGHT_POINTS = 100_000
#: of one point on its way out, as an array and as text
POINT_BYTES = 24
Keys = Annotated[
    list[str] | None, Query(description="names of series, separated by commas; all when left out")
]
FromStep = Annotated[int | None, Query(ge=-MOST_STEP, le=MOST_STEP, description="first step, included")]
ToStep = Annotated[int | None, Query(ge=-MOST_STEP, le=MOST_STEP, description="last step, included")]
MaxPoints = Annotated[
    int,
    Query(
        ge=1,
        le=1_000_000,
        description="points of each series at most; each bucket keeps its least and greatest",
    ),
]


@routes.get("/v1/jobs/{job_id}/metrics", **answers(404, model=MetricsReply))
async def job_metrics(
    request: Request,
    lab: TheLab,
    who: Reader,
    job_id: Id,
    keys: Keys = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    max_points: MaxPoints = 1_000,
) -> Response:
    """Read a job's series."""

    def check(connection: Connection) -> None:
        exists(connection, who.project, job_id)

    asked = Asked((job_id,), _keys(keys), _window(from_step, to_step), max_points)
    return await _series(request, lab, check, asked)


@routes.get("/v1/metrics", **answers(404, model=MetricsReply))
async def metrics_of_jobs(
    request: Request,
    lab: TheLab,
    who: Reader,
    jobs: Annotated[list[str], Query(description="ids of jobs, separated by commas; up to 1,000")],
    keys: Keys = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    max_points: MaxPoints = 1_000,
) -> Response:
    """Read the series of several jobs at once."""
    ids = tuple(dict.fromkeys(filled(jobs)))
    if not 1 <= len(ids) <= MOST_JOBS:
        raise Refused([in_query("jobs", f"{len(ids)} jobs; accepted: 1 to {MOST_JOBS} ids")])

    def check(connection: Connection) -> None:
        _check(connection, who.project, ids)

    return await _series(request, lab, check, Asked(ids, _keys(keys), _window(from_step, to_step), max_points))


class Asked(NamedTuple):
    """Series of some jobs, and how much of them."""

    jobs: Sequence[str]
    keys: Sequence[str] | None
    window: Window
    most: int


async def _series(
    request: Request, lab: Lab, check: Callable[[Connection], None], asked: Asked
) -> Response:
    """What is asked: at once where it is little, else series by series as the client takes them."""

    def read(connection: Connection) -> bytes | list[list[Head]]:
        check(connection)
        found = thinning.groups(thinning.heads(connection, asked.jobs, asked.keys, asked.window), asked.most)
        if len(found) > 1 or any(_points(group, asked.most) > LIGHT_POINTS for group in found):
            return found
        told = thinning.read(connection, found[0], asked.window, asked.most) if found else []
        return b'{"series":' + _spelt(told) + b"}"

    told = await lab.read(read)
    if isinstance(told, bytes):
        return Response(told, media_type="application/json")
    return _Stream(request, lab, told, asked)


class _Stream(Response):
    """Series that are too many to be held together: each group is read when the one before has gone out."""

    media_type = "application/json"

    def __init__(self, request: Request, lab: Lab, groups: Sequence[Sequence[Head]], asked: Asked) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.request, self.lab, self.groups, self.asked = request, lab, groups, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - Starlette's
        """Takes room for the largest group, so that a refusal still has its own status."""
        size = POINT_BYTES * max(_points(group, self.asked.most) for group in self.groups)
        with self.lab.outgoing.reply(scope.get("bfc.caller", ""), size):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            opening = b'{"series":['
            for group in self.groups:
                if await self.request.is_disconnected():
                    return
                async with self.lab.heavy:
                    content = await self.lab.read(self._read, group)
                await send({"type": "http.response.body", "body": opening, "more_body": True})
                # Without the brackets of its own list.
                await in_pieces(send, memoryview(content)[1:-1], more=True)
                opening = b","
            await send({"type": "http.response.body", "body": b"]}", "more_body": False})

    def _read(self, connection: Connection, group: Sequence[Head]) -> bytes:
        return _spelt(thinning.read(connection, group, self.asked.window, self.asked.most))


def _points(group: Sequence[Head], most: int) -> int:
    return sum(min(head.points, most) for head in group)


def _keys(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else filled(given)


def _window(from_step: int | None, to_step: int | None) -> Window:
    return Window(-MOST_STEP if from_step is None else from_step, MOST_STEP if to_step is None else to_step)


_FOUND = text("SELECT id FROM jobs WHERE project_id = :project AND id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)


def _check(connection: Connection, project: str, ids: Sequence[str]) -> None:
    """Another project's job is not told apart from one that never was."""
    found = set(connection.execute(_FOUND, {"project": project, "ids": list(ids)}).scalars())
    missing = [id_ for id_ in ids if id_ not in found]
    if missing:
        raise NotHere("job", missing[0])


def _spelt(found: Sequence[tuple[str, Points]]) -> bytes:
    """The list of the series."""
    return dumps([_one(job, points) for job, points in found])


def _one(job: str, points: Points) -> dict[str, Any]:
    return {
        "job": job,
        "key": points.key,
        "layer": points.layer,
        "unit": points.unit,
        "steps": np.ascontiguousarray(points.steps),
        # What is not finite is spelt as null.
        "values": np.ascontiguousarray(points.values),
    }
