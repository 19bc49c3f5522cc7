"""Metric series of one job or of several, down-sampled with their extremes kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import Query
from sqlalchemy import Connection, bindparam, text
from starlette.responses import Response

from api.auth import Reader
from api.documented import answers
from api.lab import TheLab
from api.models import MetricsReply
from api.problems import NotHere, Refused, in_query
from api.replies import Id, dumps
from api.routing import router
from api.submission import filled
from store import thinning
from store.jobs import exists
from store.series import Points
from store.thinning import Window

routes = router("metrics")
MOST_JOBS = 1_000
MOST_STEP = 2**62
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
    lab: TheLab,
    who: Reader,
    job_id: Id,
    keys: Keys = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    max_points: MaxPoints = 1_000,
) -> Response:
    """Read a job's series."""
    window = _window(from_step, to_step)

    def read(connection: Connection) -> bytes:
        exists(connection, who.project, job_id)
        return _spelt(thinning.read(connection, [job_id], _keys(keys), window, max_points))

    return Response(await lab.read(read), media_type="application/json")


@routes.get("/v1/metrics", **answers(404, model=MetricsReply))
async def metrics_of_jobs(
    lab: TheLab,
    who: Reader,
    jobs: Annotated[list[str], Query(description="ids of jobs, separated by commas; up to 1,000")],
    keys: Keys = None,
    from_step: FromStep = None,
    to_step: ToStep = None,
    max_points: MaxPoints = 1_000,
) -> Response:
    """Read the series of several jobs at once."""
    window = _window(from_step, to_step)
    ids = tuple(dict.fromkeys(filled(jobs)))
    if not 1 <= len(ids) <= MOST_JOBS:
        raise Refused([in_query("jobs", f"{len(ids)} jobs; accepted: 1 to {MOST_JOBS} ids")])

    def read(connection: Connection) -> bytes:
        _check(connection, who.project, ids)
        return _spelt(thinning.read(connection, ids, _keys(keys), window, max_points))

    return Response(await lab.read(read), media_type="application/json")


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
    return dumps({"series": [_one(job, points) for job, points in found]})


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
