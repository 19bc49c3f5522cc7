"""What the API answers when it refuses, as RFC 9457 `application/problem+json`.

Problem                one reply with its status, code, detail and headers
├── Refused            400 and 422: the request is at fault; `errors` point at each field
├── NeedsKey           401: no key, or one that is not known
├── NotAllowed         403: a key without the scope, a foreign Origin or Host
├── NotHere            404: nothing of that id in this project
├── Conflicting        409: does not apply in the present state
└── TooMany            429: over a rate or a quota
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TITLES: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "A key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "No such representation",
    408: "The request took too long",
    409: "In conflict with the present state",
    412: "The precondition failed",
    413: "The body is too large",
    415: "Unsupported media type",
    416: "The range cannot be served",
    422: "The request is not valid",
    429: "Too many requests",
    431: "The head of the request is too large",
    500: "Internal error",
    501: "Not available here",
    503: "Not ready",
}

#: Every code that a `type` may end with, its status, and when it is answered.
CODES: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "the body is not JSON, or is deeper or larger than is read"),
    "pipelined": (400, "too many requests were sent ahead of their replies"),
    "unauthorised": (401, "no key was sent, or one that is not known"),
    "scope": (403, "the key lacks the scope that the call needs"),
    "operator": (403, "only an admin of the project `default` may do this"),
    "host": (403, "the `Host` is not a name of this server (`BFC_ALLOWED_HOSTS`)"),
    "origin": (403, "a page of another origin sent this"),
    "not_found": (404, "nothing of that id or name is in this project, or nothing is at that path"),
    "method_not_allowed": (405, "the path does not take this method; `Allow` lists those it takes"),
    "not_acceptable": (406, "none of the offered media types is accepted"),
    "slow_body": (408, "the body came too slowly"),
    "slow_head": (408, "no whole request came in time"),
    "conflict": (409, "the call does not apply in the present state; `state` tells it"),
    "no_results": (409, "the job has no results yet"),
    "idempotency": (409, "the `Idempotency-Key` stood for another request"),
    "at_work": (409, "the first request with this `Idempotency-Key` is still at work"),
    "secret_shown": (409, "the first request with this `Idempotency-Key` has shown its secret, which is not kept"),
    "name_taken": (409, "the name is taken"),
    "precondition": (412, "`If-Match` names another representation than the present one"),
    "too_large": (413, "the body is larger than this path takes"),
    "media_type": (415, "the body is of a type that this path does not read"),
    "range": (416, "the `Range` lies outside the file"),
    "invalid": (422, "fields are not valid; `errors` points at each"),
    "memory": (422, "what was asked for does not fit into the memory that a reply may take"),
    "rate_limited": (429, "too many requests; `Retry-After` tells when to come again"),
    "quota": (429, "a quota of the project is used up"),
    "head_too_large": (431, "the request line and headers are larger than is read"),
    "internal": (500, "the server failed; its log tells why under the `X-Request-ID`"),
    "rendering": (503, "a figure could not be drawn in time"),
    "uploads": (503, "too many uploads are under way"),
    "outgoing": (503, "large replies are still being sent to this caller"),
    "downloads": (503, "too many downloads are under way"),
    "connections": (503, "as many connections are open as are served"),
    "streams": (503, "too many event streams are open"),
    "database": (503, "the database cannot be reached"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One invalid field: a JSON pointer into `place` (body, query, path or header), and what is accepted."""

    pointer: str
    detail: str
    place: str = "body"

    def json(self) -> dict[str, str]:
        """As it stands in `errors`; the body is the unspoken place."""
        found = {"pointer": self.pointer, "detail": self.detail}
        return found if self.place == "body" else {**found, "in": self.place}


class Problem(HTTPException):
    """A refusal. `code` is the last word of its `type`, stable for programs to tell cases apart."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.faults = tuple(faults)
        self.more = dict(more or {})

    def json(self) -> dict[str, Any]:
        """The reply's body."""
        body: dict[str, Any] = {
            "type": f"urn:bfc-lab:problem:{self.code}",
            "title": TITLES.get(self.status_code, "Refused"),
            "status": self.status_code,
            "detail": self.detail,
        }
        if self.faults:
            body["errors"] = [fault.json() for fault in self.faults]
        return body | self.more

    def response(self) -> Response:
        """The reply."""
        content = json.dumps(self.json(), ensure_ascii=True, allow_nan=False).encode()
        return Response(content, self.status_code, dict(self.headers or {}), MEDIA_TYPE)


class Refused(Problem):
    """The request is at fault."""

    def __init__(self, faults: Iterable[Fault], detail: str | None = None, **more: Any) -> None:
        found = tuple(faults)
        says = detail or (found[0].detail if len(found) == 1 else f"{len(found)} fields are not valid")
        super().__init__(422, "invalid", says, found, more=more)


class NeedsKey(Problem):
    """No key, or one that is not known; both read the same."""

    def __init__(self, detail: str) -> None:
        super().__init__(401, "unauthorised", detail, headers={"WWW-Authenticate": 'Bearer realm="bfc"'})


class NotAllowed(Problem):
    """The caller is known, or foreign, and may not."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(403, code, detail)


class NotHere(Problem):
    """Nothing of that id in this project; another project's looks the same."""

    def __init__(self, what: str, id_: str) -> None:
        super().__init__(404, "not_found", f"no {what} {id_[:80]!r} in this project")


class Conflicting(Problem):
    """The call does not apply in the present state."""

    def __init__(self, detail: str, code: str = "conflict", **more: Any) -> None:
        super().__init__(409, code, detail, more=more)


class TooMany(Problem):
    """Over a rate or a quota."""

    def __init__(
        self, detail: str, retry_after_seconds: float, code: str = "rate_limited", **more: Any
    ) -> None:
        after = {"Retry-After": str(max(1, round(retry_after_seconds + 0.5)))}
        super().__init__(429, code, detail, headers=after, more=more)


def code_of(status: int) -> str:
    """The code of a status that the framework answered by itself."""
    return next((code for code, (of, _) in CODES.items() if of == status), "refused")


def malformed(detail: str) -> Problem:
    """400: not JSON, or JSON beyond what is read."""
    return Problem(400, "malformed", detail, [Fault("", detail)])


def in_query(name: str, detail: str) -> Fault:
    """A fault of one query parameter."""
    return Fault(pointer([name]), detail, "query")


def pointer(path: Iterable[str | int]) -> str:
    """The JSON pointer of a path (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def nearest(word: str, accepted: Iterable[str]) -> str:
    """`accepted: a, b, c`, led by the nearest of them where `word` looks misspelt."""
    names = sorted(accepted)
    close = difflib.get_close_matches(word[:80], names, n=1, cutoff=0.6)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}accepted: {', '.join(names)}" if names else f"{guess}nothing is accepted here"
