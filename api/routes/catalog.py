"""The catalog: every word of the language, from which the page builds its forms."""

from __future__ import annotations

import hashlib
from functools import cache

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from api.auth import Reader
from api.documented import CONDITIONAL, answers
from api.models import CatalogReply
from api.replies import dumps, expected, has, quoted_etag
from api.routing import router
from bfc_core import specs

routes = router("catalog")
_CATALOG = answers(model=CatalogReply)
_CATALOG["responses"] |= CONDITIONAL


@routes.get("/v1/catalog", **_CATALOG)
async def show_catalog(request: Request, who: Reader) -> Response:  # noqa: ARG001 - the caller must be let in
    """List every job kind, target, model, schedule, probe, baseline, study and figure.

    Each with its JSON Schema, documentation, source in the literature and a valid example.
    """
    # The schemas of all words are made once, which takes a while and must not stall the streams.
    content, tag = await to_thread.run_sync(_catalog)
    headers = {"ETag": tag, "Cache-Control": "private, max-age=60"}
    expected(request, tag)
    if has(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


@cache
def _catalog() -> tuple[bytes, str]:
    content = dumps({"items": specs.catalog() + _figures()})
    return content, quoted_etag(hashlib.sha256(content).hexdigest()[:32])


def _figures() -> list[dict[str, object]]:
    """Figures have no spec of their own: they are drawn of a study's tables by name."""
    from bfc_core import figures

    found: dict[str, dict[str, object]] = {}
    for kind in ("correction", "duel", "information_gap", "sweep", "train", "baseline", "probe"):
        for one in figures.names(kind):
            found.setdefault(
                one["name"],
                {
                    "part": "figure",
                    "kind": one["name"],
                    "title": one["title"],
                    "doc": one["doc"],
                    "source": "standard",
                    "schema": {"type": "object", "properties": {}, "additionalProperties": False},
                    "example": {},
                },
            )
    return list(found.values())
