"""Events: pages of JSON, and the same as Server-Sent Events for whoever asks for them by `Accept`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request
from starlette.responses import Response

from api import negotiation
from api.auth import Reader
from api.documented import answers
from api.lab import Lab, TheLab
from api.models import EventReply, Page
from api.problems import NotHere, Refused, in_query
from api.replies import Id, Limit, json_reply
from api.routing import router
from api.sse import event_json, id_of, place_of
from api.streams import EventStream
from store import tail
from store.jobs import STUDIES
from store.states import TERMINAL
from store.tail import Place, Scope

routes = router("events")
STREAM = "text/event-stream"
_FORMS = ("application/json",)
_PATTERN = r"^[0-9]{1,18}(-[0-9]{1,18})?$"
_AFTER_PATTERN = rf"{_PATTERN}|^now$"
After = Annotated[
    str | None,
    Query(
        max_length=40,
        pattern=_AFTER_PATTERN,
        description="the id of the last event already seen; or `now`, for only what is yet to come",
    ),
]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=40, pattern=_PATTERN, description="the same, for a stream"),
]
Members = Annotated[
    bool, Query(description="of a study or sweep: with the events of its members, or only its own")
]
_ANSWERS = answers(404, 406, model=Page[EventReply], says="One page, oldest first; or the stream.")
_ANSWERS["responses"][200]["content"] = {
    STREAM: {
        "schema": {"type": "string"},
        "example": "id: 7\nevent: progress\n"
        'data: {"id":"7","type":"progress","job":"job_…","at":"…","data":{"done":250,"total":2000}}\n\n',
    }
}


@routes.get("/v1/jobs/{job_id}/events", **_ANSWERS)
async def job_events(
    request: Request,
    lab: TheLab,
    who: Reader,
    job_id: Id,
    members: Members = True,
    limit: Limit = 100,
    after: After = None,
    cursor: After = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Read the events of a job, and of a study's members with its own, in order.

    With `Accept: text/event-stream`, and only then, the reply is a stream. It goes on behind `Last-Event-ID`
    without loss or repeat, sends a comment every 15 seconds, and ends behind the job's last event.
    """
    kind, state = await _job(lab, who.project, job_id)
    scope: Scope = "study" if members and kind in STUDIES else "job"
    over = state in TERMINAL
    return await _events(request, lab, scope, job_id, last_event_id or after or cursor, limit, over)


@routes.get("/v1/events", **_ANSWERS)
async def project_events(
    request: Request,
    lab: TheLab,
    who: Reader,
    limit: Limit = 100,
    after: After = None,
    cursor: After = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Read the events of all jobs of the project, in order; as a stream it never ends by itself."""
    return await _events(request, lab, "project", who.project, last_event_id or after or cursor, limit)


async def _events(
    request: Request, lab: Lab, scope: Scope, of: str, after: str | None, limit: int, over: bool = False
) -> Response:
    accept = request.headers.get("accept")
    if negotiation.names(accept, STREAM) and negotiation.choose(accept, (STREAM, *_FORMS)) == STREAM:
        place = await _place(lab, scope, of, after)
        return EventStream(lab.hub, scope, of, place, over)
    negotiation.choose(accept, _FORMS)
    found = await lab.read(tail.after, scope, of, await _place(lab, scope, of, after), limit + 1)
    items, more = found[:limit], len(found) > limit
    following = f'"{id_of(items[-1].place)}"' if more else "null"
    return json_reply(f'{{"items":[{",".join(map(event_json, items))}],"next":{following}}}')


async def _place(lab: Lab, scope: Scope, of: str, after: str | None) -> Place:
    if after == "now":
        return await lab.read(tail.present, scope, of)
    parts = 1 if scope == "job" else 2
    place = place_of(after, parts) if after is not None else (0,) * parts
    if place is None:
        raise Refused([in_query("after", f"{after!r} is not the id of an event of this stream")])
    return place


async def _job(lab: Lab, project: str, id_: str) -> tuple[str, str]:
    async with lab.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT kind, state FROM jobs WHERE id = %s AND project_id = %s", (id_, project), prepare=True
        )
        row = await cursor.fetchone()
    if row is None:
        raise NotHere("job", id_)
    return str(row[0]), str(row[1])
