"""The application: routes, the edge around them, and what lives as long as the process."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from psycopg import OperationalError as PsycopgOutage
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from api import openapi
from api.edge import Edge
from api.housekeeping import housekeeping
from api.lab import Lab
from api.memory import giving_back
from api.postman import Postman
from api.problems import TITLES, Problem, code_of
from api.reaping import reaping
from api.replies import quoted_etag
from api.routes import ALL
from api.settings import Settings
from api.submission import VERSION, translated
from store.config import Config
from store.engine import is_outage
from store.errors import StoreError

LOG = logging.getLogger("bfc.api")
TIDY_SECONDS = 20.0


def create_app(config: Config | None = None, settings: Settings | None = None) -> FastAPI:
    """The application for these settings, those of the environment by default; connects when it starts."""
    lab = Lab.of(config or Config.from_env(), settings or Settings.from_env())
    limits = {"/v1/datasets": lab.settings.max_dataset_bytes, "/v1/imports": lab.settings.max_dataset_bytes}
    app = FastAPI(
        title="BFC Lab",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=[Middleware(Edge, gate=lab.gate, outgoing=lab.outgoing, body_limits=limits)],
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.lab = lab
    # Flat, not included: an included router is matched twice for each request.
    for router in ALL:
        app.router.routes.extend(router.routes)
    app.state.openapi = _document_once(app, lab)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(StoreError, _translated)
    for outage in (DBAPIError, PsycopgOutage, PoolTimeout, NoConnection):
        app.add_exception_handler(outage, _outage)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    lab: Lab = app.state.lab
    await lab.pool.open(wait=False)
    tasks = [asyncio.create_task(work) for work in _works(lab)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await lab.rendering.close()
        await lab.intake.close()
        await lab.pool.close()
        lab.engine.dispose()


def _works(lab: Lab) -> list[Coroutine[Any, Any, None]]:
    """What runs beside the requests as long as the process lives."""
    work = [lab.hub.run(), lab.ringer.run(), Postman(lab).run(), housekeeping(lab), reaping(lab)]
    return [*work, _tidy(lab), giving_back()]


async def _tidy(lab: Lab) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        await lab.rendering.tidy()
        await lab.intake.tidy()


def _document_once(app: FastAPI, lab: Lab) -> Callable[[], tuple[bytes, str]]:
    """The OpenAPI document and its ETag, made when first asked for: most processes never are."""
    made: list[tuple[bytes, str]] = []

    def document() -> tuple[bytes, str]:
        if not made:
            routes = [route for route in app.routes if isinstance(route, APIRoute)]
            content = openapi.spelt(openapi.document(routes, lab.gate.keyless))
            made.append((content, quoted_etag(hashlib.sha256(content).hexdigest()[:32])))
        return made[0]

    return document


async def _refused(request: Request, fault: Exception) -> Response:
    if isinstance(fault, Problem):
        return fault.response()
    assert isinstance(fault, HTTPException)
    status = fault.status_code
    if status == 405:
        fault.headers = {"Allow": _methods(request)}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=fault.headers)
    says = {404: "there is nothing at this path", 405: "this path does not take this method"}
    detail = says.get(status, str(fault.detail or TITLES.get(status, "refused")))
    return Problem(status, code_of(status), detail, headers=fault.headers).response()


def _methods(request: Request) -> str:
    """All methods of the path: Starlette names those of the first route alone."""
    path = request.scope["path"]
    fitting = [
        route for route in request.app.routes if isinstance(route, APIRoute) and route.path_regex.match(path)
    ]
    methods = {method for route in fitting for method in route.methods or ()} | {"OPTIONS"}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


async def _translated(_: Request, fault: Exception) -> Response:
    problem = translated(fault)
    if problem is None:
        raise fault
    return problem.response()


async def _outage(_: Request, fault: Exception) -> Response:
    if isinstance(fault, DBAPIError) and not is_outage(fault):
        raise fault
    LOG.warning("database not reachable: %s", type(fault).__name__)
    return Problem(503, "database", "the database cannot be reached", headers={"Retry-After": "2"}).response()


def __getattr__(name: str) -> Any:
    """`app`, made when a server first asks for it: importing this module reads no environment."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = created = create_app()
    return created
