"""Similarity and probes between stored snapshots, without a GPU and without a forward pass."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from api.auth import Reader
from api.documented import answers
from api.lab import TheLab
from api.models import Body, Reply
from api.problems import Fault, Problem
from api.replies import dumps, json_reply
from api.routing import router
from store import snapshots
from store.errors import NotFound

routes = router("compare")
Measure = Literal[
    "cka", "cka_biased", "cca", "svcca", "pwcca", "procrustes", "subspace_angles", "ridge", "linear"
]


class CompareProbe(Body):
    """What is asked of the layers."""

    kind: Measure = "cka"
    """a similarity; `ridge`: error of the second's features by ridge on the first's; `linear`: accuracy of kept labels"""


class CompareBody(Body):
    """Stored snapshots of any jobs of the project, and a question."""

    snapshots: Annotated[list[Annotated[str, Field(max_length=60)]], Field(min_length=1, max_length=20)]
    """ids of feature snapshots on equal inputs; one alone is compared with itself"""
    layers: (
        Annotated[list[Annotated[str, Field(max_length=40)]], Field(min_length=1, max_length=200)] | None
    ) = None
    """numbers of layers as text; all when left out"""
    probe: CompareProbe = CompareProbe()


class Undefined(Reply):
    """A pair for which the measure has no value."""

    row: int
    column: int
    reason: str


class Comparison(Reply):
    """Every layer of one snapshot against every layer of another."""

    first: str
    second: str | None
    """null for a probe of one snapshot"""
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    """rows × columns; null where it is undefined"""
    undefined: list[Undefined]


class CompareReply(Reply):
    """The comparisons, pair by pair."""

    items: list[Comparison]


@routes.post("/v1/compare", **answers(404, body=True, model=CompareReply))
async def compare(lab: TheLab, who: Reader, body: CompareBody) -> Response:
    """Compare stored feature snapshots layer by layer.

    For two or more snapshots each pair is compared (both ways round for `ridge` and `pwcca`, which are directed).
    """

    def hashes(connection: Connection) -> list[str]:
        return [_hash(connection, who.project, id_, at) for at, id_ in enumerate(body.snapshots)]

    said = {
        "hashes": await lab.read(hashes),
        "ids": body.snapshots,
        "layers": body.layers,
        "kind": body.probe.kind,
    }
    name = f"{who.project}-compare-{hashlib.sha256(dumps(said)).hexdigest()}"
    order = {
        "op": "compare",
        "project": who.project,
        "snapshots": body.snapshots,
        "layers": body.layers,
        "kind": body.probe.kind,
    }
    return json_reply((await lab.rendering.make(name, order)).decode())


def _hash(connection: Connection, project: str, id_: str, at: int) -> str:
    try:
        return bytes(snapshots.get(connection, project, id_)["hash"]).hex()
    except NotFound:
        says = f"no snapshot {id_!r} in this project"
        raise Problem(404, "not_found", says, [Fault(f"/snapshots/{at}", says)]) from None
