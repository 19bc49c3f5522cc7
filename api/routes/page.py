"""The web page and the documents, served from here alone: no other host is ever asked."""

from __future__ import annotations

import importlib.util
import mimetypes
from functools import cache
from pathlib import Path

import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

from api.problems import Problem
from api.replies import has
from api.routing import router
from web import CONTENT_SECURITY_POLICY, FOLDER

routes = router("page")
_HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
#: Swagger UI sets styles on elements and draws its icons from `data:`
_DOCS_POLICY = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_DOCS_HEADERS = {**_HEADERS, "Content-Security-Policy": _DOCS_POLICY}
_DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>BFC Lab: the HTTP contract</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/favicon.ico"><link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script></body></html>
"""
_START = b'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")


@routes.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return await _file("index.html")


@routes.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """The page's icon."""
    return await _file("favicon.svg")


@routes.get("/web/{path:path}", include_in_schema=False)
async def asset(path: str) -> Response:
    """A file of the page."""
    return await _file(path)


@routes.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The contract, to read and to try."""
    return HTMLResponse(_DOCS, headers=_DOCS_HEADERS)


@routes.get("/docs/assets/{name}", include_in_schema=False)
async def docs_asset(name: str) -> Response:
    """Swagger UI from the Python package that carries it."""
    if name == "start.js":
        return Response(_START, headers=_HEADERS, media_type="text/javascript")
    folder = _swagger()
    if name not in _ASSETS or folder is None:
        raise HTTPException(404)
    return FileResponse(folder / name, headers=_HEADERS)


@routes.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The contract as OpenAPI 3.1."""
    # It is made when first asked for, which takes a while and must not stall the streams.
    content, tag = await anyio.to_thread.run_sync(request.app.state.openapi)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if has(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


async def _file(path: str) -> Response:
    """A file below the page's folder; whatever leaves the folder is not there."""
    found = await anyio.to_thread.run_sync(_found, FOLDER.resolve(), path)
    if found is None:
        raise Problem(404, "not_found", "no such file of the page")
    media = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    return FileResponse(found, headers=_HEADERS, media_type=media)


def _found(root: Path, path: str) -> Path | None:
    try:
        found = (root / path).resolve(strict=True)
    except (OSError, ValueError):
        return None
    inside = found.is_relative_to(root) and found.is_file() and found.suffix not in (".py", ".pyc", ".typed")
    return found if inside else None


@cache
def _swagger() -> Path | None:
    """Found without importing the package, which would patch FastAPI."""
    found = importlib.util.find_spec("fastapi_swagger")
    return None if found is None or found.origin is None else Path(found.origin).parent / "resources"
