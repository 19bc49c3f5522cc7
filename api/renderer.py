"""The working child: reads orders from stdin, answers on stdout, ends when stdin does. Never loads torch."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine

from store import results, series
from store.config import Config
from store.engine import connect, transact

FRAME = struct.Struct(">II")
#: A child grown beyond this is replaced.
TIRED_BYTES = 700 << 20
PNG_SCALE = 2.0
CURVE_POINTS = 500


class Refusal(Exception):
    """An order that cannot be carried out, as the fields of a Problem."""

    def __init__(
        self, status: int, code: str, detail: str, pointer: str | None = None, place: str = "body"
    ) -> None:
        super().__init__(detail)
        self.fields = {"status": status, "code": code, "detail": detail, "pointer": pointer, "place": place}


def figure(engine: Engine, order: Mapping[str, Any]) -> bytes:
    """A figure of a finished job: `{"job", "figure", "format", "theme"}`."""
    from bfc_core import figures

    with engine.connect() as connection:
        found = results.get(connection, order["job"])
        if found is None:
            raise Refusal(409, "no_results", "the job has no results yet")
        # A study's conclusion puts its members' curves into a table; a single job's are its series.
        tables = {"curves": _curves(connection, order["job"])} | found["tables"]
    drawn = figures.draw(order["figure"], tables, found["summary"], theme=order["theme"])
    return _rendered(drawn, order["format"])


def compare(engine: Engine, order: Mapping[str, Any]) -> bytes:
    """Similarity or probes between stored snapshots, from what they keep."""
    from api import comparing

    with engine.connect() as connection:
        try:
            return json.dumps(comparing.compare(connection, order), allow_nan=False).encode()
        except comparing.Incomparable as fault:
            raise Refusal(422, "invalid", str(fault), fault.pointer) from None


def dataset(engine: Engine, order: Mapping[str, Any]) -> bytes:
    """An uploaded file, checked whole and stored: `{"path", "project", "name", "format"}`."""
    from bfc_core.images import formats
    from bfc_core.images.datasets import Refused
    from bfc_core.records import Tensor
    from store import datasets
    from store.tensors import pack

    with open(order["path"], "rb") as file:  # noqa: PTH123 - the API's own temporary file
        try:
            kind = order["format"] or formats.sniff(file)
            arrays = formats.read(kind, file)
        except Refused as fault:
            raise Refusal(422, "invalid", fault.detail, "") from None
    packed = {name: pack(Tensor.of(array)) for name, array in arrays.tensors().items()}
    fresh = datasets.Fresh(order["project"], order["name"], kind, arrays.describe(), packed)
    try:
        made, new = transact(engine, lambda connection: datasets.put(connection, fresh))
    except datasets.OverQuota as fault:
        raise Refusal(429, "quota", str(fault)) from None
    return json.dumps({"id": made, "made": new}).encode()


def archive(engine: Engine, order: Mapping[str, Any]) -> bytes:
    """An archive of a study, checked whole and stored: `{"path", "project", "key"}`."""
    from api import unpacking

    try:
        return json.dumps(unpacking.unpack(engine, order["path"], order["project"], order["key"])).encode()
    except unpacking.BadArchive as fault:
        raise Refusal(422, "invalid", str(fault), "") from None


def _curves(connection: Connection, job_id: str) -> dict[str, Any]:
    columns = [("key", "string"), ("layer", "integer"), ("step", "integer"), ("value", "number")]
    rows = [
        [points.key, points.layer, step, value if math.isfinite(value) else None]
        for _, points in series.read(connection, [job_id], max_points=CURVE_POINTS)
        for step, value in zip(points.steps.tolist(), points.values.tolist(), strict=True)
    ]
    return {"columns": [{"name": name, "type": kind, "unit": None} for name, kind in columns], "rows": rows}


def _rendered(drawn: dict[str, Any], form: str) -> bytes:
    if form == "json":
        return json.dumps(drawn, allow_nan=False).encode()
    import vl_convert

    if form == "svg":
        return str(vl_convert.vegalite_to_svg(drawn)).encode()
    if form == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(drawn))
    return bytes(vl_convert.vegalite_to_png(drawn, scale=PNG_SCALE))


ORDERS: Mapping[str, Callable[[Engine, Mapping[str, Any]], bytes]] = {
    "figure": figure,
    "compare": compare,
    "dataset": dataset,
    "archive": archive,
}


def serve(source: BinaryIO, sink: BinaryIO, engine: Engine) -> None:
    """Answer orders until the source ends."""
    while len(head := source.read(FRAME.size)) == FRAME.size:
        size, _ = FRAME.unpack(head)
        header, content = _answer(engine, json.loads(source.read(size)))
        line = json.dumps(header).encode()
        sink.write(FRAME.pack(len(line), len(content)) + line + content)
        sink.flush()


def _answer(engine: Engine, order: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        content = ORDERS[order["op"]](engine, order)
    except Refusal as refusal:
        return {"problem": refusal.fields}, b""
    except MemoryError:
        says = "it does not fit in the memory that is there for it"
        return {"problem": Refusal(422, "memory", says).fields, "tired": True}, b""
    except Exception as fault:  # noqa: BLE001 - whatever went wrong, the API must get an answer
        print(f"order {order.get('op')} failed: {type(fault).__name__}: {fault}", file=sys.stderr)
        says = f"this could not be made: {type(fault).__name__}"
        return {"problem": Refusal(500, "internal", says).fields}, b""
    return {"tired": _resident_bytes() > TIRED_BYTES}, content


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - a kernel's file, not the user's
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> None:
    """Keep stdout for answers alone: whatever a library prints goes to stderr."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(5)
    engine = connect(Config.from_env(), pool_size=1, max_overflow=0, name="bfc-renderer")
    serve(sys.stdin.buffer, sink, engine)


if __name__ == "__main__":
    main()
