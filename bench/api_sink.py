"""How many points a second the worker's sink stores, from a child's bytes to the committed rows."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

from sqlalchemy import Engine, text

from bfc_core.records import Checkpoint, Metric
from store.claims import Claimed
from worker import wire
from worker.sink import Held, Sink
from worker.spool import Spool

SERIES = 20


def child_bytes(points: int) -> bytes:
    """What a child says that tells `points` points of several series, step by step, as the engine does."""
    stream = io.BytesIO()
    out = wire.Outgoing(stream)
    for step in range(points // SERIES):
        for layer in range(SERIES):
            out.put(0, Metric(step, "feature_error", 1.0 / (1 + step) + layer, layer=layer))
    out.put(0, Checkpoint(points // SERIES, {}, {"stage": 0, "step": points // SERIES}))
    wire.write(stream, wire.Frame({"t": "end", "how": "done"}))
    return stream.getvalue()


def points_per_second(engine: Engine, claimed: Claimed, mark: int, points: int) -> float:
    """The rate at which `claimed` gets its points, the last of them committed."""
    stream = io.BytesIO(child_bytes(points))
    before = _stored(engine, claimed.id)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), 1 << 30)
        sink = Sink(engine, spool, {0: Held(claimed, mark)}, lambda: None)
        started = time.perf_counter()
        while (frame := wire.read(stream)) is not None:
            spool.put(frame)
        spool.end()
        if not sink.join(300):
            raise TimeoutError("the sink did not end")
        took = time.perf_counter() - started
    stored = _stored(engine, claimed.id) - before
    if stored != points // SERIES * SERIES:
        raise ValueError(f"{stored} of {points} points were stored")
    return stored / took


def _stored(engine: Engine, job_id: str) -> int:
    with engine.connect() as connection:
        query = text("SELECT coalesce(sum(points), 0) FROM series_chunks WHERE job_id = :job")
        return int(connection.execute(query, {"job": job_id}).scalar_one())
