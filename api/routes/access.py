"""Projects, their keys and quotas."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from api.auth import Admin, Principal
from api.documented import answers
from api.lab import TheLab
from api.models import (
    KeyBody,
    KeyReply,
    NewKeyReply,
    NewProjectReply,
    Page,
    ProjectBody,
    ProjectReply,
    QuotaBody,
    UsageReply,
)
from api.once import IdempotencyKey, Made, once
from api.problems import Conflicting, Fault, NotAllowed, NotHere, Refused
from api.replies import Cursor, Id, Limit, dumps, json_reply, page
from api.routing import router
from store import keys, usage

routes = router("access")


@routes.post(
    "/v1/projects",
    **answers(409, body=True, model=NewProjectReply, status=201, says="The project and its first key."),
)
async def create_project(lab: TheLab, who: Admin, body: ProjectBody, key: IdempotencyKey = None) -> Response:
    """Make a project. The reply holds its first key, an `admin` one, this once."""

    def work(connection: Connection) -> Made:
        made = keys.create_project(connection, body.name)
        if made is None:
            raise Conflicting(f"the name {body.name!r} is taken", "name_taken")
        first = keys.create(connection, made.id, "first", keys.SCOPES)
        shown = {
            "id": made.id,
            "name": made.name,
            "created_at": made.created_at,
            "key": _new(connection, first),
        }
        return Made(201, {}, dumps(shown))

    said = body.model_dump()
    return await lab.write(once, who.project, key, "POST /v1/projects", said, work, secret=True)


@routes.get("/v1/projects", **answers(model=Page[ProjectReply], says="One page, newest first."))
async def list_projects(lab: TheLab, who: Admin, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List the projects the caller may see: its own, and all of them for the operator (an admin of `default`)."""
    only = None if who.operator else who.project
    rows = await lab.read(keys.list_projects, only, cursor, limit + 1)
    return page([{"id": row.id, "name": row.name, "created_at": row.created_at} for row in rows], limit)


@routes.patch("/v1/projects/{project_id}/quotas", **answers(404, body=True, model=UsageReply))
async def set_quotas(lab: TheLab, who: Admin, project_id: Id, body: QuotaBody) -> Response:
    """Set limits of a project; null takes one away, a field left out stays. For the operator alone."""
    if not who.operator:
        raise NotAllowed("operator", "only the operator (an admin of the project `default`) sets quotas")

    def work(connection: Connection) -> dict[str, Any]:
        project = keys.find_project(connection, project_id)
        if project is None:
            raise NotHere("project", project_id)
        for name in sorted(body.model_fields_set):
            keys.set_quota(connection, project, name, getattr(body, name))
        return usage.of_project(connection, project)

    found = await lab.write(work)
    lab.keys.forget()
    return json_reply(found)


@routes.post(
    "/v1/keys", **answers(409, body=True, model=NewKeyReply, status=201, says="The key, shown this once.")
)
async def create_key(lab: TheLab, who: Admin, body: KeyBody, key: IdempotencyKey = None) -> Response:
    """Make a key of this project, or for the operator of any. Only a hash of it is kept.

    Sent again under its `Idempotency-Key`, the first reply with its secret is given by the process that made it, while
    that lives; afterwards, and by other processes, `409` of type `secret_shown`: revoke that key and make another.
    """

    def work(connection: Connection) -> Made:
        project = _project(connection, who, body.project)
        made = keys.create(connection, project, body.name, body.scopes, body.expires_in_seconds)
        return Made(201, {}, dumps(_new(connection, made)))

    said = body.model_dump()
    return await lab.write(once, who.project, key, "POST /v1/keys", said, work, secret=True)


@routes.get("/v1/keys", **answers(model=Page[KeyReply], says="One page, newest first."))
async def list_keys(lab: TheLab, who: Admin, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List the living keys of this project, and for the operator of all."""
    rows = await lab.read(keys.list_keys, None if who.operator else who.project, cursor, limit + 1)
    return page([_shown(row) for row in rows], limit)


@routes.delete("/v1/keys/{key_id}", **answers(404, status=204))
async def revoke_key(lab: TheLab, who: Admin, key_id: Id) -> Response:
    """Revoke a key. Through this process it is refused at once, through others within a second."""
    if not await lab.write(keys.revoke, key_id, None if who.operator else who.project):
        raise NotHere("key", key_id)
    lab.keys.forget()
    return Response(status_code=204)


def _project(connection: Connection, who: Principal, wanted: str | None) -> str:
    """The project a key is made for; another's is not there for whoever is not the operator."""
    if wanted is None or wanted == who.project:
        return who.project
    found = keys.find_project(connection, wanted)
    if found is None or not (who.operator or found == who.project):
        raise Refused([Fault("/project", f"no project {wanted[:80]!r} that this key may manage")])
    return found


def _new(connection: Connection, made: keys.NewKey) -> dict[str, Any]:
    return _shown(keys.get(connection, made.id, None)) | {"key": made.secret}


def _shown(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "project": row.project_id,
        "name": row.name,
        "scopes": list(row.scopes),
        "created_at": row.created_at,
        "used_at": row.used_at,
        "expires_at": row.expires_at,
    }
