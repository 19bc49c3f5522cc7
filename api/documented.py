"""What every route's OpenAPI entry has in common: the statuses it may answer with."""

from __future__ import annotations

from typing import Any

from api.models import ProblemReply

Responses = dict[int | str, dict[str, Any]]
_SAYS = {
    400: "The request cannot be read: broken JSON, an encoding, a header.",
    401: "No key, or one that is not known.",
    403: "The key lacks the scope; or the Host or Origin is not accepted.",
    404: "Nothing of that id in this project.",
    406: "No representation that `Accept` would take.",
    408: "The body came too slowly.",
    409: "Does not apply in the present state; `detail` says why.",
    412: "The representation that `If-Match` names is not the present one.",
    413: "The body is too large.",
    415: "Another media type than the one taken here.",
    416: "The range lies outside.",
    422: "Not valid: `errors` points at each field and says what is accepted.",
    429: "Over a rate or a quota; `Retry-After` says how long to wait.",
    500: "The server failed; `detail` holds the request id.",
    503: "The database is not reachable, or as much as is allowed is under way; `Retry-After` says when to come back.",
}
_ALWAYS = (400, 401, 403, 422, 429, 500, 503)
_WITH_BODY = (408, 413, 415)


def answers(
    *more: int, body: bool = False, model: Any = None, status: int = 200, says: str = ""
) -> dict[str, Any]:
    """Keyword arguments of a route: its refusals, and its reply's model where it returns a Response itself."""
    refusals = sorted({*_ALWAYS, *more, *(_WITH_BODY if body else ())})
    found: Responses = {code: problem(code) for code in refusals}
    if model is not None:
        found[status] = {"model": model, "description": says or "The reply."}
    return {"responses": found, "status_code": status}


def problem(code: int) -> dict[str, Any]:
    """One refusal."""
    schema = {"$ref": "#/components/schemas/Problem"}
    headers = (
        {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
        if code in (429, 503)
        else {}
    )
    entry: dict[str, Any] = {
        "description": _SAYS[code],
        "content": {"application/problem+json": {"schema": schema}},
    }
    return entry | ({"headers": headers} if headers else {})


def content(*media: str, says: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """A reply in other forms than JSON."""
    binary = {"type": "string", "format": "binary"}
    return {"description": says, "content": {kind: {"schema": schema or binary} for kind in media}}


def immutably(*more: int, **options: Any) -> dict[str, Any]:
    """The same of a reply that never changes."""
    found = answers(*more, **options)
    found["responses"] |= CONDITIONAL
    return found


CONDITIONAL: Responses = {
    304: {"description": "The client's copy, named by `If-None-Match`, is the present one."},
    412: problem(412),
}
PROBLEM_MODEL = ProblemReply
