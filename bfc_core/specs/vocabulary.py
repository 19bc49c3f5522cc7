"""Every word of the language with its schema, documentation, source and example."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from bfc_core.specs import baseline, data, job, model, optimizer, probe, schedule, study
from bfc_core.specs.scalars import Spec
from bfc_core.specs.series import ALWAYS, Series


def words() -> Iterator[tuple[str, str, type[Spec]]]:
    """Every word as (part, kind, class)."""
    unions = {
        "data": data.DataSpec,
        "model": model.ModelSpec,
        "schedule": schedule.ScheduleSpec,
        "optimizer": optimizer.OptimizerSpec,
        "probe": probe.ProbeKind,
        "baseline": baseline.BaselineKind,
        "study": study.StudySpec,
    }
    for part, union in unions.items():
        for word in get_args(get_args(union)[0]):
            yield part, word.model_fields["kind"].default, word
    for kind, word in job.JOBS.items():
        yield "job", kind, word


def series() -> Iterator[tuple[str | None, Series]]:
    """Every series as (the probe that reports it, its name, unit and meaning)."""
    yield from ((None, one) for one in ALWAYS)
    for part, kind, word in words():
        if part == "probe" and issubclass(word, probe.Probe):
            yield from ((kind, one) for one in word.readings)


@cache
def _units() -> dict[str, str | None]:
    return {one.stem: one.unit for _, one in series()}


def unit_of(key: str) -> str | None:
    """The unit of a series by its key, `captured/3` as `captured`; None where the data decides."""
    return _units().get(key.partition("/")[0])


def entry(part: str, kind: str, word: type[Spec]) -> dict[str, Any]:
    """One word as `GET /v1/catalog` shows it."""
    doc = inspect.cleandoc(word.__doc__ or "")
    title = doc.split(". ")[0].split("\n")[0].rstrip(".")
    example = word.example()
    return {
        "part": part,
        "kind": kind,
        "title": title,
        "doc": doc,
        "source": word.source,
        "schema": word.model_json_schema(mode="validation"),
        "example": example,
    }


def catalog() -> list[dict[str, Any]]:
    """Every word, and the learners that studies can name."""
    found = [entry(part, kind, word) for part, kind, word in words()]
    for name, (group, spec) in baseline.LEARNERS.items():
        found.append(
            {
                "part": "learner",
                "kind": name,
                "title": f"{name} ({group})",
                "doc": inspect.cleandoc(type(spec).__doc__ or ""),
                "source": type(spec).source,
                "schema": type(spec).model_json_schema(mode="validation"),
                "example": spec.model_dump(mode="json"),
                "group": group,
            }
        )
    return found
