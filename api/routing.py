"""Routes that settle who calls and what is asked before they read a body.

Order: key, scope and rate; then query parameters (an unknown one is refused); then the body; then the call.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, get_args, get_origin

from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, APIRouter
from starlette.exceptions import HTTPException

from api.auth import Scope, identify
from api.bodies import parse_json
from api.faults import faults_of
from api.problems import Problem, Refused, in_query, malformed, nearest

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose JSON is read by `api.bodies`."""

    async def json(self) -> Any:
        """The body; raises a Problem where it is not accepted."""
        return parse_json(await self.body())


class Route(APIRoute):
    """A route of the API; `scope` is what its signature asks of the caller, None where it is open."""

    scope: Scope | None = None
    query_names: frozenset[str] = frozenset()

    def get_route_handler(self) -> Handler:
        """FastAPI's own handler behind the checks."""
        inner = super().get_route_handler()
        self.scope = scope = _scope_of(self.endpoint)
        self.query_names = names = frozenset(_query_names(self.dependant))
        body = self.body_field
        takes_json = body is not None

        async def handle(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            if scope is not None:
                request.scope["bfc.who"] = await identify(request, scope)
            if "\x00" in request.scope["path"]:
                raise HTTPException(404)
            if request.scope["query_string"]:
                _refuse_unknown(request, names)
            if takes_json:
                _refuse_other_media(request)
            try:
                return await inner(request)
            except RequestValidationError as fault:
                if takes_json and not await request.body():
                    raise malformed("the body is empty; a JSON object is required") from None
                raise _refusal(fault, body.field_info.annotation if body else None) from None

        return handle


def router(tag: str) -> APIRouter:
    """A noun's routes."""
    return APIRouter(route_class=Route, tags=[tag])


def _scope_of(endpoint: Callable[..., Any]) -> Scope | None:
    for hint in typing.get_type_hints(endpoint, include_extras=True).values():
        if get_origin(hint) is Annotated:
            for mark in get_args(hint)[1:]:
                if isinstance(mark, params.Security) and mark.scopes:
                    return typing.cast("Scope", mark.scopes[0])
    return None


def _query_names(dependant: Dependant) -> typing.Iterator[str]:
    """The names that the query may hold, of the route and of what it depends on."""
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _refuse_unknown(request: Request, names: frozenset[str]) -> None:
    """Refuse a query parameter that is not known, or that holds what Postgres cannot."""
    unstorable = [name for name, value in request.query_params.multi_items() if "\x00" in value]
    if unstorable:
        raise Refused(in_query(name[:80], "text may not hold NUL") for name in unstorable)
    unknown = sorted(set(request.query_params) - names)
    if unknown:
        raise Refused(
            in_query(name[:80], f"unknown query parameter {name[:80]!r}; {nearest(name, names)}")
            for name in unknown
        )


def _refuse_other_media(request: Request) -> None:
    refuse_coded(request)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (
        media
        and media != "application/json"
        and not (media.startswith("application/") and media.endswith("+json"))
    ):
        raise Problem(415, "media_type", f"send application/json; got {media[:80]}")
    if not media:
        raise Problem(415, "media_type", "send the body as Content-Type: application/json")


def refuse_coded(request: Request) -> None:
    """Refuse a compressed body (RFC 9110 §8.4): a small one may grow without bounds."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        says = f"the body is sent with Content-Encoding: {coding[:40]}; send it as it is"
        raise Problem(415, "media_type", says, headers={"Accept-Encoding": "identity"})


def _refusal(fault: RequestValidationError, model: object) -> HTTPException:
    errors = fault.errors()
    if any(error["type"] == "json_invalid" for error in errors):
        return malformed(str(errors[0].get("ctx", {}).get("error", "the body is not JSON")))
    return Refused(faults_of(errors, model))
