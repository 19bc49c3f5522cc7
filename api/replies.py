"""How replies are put together: JSON text from Postgres, pages, ETags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import orjson
from fastapi import Path, Query, Request
from starlette.responses import Response

from api.problems import Problem

#: What is content-addressed never changes; only the owner's own caches may keep it.
IMMUTABLE = "private, max-age=31536000, immutable"

Limit = Annotated[int, Query(ge=1, le=500, description="items of one page")]
Cursor = Annotated[
    str | None,
    Query(max_length=60, pattern=r"^[a-z]+_[0-9a-z]{20,40}$", description="`next` of the page before"),
]
NameCursor = Annotated[str | None, Query(max_length=100, description="`next` of the page before")]
Id = Annotated[str, Path(max_length=60, description="the id", examples=["job_01k0000000000000000000000"])]


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; text that is JSON already is passed on."""
    content = value.encode() if isinstance(value, str) else dumps(value)
    return Response(content, status, headers, "application/json")


def dumps(value: Any) -> bytes:
    """JSON with times as RFC 3339 in UTC and arrays as lists; NaN never leaves the house, it is null."""
    # SQLAlchemy's column names are a subclass of str, which orjson takes for keys only when told so.
    keys = orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, _spelt, keys | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def text_page(rows: list[tuple[str, str]], limit: int) -> Response:
    """A page of `(id, JSON text)` read with one row more than `limit`, which tells that there is a next page."""
    items, following = rows[:limit], rows[limit:]
    after = f'"{items[-1][0]}"' if following else "null"
    return json_reply(f'{{"items":[{",".join(text for _, text in items)}],"next":{after}}}')


def page(items: list[dict[str, Any]], limit: int) -> Response:
    """The same for rows with an `id`."""
    more = len(items) > limit
    items = items[:limit]
    return json_reply({"items": items, "next": items[-1]["id"] if more else None})


def page_of(rows: Iterable[Any], by: str, limit: int, cursor: str | None) -> Response:
    """A page of a list short enough to be read whole, in the order of `by`."""
    past = sorted((dict(row) for row in rows if cursor is None or row[by] > cursor), key=lambda row: str(row[by]))
    items = past[:limit]
    return json_reply({"items": items, "next": items[-1][by] if len(past) > limit else None})


def unchanged(request: Request, etag: str) -> Response | None:
    """304 where the client already has the representation that `etag` (a bare hash) names. Raises 412 by `If-Match`."""
    expected(request, quoted_etag(etag))
    if has(request, quoted_etag(etag)):
        return Response(status_code=304, headers=etag_headers(etag))
    return None


def expected(request: Request, quoted: str) -> None:
    """Raises 412 where the client asks for another representation alone than that of this (quoted) ETag."""
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted.strip() != "*" and quoted not in (tag.strip() for tag in wanted.split(",")):
        raise Problem(412, "precondition", f"the present representation is {quoted}")


def has(request: Request, quoted: str) -> bool:
    """Whether the client says it holds the representation of this (quoted) ETag."""
    wanted = request.headers.get("if-none-match")
    return wanted is not None and (wanted.strip() == "*" or quoted in _etags(wanted))


def immutable(request: Request, content: str) -> Response:
    """JSON text that never changes, or 304 where the client has it."""
    etag = hashlib.sha256(content.encode()).hexdigest()[:32]
    known = unchanged(request, etag)
    return known if known is not None else json_reply(content, headers=etag_headers(etag))


def etag_headers(etag: str) -> dict[str, str]:
    """Headers of an immutable representation."""
    return {"ETag": quoted_etag(etag), "Cache-Control": IMMUTABLE, "Vary": "Accept, Authorization"}


def quoted_etag(etag: str) -> str:
    """A strong ETag."""
    return f'"{etag}"'


def attachment(name: str) -> dict[str, str]:
    """A file name for whoever saves the reply; ids and figure names only, so it needs no quoting rules."""
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    return {"Content-Disposition": f'attachment; filename="{safe}"'}


def _etags(header: str) -> Iterable[str]:
    return (tag.strip().removeprefix("W/") for tag in header.split(","))


def _spelt(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return f"sha256:{bytes(value).hex()}"
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no spelling in JSON")
