"""A worker on paper: it claims a job and writes what the API is to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from bfc_core.records import Column, Result, Table, Tensor
from store import claims, series, snapshots, tensors
from store.engine import transact
from tests.ledger import Ledger

TABLE = Table(
    (Column("name", "string", None), Column("value", "number", "seconds")),
    (("a", 1.5), ("=b,c", None), ("d", 2.0)),
)
RESULT = Result({"relative_test_error": 0.25}, {"runs": TABLE})


class Works(Ledger):
    """A ledger whose jobs are done at once."""

    def __init__(self, engine: Engine, project: str) -> None:
        self.engine = engine
        self.project = project

    def claimed(self, job_id: str) -> claims.Claimed:
        """The job, claimed by a new worker; others in the queue are put back by nobody, so claim in order."""
        for _ in range(50):
            for one in self.claim():
                if one.id == job_id:
                    return one
        raise AssertionError(f"{job_id} was not to be claimed")

    def succeed(self, job_id: str, result: Result = RESULT) -> None:
        """Claims the job, writes a result and ends it."""
        one = self.claimed(job_id)
        self.end(one, "succeeded", result=result)

    def fail(self, job_id: str) -> None:
        """Claims the job and ends it as diverged."""
        self.end(self.claimed(job_id), "failed", error={"code": "diverged", "message": "it diverged"})

    def points(
        self, one: claims.Claimed, key: str, values: Any, layer: int | None = None, mark: int = 1
    ) -> None:
        """Adds a series to a claimed job."""
        array = np.asarray(values, np.float64)
        batch = series.Batch(one.id, one.epoch, mark)
        batch.points.append(series.Points(key, layer, None, np.arange(len(array)), array))
        self.run(series.write, [batch])

    def tell(self, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Writes one event."""
        self.run(claims.tell, [(job_id, kind, data)])

    def snapshot(
        self, one: claims.Claimed, /, kind: str = "weights", step: int = 1, meta: Any = None, **arrays: Any
    ) -> str:
        """Keeps a snapshot of a claimed job; its id."""
        packed = {
            name: tensors.pack(array if isinstance(array, Tensor) else Tensor.of(array))
            for name, array in arrays.items()
        }
        state = {"stage": 0} if kind == "checkpoint" else None
        fresh = snapshots.Fresh(self.project, one.id, one.epoch, step, step, kind, meta or {}, packed, state)

        def work(connection: Connection) -> str:
            return snapshots.write(connection, [fresh])[0]

        return transact(self.engine, work)
