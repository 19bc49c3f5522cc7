"""Pydantic's complaints as faults with JSON pointers, told in words that say what is accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from api.problems import Fault, nearest, pointer
from bfc_core.specs.errors import MOST

#: Where FastAPI says a value came from.
_PLACES = {"body": "body", "query": "query", "path": "path", "header": "header", "cookie": "header"}


#: what is said instead of a pattern
_SPOKEN = {
    "cursor": "`next` of the page before",
    "rows": "a:b of the first axis, as in Python",
    "Idempotency-Key": "1 to 200 printable ASCII characters without spaces",
}


def faults_of(errors: Iterable[Mapping[str, Any]], model: object = None) -> list[Fault]:
    """The faults of FastAPI's or pydantic's `errors()`; `model` (the body's) names what is accepted."""
    found: dict[tuple[str, str], Fault] = {}
    telling = list(errors)
    for error in telling[:MOST]:
        location = tuple(error["loc"])
        place = _PLACES.get(str(location[0]), "body") if location else "body"
        path = location[1:] if location and location[0] in _PLACES else location
        fault = Fault(pointer(path), _says(error, path, model), place)
        found.setdefault((place, fault.pointer), fault)
    if len(telling) > MOST:
        says = f"{len(telling) - MOST:,} more faults like these are not listed"
        found.setdefault(("body", ""), Fault("", says))
    return list(found.values())


def _says(error: Mapping[str, Any], path: Sequence[str | int], model: object) -> str:
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden" and path:
        return f"unknown field {str(path[-1])[:80]!r}; {nearest(str(path[-1]), _fields(model, path[:-1]))}"
    if kind == "missing":
        return "this field is required" if path else "a JSON object is required"
    if kind == "string_pattern_mismatch" and path and path[-1] in _SPOKEN:
        return f"got {str(error.get('input'))[:60]!r}; accepted: {_SPOKEN[path[-1]]}"
    if kind == "value_error":
        return f"{error['ctx']['error']}; got {str(error.get('input'))[:60]!r}"
    given = error.get("input")
    if kind in ("too_short", "too_long"):
        bound = "at least {min_length}" if kind == "too_short" else "at most {max_length}"
        noun = "characters" if isinstance(given, str) else "entries"
        return f"got {len(given or ()):,} {noun}; accepted: {bound.format(**error['ctx'])}"
    shown = repr(given) if isinstance(given, str | int | float | bool | type(None)) else type(given).__name__
    return f"{message[:1].lower()}{message[1:]}; got {shown[:80]}"


def _fields(model: object, path: Sequence[str | int]) -> list[str]:
    """The field names of the model that stands at `path` below `model`."""
    current = model
    for part in path:
        fields = getattr(_model_in(current), "model_fields", {})
        current = fields[part].annotation if part in fields else current
    return [field.alias or name for name, field in getattr(_model_in(current), "model_fields", {}).items()]


def _model_in(annotation: object) -> object:
    """The first model inside an annotation such as `list[Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
