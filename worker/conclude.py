"""Concludes a study: its members' results in, its tables, statistics and claims out. Torch-free and short."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import DBAPIError

from bfc_core import specs, studies
from store import claims, endings, results, series
from store.config import Config
from store.engine import is_outage, transact

log = logging.getLogger(__name__)


def conclude(engine: Engine, config: Config, study: Row[Any]) -> None:
    """Writes the study's result, or why there is none, under the lease that `study` was claimed with."""
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(engine, config, study, done), name="beat", daemon=True)
    beat.start()
    try:
        ending = _ending(engine, study)
    finally:
        done.set()
        beat.join()
    states = transact(engine, lambda connection: endings.end(connection, [ending]))
    log.info("%s: concluded → %s", study.id, states.get(study.id, "not ours any more"))


def _ending(engine: Engine, study: Row[Any]) -> endings.Ending:
    try:
        with engine.begin() as connection:
            rows = results.of_members(connection, study.id)
        outcomes = {row.member_key: _outcome(engine, row) for row in rows}
        result = studies.conclude(specs.load(study.kind, study.spec), outcomes)
        return endings.Ending(study.id, study.epoch, "succeeded", result=result)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_outage(error):
            # No fault of the study's: its lease lapses, and it is concluded again.
            raise
        log.exception("the study %s could not be concluded", study.id)
        said = {
            "code": "conclude_failed",
            "message": f"its tables could not be made: {type(error).__name__}: {error}"[:2000],
            "hint": "POST …/retry concludes it again; its members keep their results",
        }
        return endings.Ending(
            study.id, study.epoch, "failed", error=said, detail={"trace": traceback.format_exc()[-8000:]}
        )


def _outcome(engine: Engine, row: Any) -> studies.Outcome:
    return studies.Outcome(
        key=row.member_key,
        state=row.state,
        summary=row.summary,
        tables=row.tables,
        error=row.error,
        series=_series(engine, row.id),
    )


def _series(engine: Engine, job_id: str) -> Callable[[Sequence[str]], Iterable[Mapping[str, Any]]]:
    """Reads a member's series when, and only when, the study asks for it."""

    def read(keys: Sequence[str]) -> list[Mapping[str, Any]]:
        def work(connection: Connection) -> list[tuple[str, series.Points]]:
            return series.read(connection, [job_id], keys=keys)

        return [
            {"key": one.key, "layer": one.layer, "steps": one.steps.tolist(), "values": one.values.tolist()}
            for _, one in transact(engine, work)
        ]

    return read


def _beat(engine: Engine, config: Config, study: Row[Any], done: threading.Event) -> None:
    """Keeps the lease while the tables are made; a lost one shows when the result is refused."""
    while not done.wait(config.heartbeat_seconds):
        try:
            transact(
                engine,
                lambda connection: claims.renew(connection, study.id, study.epoch, config.lease_seconds),
            )
        except Exception as error:  # noqa: BLE001  the lease tells, not this thread
            log.warning("a beat was missed: %s", error)
