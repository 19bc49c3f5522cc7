"""Jobs: submit, list, show, why, audit, change their state, fork, delete."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import Body, Query, Request
from pydantic import BeforeValidator
from sqlalchemy import Connection
from starlette.responses import Response

from api import submission
from api.auth import Principal, Reader, Submitter
from api.documented import answers
from api.lab import Lab, TheLab
from api.models import AuditReply, ForkBody, JobReply, Kind, Page, State, WhyReply
from api.once import IdempotencyKey, Made, once
from api.problems import Fault, NotHere, Refused, in_query
from api.replies import Cursor, Id, Limit, json_reply, text_page
from api.routing import router
from api.submission import Plan
from bfc_core import specs
from store import audit, forks, jobs, shown, steps, why
from store.shown import Filters

routes = router("jobs")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.ASCII)


def _moment(said: Any) -> Any:
    """Pydantic would take a bare number for seconds since 1970."""
    if isinstance(said, str) and not _MOMENT.fullmatch(said):
        raise ValueError("not a date and time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
    return said


JobBodyJson = Annotated[Any, Body(description="the envelope of a job and its spec")]
DryRun = Annotated[
    bool, Query(description="queue nothing: reply with the spec after defaults, and an estimate")
]
Moment = Annotated[
    datetime | None, BeforeValidator(_moment), Query(description="RFC 3339, such as 2026-01-31T12:00:00Z")
]
Reuse = Annotated[
    bool,
    Query(
        description="answer with the first succeeded job of the same spec in this project, if there is one"
    ),
]


@routes.post(
    "/v1/jobs",
    **answers(409, body=True, model=JobReply, status=201, says="The job, queued."),
    openapi_extra={"x-body": "Job"},
)
async def create_job(
    request: Request,
    lab: TheLab,
    who: Submitter,
    body: JobBodyJson,
    dry_run: DryRun = False,
    reuse: Reuse = False,
    key: IdempotencyKey = None,
) -> Response:
    """Submit a job: validates all that can be validated, then queues it.

    With `dry_run=true` nothing is queued and the reply is `200` with the spec after defaults, the estimate, and
    for a study the number of its members and its power. A job too big for every worker is refused with the estimate.
    """
    planned = await lab.compute(submission.plan, body)
    if dry_run:
        await lab.read(submission.check, lab.config, who.project, planned)
        return json_reply(await lab.compute(planned.shown))
    reply = await lab.write(_create, lab, who, planned, body, key, reuse, request.scope["bfc.trace_id"])
    lab.ringer.soon()
    return reply


@routes.get("/v1/jobs", **answers(404, model=Page[JobReply], says="One page, newest first."))
async def list_jobs(
    lab: TheLab,
    who: Reader,
    state: Annotated[list[State] | None, Query(description="any of these")] = None,
    kind: Annotated[list[Kind] | None, Query(description="any of these")] = None,
    parent: Annotated[
        str | None, Query(max_length=60, description="members of this study; `none` for jobs without one")
    ] = None,
    label: Annotated[list[str] | None, Query(description="`key:value`; all of them must fit")] = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
    spec_hash: Annotated[str | None, Query(max_length=80)] = None,
    created_after: Moment = None,
    created_before: Moment = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List the project's jobs."""
    filters = Filters(
        states=tuple(state or ()),
        kinds=tuple(kind or ()),
        parent_id=None if parent == "none" else parent,
        top=parent == "none",
        labels=_labels(label or ()),
        name=name,
        spec_hash=spec_hash,
        created_after=created_after,
        created_before=created_before,
    )

    def read(connection: Connection) -> list[tuple[str, str]]:
        if filters.parent_id is not None:
            jobs.exists(connection, who.project, filters.parent_id)
        return shown.page(connection, who.project, filters, cursor, limit + 1)

    return text_page(await lab.read(read), limit)


@routes.get("/v1/jobs/{job_id}", **answers(404, model=JobReply, says="The job."))
async def show_job(lab: TheLab, who: Reader, job_id: Id) -> Response:
    """Show a job."""
    async with lab.pool.connection() as connection:
        found = await shown.read_one(connection, who.project, job_id)
    if found is None:
        raise NotHere("job", job_id)
    return Response(found, media_type="application/json")


@routes.delete("/v1/jobs/{job_id}", **answers(404, 409, status=204))
async def delete_job(lab: TheLab, who: Submitter, job_id: Id) -> Response:
    """Delete a finished job and all it owns: series, tables, snapshots, events, members."""
    await lab.write(jobs.delete, who.project, job_id)
    return Response(status_code=204)


@routes.get("/v1/jobs/{job_id}/why", **answers(404, model=WhyReply))
async def why_job(lab: TheLab, who: Reader, job_id: Id) -> Response:
    """Say why a job is in its present state, and what happens next."""
    return json_reply(await lab.read(why.why, who.project, job_id))


@routes.get("/v1/jobs/{job_id}/audit", **answers(404, model=AuditReply))
async def audit_job(lab: TheLab, who: Reader, job_id: Id) -> Response:
    """List each attempt with its worker, epoch, start, end and how it ended, and each step between states."""
    return json_reply(await lab.read(audit.of_job, who.project, job_id))


@routes.get(
    "/v1/jobs/{job_id}/children", **answers(404, model=Page[JobReply], says="One page, in the study's order.")
)
async def list_children(
    lab: TheLab,
    who: Reader,
    job_id: Id,
    state: Annotated[list[State] | None, Query(description="any of these")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List the members of a study or a sweep."""

    def read(connection: Connection) -> list[tuple[str, str]]:
        jobs.exists(connection, who.project, job_id)
        return shown.members(connection, job_id, tuple(state or ()), cursor, limit + 1)

    return text_page(await lab.read(read), limit)


_CHANGE = answers(404, 409, model=JobReply, says="The job after the change.")


@routes.post("/v1/jobs/{job_id}/cancel", **_CHANGE)
async def cancel_job(lab: TheLab, who: Submitter, job_id: Id) -> Response:
    """Stop a job for good; a study with all its members. `cancelling` until its process is gone."""
    return await _change(lab, who, job_id, steps.cancel)


@routes.post("/v1/jobs/{job_id}/pause", **_CHANGE)
async def pause_job(lab: TheLab, who: Submitter, job_id: Id) -> Response:
    """Stop a job with a checkpoint, to go on later. `pausing` until the checkpoint is kept."""
    return await _change(lab, who, job_id, steps.pause)


@routes.post("/v1/jobs/{job_id}/resume", **_CHANGE)
async def resume_job(lab: TheLab, who: Submitter, job_id: Id) -> Response:
    """Let a paused job go on from its checkpoint."""
    return await _change(lab, who, job_id, steps.resume)


@routes.post("/v1/jobs/{job_id}/retry", **_CHANGE)
async def retry_job(lab: TheLab, who: Submitter, job_id: Id) -> Response:
    """Queue a failed or cancelled job again; of a study only what is missing."""
    return await _change(lab, who, job_id, steps.retry)


@routes.post(
    "/v1/jobs/{job_id}/fork",
    **answers(404, 409, body=True, model=JobReply, status=201, says="The new job, queued."),
)
async def fork_job(
    request: Request, lab: TheLab, who: Submitter, job_id: Id, body: ForkBody, key: IdempotencyKey = None
) -> Response:
    """Start a new train job from a checkpoint of this one, with its spec changed by a merge patch."""
    trace = request.scope["bfc.trace_id"]

    def work(connection: Connection) -> Made:
        source = jobs.get(connection, who.project, job_id)
        if source["kind"] != "train":
            raise Refused(
                [Fault("/snapshot", f"only a train job can be forked; this is a {source['kind']} job")]
            )
        try:
            forks.check(connection, who.project, job_id, body.snapshot)
        except forks.NoCheckpoint as fault:
            raise Refused([Fault("/snapshot", str(fault))]) from None
        envelope = {
            "kind": "train",
            "name": source["name"] if body.name is None else body.name,
            "labels": source["labels"] if body.labels is None else body.labels,
            "spec": merged(source["spec"], body.spec),
        }
        planned = submission.plan(envelope)
        submission.check(connection, lab.config, who.project, planned)
        origin = {"forked_from": job_id, "snapshot": body.snapshot}
        placing = jobs.Placing(who.key_id, trace, body.snapshot, _submitted(trace) | origin, lab.bounds)
        return _made(connection, who, submission.submit(connection, who.project, planned, placing))

    said = {"snapshot": body.snapshot, "spec": body.spec, "name": body.name, "labels": body.labels}
    reply = await lab.write(once, who.project, key, f"POST /v1/jobs/{job_id}/fork", said, work)
    lab.ringer.soon()
    return reply


def merged(target: Any, patch: Any) -> Any:
    """`target` changed by a JSON merge patch (RFC 7396): null takes away, objects are merged, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    if "kind" in patch and patch["kind"] != result.get("kind"):
        result = {}  # another word of the language: the old one's fields do not carry over
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _create(
    connection: Connection,
    lab: Lab,
    who: Principal,
    planned: Plan,
    body: Any,
    key: str | None,
    reuse: bool,
    trace: str,
) -> Response:
    def work(connection: Connection) -> Made:
        if reuse:
            hashed = specs.spec_hash(planned.job.spec)
            first = shown.first_with(connection, who.project, planned.job.kind, hashed)
            if first is not None:
                return Made(
                    200, {"Location": f"/v1/jobs/{first}"}, shown.one(connection, who.project, first).encode()
                )
        submission.check(connection, lab.config, who.project, planned)
        placing = jobs.Placing(who.key_id, trace, None, _submitted(trace), lab.bounds)
        return _made(connection, who, submission.submit(connection, who.project, planned, placing))

    route = f"POST /v1/jobs?reuse={reuse}"
    return once(connection, who.project, key, route, body, work)


def _submitted(trace: str) -> dict[str, str]:
    return {"submitted_by_version": submission.VERSION, "trace_id": trace}


def _made(connection: Connection, who: Principal, id_: str) -> Made:
    return Made(201, {"Location": f"/v1/jobs/{id_}"}, shown.one(connection, who.project, id_).encode())


async def _change(lab: Lab, who: Principal, id_: str, step: Any) -> Response:
    def work(connection: Connection) -> str:
        steps.actor(connection, who.key_id or "local")
        step(connection, who.project, id_)
        return shown.one(connection, who.project, id_)

    changed = await lab.write(work)
    lab.ringer.soon()
    return json_reply(changed)


def _labels(given: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for label in given:
        name, colon, value = label.partition(":")
        if not colon or not name:
            raise Refused([in_query("label", f"{label[:80]!r} is not `key:value`")])
        found[name] = value
    return found
