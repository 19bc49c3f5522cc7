"""Studies as files: export of a finished one, import under fresh ids."""

from __future__ import annotations

import json

from fastapi import Request
from sqlalchemy import Connection
from starlette.responses import Response

from api import negotiation
from api.auth import Admin, Reader
from api.documented import answers, content
from api.downloads import Download
from api.lab import TheLab
from api.models import JobReply
from api.once import Asked, IdempotencyKey, Made, lasting
from api.packing import packed
from api.replies import Id, attachment
from api.routing import router
from api.uploads import received
from store import archives, shown

routes = router("archives")
TAR, OCTETS = "application/x-tar", "application/octet-stream"
_EXPORT = answers(404, 409)
_EXPORT["responses"][200] = content(TAR, OCTETS, says="The archive.")


@routes.get("/v1/jobs/{job_id}/export", **_EXPORT)
async def export_job(request: Request, lab: TheLab, who: Reader, job_id: Id) -> Response:
    """Export a finished job with its members as one tar file: specs, tables, figures, series, provenance, snapshots.

    Whoever asks for `application/octet-stream` by name gets the same bytes under that name.
    """
    media = OCTETS if negotiation.names(request.headers.get("accept"), OCTETS) else TAR
    manifest, places = await lab.read(archives.manifest, who.project, job_id)
    lab.outgoing.admit_download()
    source = packed(lab, who.project, manifest, places)
    return Download(source, headers=attachment(f"{job_id}.bfc.tar"), media=media)


@routes.post(
    "/v1/imports",
    **answers(409, body=True, model=JobReply, status=201, says="The imported job, with its `origin_id`."),
    openapi_extra={"x-body": "file"},
)
async def import_archive(request: Request, lab: TheLab, who: Admin, key: IdempotencyKey = None) -> Response:
    """Import an archive made by export, sent as the body itself.

    Specs, results, series and snapshots keep their hashes; jobs get fresh ids and say where they came from.
    """
    async with received(request, lab) as upload:
        order = {"op": "archive", "path": str(upload.path), "project": who.project, "key": who.key_id}

        async def work() -> str:
            return str(json.loads(await lab.intake.make(None, order))["id"])

        def reply(connection: Connection, made: str) -> Made:
            job = shown.one(connection, who.project, made)
            return Made(201, {"Location": f"/v1/jobs/{made}"}, job.encode())

        return await lasting(lab, Asked(who.project, key, "POST /v1/imports", upload.sha256), work, reply)
