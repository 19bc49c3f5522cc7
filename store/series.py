"""Metric series: many points a row, written in batches, read whole or down-sampled with their extremes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

Floats = np.ndarray[Any, np.dtype[np.float64]]
Steps = np.ndarray[Any, np.dtype[np.int64]]

# A told batch names at most so many points of one series; the series itself holds them all.
TOLD_POINTS = 1000
CHUNK_POINTS = 8192


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one series: `steps` (n,) rising, `values` (n,)."""

    key: str
    layer: int | None
    unit: str | None
    steps: Steps
    values: Floats


@dataclass(slots=True)
class Batch:
    """The points that one write of the sink adds to one job, in arrival order."""

    job_id: str
    epoch: int
    mark: int
    points: list[Points] = field(default_factory=list)


NAMES = text("""
    INSERT INTO series (job_id, key, layer, unit)
    SELECT * FROM unnest(CAST(:jobs AS text[]), CAST(:keys AS text[]), CAST(:layers AS int[]), CAST(:units AS text[]))
    ON CONFLICT (job_id, key, layer) DO NOTHING""")

# Which series they are, and how far each has been told in events.
FIND = text("""
    SELECT s.id, s.job_id, s.key, s.layer, s.told_step FROM series s
      JOIN unnest(CAST(:jobs AS text[]), CAST(:keys AS text[]), CAST(:layers AS int[])) AS n(job_id, key, layer)
        ON s.job_id = n.job_id AND s.key = n.key AND s.layer IS NOT DISTINCT FROM n.layer""")

WRITE = text("""
    INSERT INTO series_chunks (series_id, mark, job_id, epoch, first_step, last_step, points, point_steps, point_values)
    SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:marks AS bigint[]), CAST(:jobs AS text[]),
        CAST(:epochs AS bigint[]), CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[]), CAST(:counts AS int[]),
        CAST(:steps AS bytea[]), CAST(:values AS bytea[]))""")

TELL = text("""
    UPDATE series SET told_step = told.step FROM unnest(CAST(:ids AS bigint[]), CAST(:steps AS bigint[])) AS told(id, step)
     WHERE series.id = told.id AND series.told_step < told.step""")

READ = text("""
    SELECT s.job_id, s.key, s.layer, s.unit, c.point_steps, c.point_values
      FROM series s LEFT JOIN series_chunks c ON c.series_id = s.id
       AND c.last_step >= :from_step AND c.first_step <= :to_step
     WHERE s.job_id = ANY(:jobs) AND (CAST(:keys AS text[]) IS NULL OR s.key = ANY(:keys))
     ORDER BY array_position(:jobs, s.job_id), s.key, s.layer NULLS FIRST, c.mark""")

# Chunks of a few points each become rows of some thousands; marks keep their order.
COMPACT = text("""
    WITH old AS (DELETE FROM series_chunks WHERE job_id = :job AND points < :size RETURNING *),
    placed AS (SELECT old.*, (sum(points) OVER (PARTITION BY series_id ORDER BY mark)) / :size AS slab FROM old)
    INSERT INTO series_chunks (series_id, mark, job_id, epoch, first_step, last_step, points, point_steps, point_values)
    SELECT series_id, max(mark), job_id, :epoch, min(first_step), max(last_step), sum(points),
           string_agg(point_steps, '' ORDER BY mark), string_agg(point_values, '' ORDER BY mark)
      FROM placed GROUP BY series_id, job_id, slab""")


def write(connection: Connection, batches: Sequence[Batch]) -> dict[str, list[dict[str, Any]]]:
    """Adds the points of several jobs in three statements.

    Returns, for each job, what is new to its readers: points that no event has told yet. The caller puts
    them into an event. The database refuses a stale epoch.
    """
    flat = [(batch, points) for batch in batches for points in batch.points if len(points.steps)]
    if not flat:
        return {}
    names = {
        "jobs": [batch.job_id for batch, _ in flat],
        "keys": [points.key for _, points in flat],
        "layers": [points.layer for _, points in flat],
    }
    rows = connection.execute(FIND, names).all()
    if len(rows) < len(flat):
        connection.execute(NAMES, names | {"units": [points.unit for _, points in flat]})
        rows = connection.execute(FIND, names).all()
    known = {(row.job_id, row.key, row.layer): row for row in rows}
    found = [known[batch.job_id, points.key, points.layer] for batch, points in flat]
    connection.execute(
        WRITE,
        {
            "ids": [row.id for row in found],
            "marks": [batch.mark for batch, _ in flat],
            "jobs": names["jobs"],
            "epochs": [batch.epoch for batch, _ in flat],
            "firsts": [int(points.steps.min()) for _, points in flat],
            "lasts": [int(points.steps.max()) for _, points in flat],
            "counts": [len(points.steps) for _, points in flat],
            "steps": [points.steps.astype("<i8", copy=False).tobytes() for _, points in flat],
            "values": [points.values.astype("<f8", copy=False).tobytes() for _, points in flat],
        },
    )
    news: dict[str, list[dict[str, Any]]] = {}
    told: dict[int, int] = {}
    for row, (batch, points) in zip(found, flat, strict=True):
        fresh = points.steps > row.told_step
        if fresh.any():
            told[row.id] = int(points.steps.max())
            news.setdefault(batch.job_id, []).append(_spoken(points, fresh))
    if told:
        connection.execute(TELL, {"ids": list(told), "steps": list(told.values())})
    return news


def read(
    connection: Connection,
    job_ids: Sequence[str],
    *,
    keys: Sequence[str] | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
) -> list[tuple[str, Points]]:
    """The series of `job_ids` (which the caller has checked), each cut to the steps and thinned to `max_points`."""
    low = -(2**62) if from_step is None else from_step
    high = 2**62 if to_step is None else to_step
    rows = connection.execute(
        READ,
        {
            "jobs": list(job_ids),
            "keys": None if keys is None else list(keys),
            "from_step": low,
            "to_step": high,
        },
    )
    parts: dict[tuple[str, str, int | None, str | None], list[tuple[bytes, bytes]]] = {}
    for row in rows:
        found = parts.setdefault((row.job_id, row.key, row.layer, row.unit), [])
        if row.point_steps is not None:
            found.append((row.point_steps, row.point_values))
    series = []
    for (job_id, key, layer, unit), chunks in parts.items():
        steps = np.frombuffer(b"".join(chunk[0] for chunk in chunks), "<i8")
        values = np.frombuffer(b"".join(chunk[1] for chunk in chunks), "<f8")
        if from_step is not None or to_step is not None:
            inside = (steps >= low) & (steps <= high)
            steps, values = steps[inside], values[inside]
        if max_points is not None:
            kept = extremes(values, max_points)
            steps, values = steps[kept], values[kept]
        series.append((job_id, Points(key, layer, unit, steps, values)))
    return series


def extremes(values: Floats, most: int) -> Steps:
    """Rising indices of at most `most` ≥ 1 of the `values` (n,): both ends, and each bucket's least and greatest.

    A value that is not finite counts as an extreme, so that a divergence is never thinned away.
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    if most < 4:
        return np.unique(np.linspace(0, n - 1, most).astype(np.int64))
    ends = np.array([0, n - 1])
    inner = values[1:-1]
    buckets = (most - 2) // 2
    starts = (np.arange(buckets) * len(inner)) // buckets
    low = np.where(np.isfinite(inner), inner, -np.inf)
    high = np.where(np.isfinite(inner), inner, np.inf)
    kept = np.concatenate(
        [ends, 1 + _argbest(low, starts, np.minimum), 1 + _argbest(high, starts, np.maximum)]
    )
    return np.unique(kept)


def compact(connection: Connection, job_id: str, epoch: int) -> None:
    """Puts the many small rows of an ending job together; its readers see the same points."""
    connection.execute(COMPACT, {"job": job_id, "epoch": epoch, "size": CHUNK_POINTS})


def _argbest(values: Floats, starts: Steps, best: np.ufunc) -> Steps:
    """Index of each bucket's best value, the first of equals; buckets begin at `starts`."""
    tops = best.reduceat(values, starts)
    lengths = np.diff(np.append(starts, len(values)))
    hits = np.flatnonzero(values == np.repeat(tops, lengths))
    bucket = np.searchsorted(starts, hits, side="right") - 1
    _, first = np.unique(bucket, return_index=True)
    return hits[first].astype(np.int64)


def _spoken(points: Points, fresh: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    steps, values = points.steps[fresh], points.values[fresh]
    kept = extremes(values, TOLD_POINTS)
    said: Mapping[str, Any] = {
        "key": points.key,
        "layer": points.layer,
        "unit": points.unit,
        "steps": steps[kept].tolist(),
        # JSON has no word for them.
        "values": [value if math.isfinite(value) else None for value in values[kept].tolist()],
    }
    return {name: value for name, value in said.items() if value is not None}
