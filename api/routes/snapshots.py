"""Snapshots of weights, features and checkpoints: what they hold, whole files with ranges, single tensors."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Header, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from api import negotiation
from api.auth import Reader
from api.documented import CONDITIONAL, answers, content, immutably
from api.downloads import Download
from api.lab import Lab, TheLab
from api.models import Page, SnapshotReply
from api.problems import Fault, Problem, Refused, in_query, nearest
from api.replies import (
    Cursor,
    Id,
    Limit,
    attachment,
    etag_headers,
    immutable,
    json_reply,
    quoted_etag,
    text_page,
    unchanged,
)
from api.routing import router
from bfc_core.records import ITEM_BYTES, Tensor
from store import shown, snapshots
from store.jobs import exists
from store.snapshots import Layout

routes = router("snapshots")
SAFETENSORS = "application/vnd.safetensors"
NPY = "application/x-npy"
JSON = "application/json"
OCTETS = "application/octet-stream"
FORMS = (JSON, NPY, SAFETENSORS, OCTETS)
JSON_VALUES = 1_000_000
_RANGE = re.compile(r"(?i:bytes)=(\d{0,18})-(\d{0,18})")
_ROWS = re.compile(r"^(-?[0-9]{0,15}):(-?[0-9]{0,15})$")

_DOWNLOAD = answers(404, 416)
_DOWNLOAD["responses"] |= {
    200: content(SAFETENSORS, OCTETS, says="The whole file."),
    206: content(SAFETENSORS, OCTETS, says="The range."),
}
_DOWNLOAD["responses"] |= CONDITIONAL
_TENSOR = answers(404, 406)
_TENSOR["responses"][200] = content(
    NPY, SAFETENSORS, OCTETS, says="The tensor, or some of its rows."
)
_TENSOR["responses"][200]["content"][JSON] = {"schema": {"type": "object", "additionalProperties": True}}
_TENSOR["responses"] |= CONDITIONAL


@routes.get(
    "/v1/jobs/{job_id}/snapshots", **answers(404, model=Page[SnapshotReply], says="One page, oldest first.")
)
async def list_snapshots(
    lab: TheLab,
    who: Reader,
    job_id: Id,
    kind: Annotated[Literal["weights", "features", "checkpoint"] | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List the snapshots of a job with their tensors."""

    def read(connection: Connection) -> list[tuple[str, str]]:
        exists(connection, who.project, job_id)
        return shown.snapshots_of(connection, job_id, kind, cursor, limit + 1)

    return text_page(await lab.read(read), limit)


@routes.get("/v1/snapshots/{snapshot_id}", **immutably(404, model=SnapshotReply))
async def show_snapshot(request: Request, lab: TheLab, who: Reader, snapshot_id: Id) -> Response:
    """Show a snapshot: its step, kind, and tensors with dtype, shape and content hash."""
    return immutable(request, await lab.read(shown.snapshot, who.project, snapshot_id))


@routes.get("/v1/snapshots/{snapshot_id}/download", **_DOWNLOAD)
async def download_snapshot(
    request: Request,
    lab: TheLab,
    who: Reader,
    snapshot_id: Id,
    range_: Annotated[str | None, Header(alias="Range", max_length=100)] = None,
) -> Response:
    """Download a snapshot as one safetensors file; `Range` takes a part of it.

    Whoever asks for `application/octet-stream` by name gets the same bytes under that name.
    """

    def plan(connection: Connection) -> tuple[Any, Layout]:
        head = snapshots.get(connection, who.project, snapshot_id)
        meta = {
            "format": "bfc",
            "id": snapshot_id,
            "job": head["job_id"],
            "step": str(head["step"]),
            "kind": head["kind"],
        }
        return head, snapshots.layout(snapshots.listing(connection, snapshot_id), meta)

    head, layout = await lab.read(plan)
    tag = f"{bytes(head['hash']).hex()}-{snapshot_id}"
    known = unchanged(request, tag)
    if known is not None:
        return known
    lab.outgoing.admit_download()
    headers = etag_headers(tag) | {"Accept-Ranges": "bytes"} | attachment(f"{snapshot_id}.safetensors")
    span = _span(range_, request.headers.get("if-range"), quoted_etag(tag), layout.bytes)
    start, stop = span or (0, layout.bytes)
    headers["Content-Length"] = str(stop - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{layout.bytes}"
    status = 200 if span is None else 206
    accept = request.headers.get("accept")
    plain = negotiation.names(accept, OCTETS) and not negotiation.names(accept, SAFETENSORS)
    media = OCTETS if plain else SAFETENSORS
    return Download(_windows(lab, layout, start, stop), status, headers, media)


@routes.get("/v1/snapshots/{snapshot_id}/tensors/{name:path}", **_TENSOR)
async def read_tensor(
    request: Request,
    lab: TheLab,
    who: Reader,
    snapshot_id: Id,
    name: Annotated[str, Path(max_length=300)],
    rows: Annotated[
        str | None,
        Query(
            max_length=40,
            pattern=_ROWS.pattern,
            description="`a:b` of the first axis, as in Python",
        ),
    ] = None,
) -> Response:
    """Read one tensor, or some of its rows, as JSON, `.npy` or safetensors by `Accept`."""
    form = negotiation.choose(request.headers.get("accept"), FORMS)

    def plan(connection: Connection) -> tuple[Any, Layout]:
        snapshots.get(connection, who.project, snapshot_id)
        listing = snapshots.listing(connection, snapshot_id)
        found = [row for row in listing if row["name"] == name]
        if not found:
            names = [row["name"] for row in listing]
            raise Problem(
                404, "not_found", f"no tensor {name[:80]!r} in this snapshot; {nearest(name, names)}"
            )
        return found[0], snapshots.layout(found, {})

    row, layout = await lab.read(plan)
    part = Part.of(row, rows)
    tag = f"{bytes(row['hash']).hex()}-{part.first}-{part.last}-{form.rpartition('/')[2]}"
    known = unchanged(request, tag)
    if known is not None:
        return known
    head = len(layout.head)
    start, stop = head + part.first * part.row_bytes, head + part.last * part.row_bytes
    headers = etag_headers(tag)
    if form == JSON:
        return await _as_json(lab, layout, part, (start, stop), headers)
    lab.outgoing.admit_download()
    prefix, widen = part.prefix(form)
    size = len(prefix) + (stop - start) * (2 if widen else 1)
    source = _prefixed(prefix, _windows(lab, layout, start, stop), widen)
    suffix = "safetensors" if form == SAFETENSORS else "npy"
    headers |= attachment(f"{name}.{suffix}") | {"Content-Length": str(size)}
    return Download(source, headers=headers, media=form)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `first` … `last` of a tensor's first axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    first: int
    last: int

    @classmethod
    def of(cls, row: Any, rows: str | None) -> Part:
        """The rows that `a:b` names; all without it. A tensor without axes has one row."""
        shape = tuple(row["shape"])
        count = shape[0] if shape else 1
        if rows is None:
            return cls(row["name"], row["dtype"], shape, 0, count)
        match = _ROWS.fullmatch(rows)
        if match is None or not shape:
            raise Refused([in_query("rows", f"{rows!r}; accepted: a:b of a tensor with at least one axis")])
        ends = [int(end) if end not in ("", "-") else None for end in match.groups()]
        first, last, _ = slice(*ends).indices(count)
        return cls(row["name"], row["dtype"], (max(0, last - first), *shape[1:]), first, max(first, last))

    @property
    def row_bytes(self) -> int:
        size = ITEM_BYTES[self.dtype]
        for length in self.shape[1:]:
            size *= length
        return size

    @property
    def values(self) -> int:
        return (self.last - self.first) * self.row_bytes // ITEM_BYTES[self.dtype]

    def prefix(self, form: str) -> tuple[bytes, bool]:
        """What stands before the data in this form, and whether BF16, which numpy lacks, is widened to F32."""
        if form == SAFETENSORS:
            size = self.values * ITEM_BYTES[self.dtype]
            row: Any = {"name": self.name, "id": 0, "dtype": self.dtype, "shape": self.shape, "bytes": size}
            return snapshots.layout([row], {}).head, False
        dtype = Tensor(self.dtype, (0,), b"").numpy().dtype
        head = io.BytesIO()
        described = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(head, described)
        return head.getvalue(), self.dtype == "BF16"


async def _as_json(
    lab: Lab, layout: Layout, part: Part, span: tuple[int, int], headers: dict[str, str]
) -> Response:
    if part.values > JSON_VALUES:
        says = (
            f"{part.values:,} values; JSON takes at most {JSON_VALUES:,}: ask for fewer `rows`, or for {NPY}"
        )
        raise Refused([in_query("rows", says)])
    raw = b"".join([piece async for piece in _windows(lab, layout, *span)])

    def spell() -> Response:
        array = Tensor(part.dtype, part.shape, raw).numpy()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            spoken = array.astype(object)
            spoken[~np.isfinite(array)] = None
            array = spoken
        data = array.tolist()
        body = {
            "name": part.name,
            "dtype": part.dtype,
            "shape": part.shape,
            "rows": [part.first, part.last],
            "data": data,
        }
        return json_reply(body, headers=headers)

    return await lab.compute(spell)


async def _windows(lab: Lab, layout: Layout, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    """The file's bytes, each window a read of its own: a slow client holds no connection.

    The next window is read while this one is sent.
    """

    def read(connection: Connection, first: int, last: int) -> list[bytes]:
        return list(snapshots.stream(connection, layout, first, last))

    with lab.outgoing.download() as windows:
        last = min(stop, layout.edge(start, start + windows.widen()))
        ahead = asyncio.ensure_future(lab.glance(read, start, last))
        try:
            while start < stop:
                pieces = await ahead
                start, last = last, min(stop, layout.edge(last, last + windows.widen()))
                if start < stop:
                    ahead = asyncio.ensure_future(lab.glance(read, start, last))
                for piece in pieces:
                    yield piece
        finally:
            ahead.cancel()


async def _prefixed(
    prefix: bytes, source: AsyncGenerator[bytes, None], widen: bool
) -> AsyncGenerator[bytes, None]:
    yield prefix
    odd = b""
    async with aclosing(source):
        async for piece in source:
            if not widen:
                yield piece
                continue
            piece, odd = odd + piece, b""
            if len(piece) % 2:
                piece, odd = piece[:-1], piece[-1:]
            yield (np.frombuffer(piece, "<u2").astype("<u4") << 16).astype("<u4").tobytes()


def _span(wanted: str | None, if_range: str | None, tag: str, size: int) -> tuple[int, int] | None:
    """The bytes that `Range` asks for; None for the whole. Several ranges at once are answered whole (RFC 9110)."""
    match = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.groups() == ("", "") or (if_range and if_range.strip() != tag):
        return None
    first, last = match.groups()
    if first == "":
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= size or start >= stop:
        raise Problem(
            416, "range", f"the file has {size} bytes", [Fault("/Range", f"got {wanted}", "header")],
            {"Content-Range": f"bytes */{size}"},
        )  # fmt: skip
    return start, stop
