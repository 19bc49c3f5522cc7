"""Data sets: streamed uploads, checked by a child before anything is stored."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from api.auth import Reader, Submitter
from api.documented import answers, immutably
from api.lab import TheLab
from api.models import DatasetReply, Page, Shown
from api.once import Asked, IdempotencyKey, Made, lasting
from api.replies import Cursor, Id, Limit, immutable, text_page
from api.routing import router
from api.uploads import received
from store import datasets, shown

routes = router("datasets")
Format = Literal["npz", "safetensors", "cifar10", "cifar100", "images"]


@routes.post(
    "/v1/datasets",
    **answers(409, body=True, model=DatasetReply, status=201, says="The data set, stored."),
    openapi_extra={"x-body": "file"},
)
async def upload_dataset(
    request: Request,
    lab: TheLab,
    who: Submitter,
    name: Annotated[Shown, Query(min_length=1, max_length=200, description="for people")] = "data set",
    format: Annotated[  # noqa: A002 - the contract's word
        Format | None, Query(description="told from the content when left out")
    ] = None,
    key: IdempotencyKey = None,
) -> Response:
    """Upload a data set as the body itself.

    Formats: `.npz` without pickles, safetensors, CIFAR binary, an archive of image folders. It is checked whole
    before anything is stored. The same content again is answered with `200` and the first one.
    """
    async with received(request, lab) as upload:
        said = {"sha256": upload.sha256, "name": name, "format": format}
        order = {"op": "dataset", "path": str(upload.path), "project": who.project, "name": name, "format": format}

        async def work() -> Any:
            return json.loads(await lab.intake.make(None, order))

        def reply(connection: Connection, stored: Any) -> Made:
            told = shown.dataset(connection, who.project, stored["id"])
            headers = {"Location": f"/v1/datasets/{stored['id']}"}
            return Made(201 if stored["made"] else 200, headers, told.encode())

        return await lasting(lab, Asked(who.project, key, "POST /v1/datasets", said), work, reply)


@routes.get("/v1/datasets", **answers(model=Page[DatasetReply], says="One page, newest first."))
async def list_datasets(lab: TheLab, who: Reader, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List the project's data sets."""
    return text_page(await lab.read(shown.datasets_of, who.project, cursor, limit + 1), limit)


@routes.get("/v1/datasets/{dataset_id}", **immutably(404, model=DatasetReply))
async def show_dataset(request: Request, lab: TheLab, who: Reader, dataset_id: Id) -> Response:
    """Show a data set: its facts, and its tensors with dtype, shape and content hash."""
    return immutable(request, await lab.read(shown.dataset, who.project, dataset_id))


@routes.delete("/v1/datasets/{dataset_id}", **answers(404, 409, status=204))
async def delete_dataset(lab: TheLab, who: Submitter, dataset_id: Id) -> Response:
    """Delete a data set; `409` while a job that has not ended names it."""
    await lab.write(datasets.remove, who.project, dataset_id)
    return Response(status_code=204)
