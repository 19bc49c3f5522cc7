"""Every word of the language with its schema, documentation, source and example."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from bfc_core.specs import baseline, data, job, model, optimizer, probe, schedule, study
from bfc_core.specs.scalars import Spec


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
