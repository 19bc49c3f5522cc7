"""What a finished job found: its summary and tables, and figures drawn of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from api import negotiation
from api.auth import Principal, Reader
from api.documented import CONDITIONAL, answers, content
from api.lab import Lab, TheLab
from api.models import FigureReply, Page, ResultsReply
from api.problems import Conflicting, Problem, nearest
from api.replies import Id, Limit, NameCursor, attachment, etag_headers, json_reply, page_of, unchanged
from api.routing import router
from api.submission import VERSION
from api.tables import csv_of
from store import jobs, results

routes = router("results")
CSV = "text/csv"
#: the forms of a figure by suffix, the first the default
FORMS = {
    "json": "application/vnd.vegalite.v5+json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
}
_PLAIN_JSON = "application/json"
_OCTETS = "application/octet-stream"
_RESULTS = answers(404, 406, 409, model=ResultsReply)
_RESULTS["responses"][200]["content"] = {CSV: {"schema": {"type": "string"}}}
_RESULTS["responses"] |= CONDITIONAL
_FIGURE = answers(404, 406, 409)
_FIGURE["responses"][200] = content(_OCTETS, FORMS["png"], FORMS["svg"], FORMS["pdf"], says="The figure.")
_FIGURE["responses"][200]["content"] |= {
    media: {"schema": {"type": "object", "additionalProperties": True}}
    for media in (FORMS["json"], _PLAIN_JSON)
}
_FIGURE["responses"] |= CONDITIONAL


@routes.get("/v1/jobs/{job_id}/results", **_RESULTS)
async def job_results(
    request: Request,
    lab: TheLab,
    who: Reader,
    job_id: Id,
    table: Annotated[
        str | None, Query(max_length=100, description="one table alone; as CSV by `Accept`")
    ] = None,
) -> Response:
    """Read the summary and the tables of a finished job; `409` while it has none."""
    offers = (_PLAIN_JSON, CSV) if table is not None else (_PLAIN_JSON,)
    form = negotiation.choose(request.headers.get("accept"), offers)
    _, tag = await lab.read(_head, who.project, job_id)
    tag = f"{tag}-{table or ''}-{form.rpartition('/')[2]}" if table is not None else tag
    known = unchanged(request, tag)
    return known if known is not None else await lab.read(_results, job_id, table, form, tag)


@routes.get("/v1/jobs/{job_id}/figures", **answers(404, model=Page[FigureReply], says="One page, by name."))
async def list_figures(
    lab: TheLab, who: Reader, job_id: Id, limit: Limit = 100, cursor: NameCursor = None
) -> Response:
    """List the figures that can be drawn of a job."""
    return page_of(_entries(await lab.read(jobs.get, who.project, job_id)), "name", limit, cursor)


@routes.get("/v1/jobs/{job_id}/figures/{name}", **_FIGURE)
async def draw_figure(
    request: Request,
    lab: TheLab,
    who: Reader,
    job_id: Id,
    name: Annotated[
        str, Path(max_length=100, description="a name from the list, with or without .json .png .svg .pdf")
    ],
    theme: Annotated[Literal["light", "dark"], Query()] = "light",
) -> Response:
    """Draw a figure as Vega-Lite, PNG, SVG or PDF, by suffix or by `Accept`.

    Whoever asks for `application/octet-stream` by name gets the same bytes under that name.
    """
    stem, form = _form(name, request.headers.get("accept"))
    await _check_name(lab, who, job_id, stem)
    _, hashed = await lab.read(_head, who.project, job_id)
    tag = f"{hashed}-{stem}-{form}-{theme}-{VERSION}"
    known = unchanged(request, tag)
    if known is not None:
        return known
    order = {"op": "figure", "job": job_id, "figure": stem, "format": form, "theme": theme}
    # Equal content is drawn once a project: what another project drew must not be quicker here.
    drawn = await lab.rendering.make(f"{who.project}-{tag}", order)
    named = attachment(f"{stem}.{form}") if form == "pdf" else {}
    return Response(drawn, headers=etag_headers(tag) | named, media_type=_media(form, request))


def _head(connection: Connection, project: str, id_: str) -> tuple[dict[str, Any], str]:
    """Summary and hash of a job's result. Raises 404, and 409 where there is none yet."""
    job = jobs.get(connection, project, id_)
    found = results.summary(connection, id_)
    if found is None:
        raise Conflicting(f"the job is {job['state']} and has no results", "no_results", state=job["state"])
    return found[0], found[1].hex()


def _results(connection: Connection, id_: str, table: str | None, form: str, tag: str) -> Response:
    found = results.get(connection, id_)
    assert found is not None
    headers = etag_headers(tag)
    if table is None:
        return json_reply({"summary": found["summary"], "tables": found["tables"]}, headers=headers)
    if table not in found["tables"]:
        raise Problem(404, "not_found", f"no table {table[:80]!r}; {nearest(table, found['tables'])}")
    one = found["tables"][table]
    if form == CSV:
        return Response(
            csv_of(one), headers=headers | attachment(f"{table}.csv"), media_type=f"{CSV}; charset=utf-8"
        )
    return json_reply({"summary": found["summary"], "tables": {table: one}}, headers=headers)


def _form(name: str, accept: str | None) -> tuple[str, str]:
    """The figure's name and form: its suffix decides, else `Accept`."""
    stem, dot, suffix = name.rpartition(".")
    if dot and suffix in FORMS:
        return stem, suffix
    media = negotiation.choose(accept, (*FORMS.values(), _PLAIN_JSON, _OCTETS))
    return name, next((form for form, its in FORMS.items() if its == media), "json")


def _media(form: str, request: Request) -> str:
    """Vega-Lite goes out under its own name only to who names it; to all others it is JSON."""
    accept = request.headers.get("accept")
    if negotiation.names(accept, _OCTETS) and not negotiation.names(accept, FORMS[form]):
        return _OCTETS
    plain = form == "json" and not negotiation.names(request.headers.get("accept"), FORMS[form])
    return _PLAIN_JSON if plain else FORMS[form]


def _entries(job: Any) -> list[dict[str, Any]]:
    from bfc_core import figures

    kind = job["spec"]["kind"] if job["kind"] == "study" else job["kind"]
    found = figures.names(kind, job["spec"])
    return [{"name": one["name"], "title": one["title"], "doc": one["doc"]} for one in found]


async def _check_name(lab: Lab, who: Principal, id_: str, stem: str) -> None:
    names = [entry["name"] for entry in _entries(await lab.read(jobs.get, who.project, id_))]
    if stem not in names:
        raise Problem(404, "not_found", f"no figure {stem[:80]!r}; {nearest(stem, names)}")
