"""Faults in a spec: each with a JSON pointer and words that say what is accepted.

SpecError(ValueError)    a body that is not a spec; carries every fault found
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

MOST = 200
"""Faults that are told of one body; more are counted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place of the body, and what is accepted there."""

    pointer: str
    detail: str


class SpecError(ValueError):
    """A body that is not a spec."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.detail}" for fault in faults))


def escape(name: object) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def nearest(name: str, accepted: list[str]) -> str:
    """` (did you mean …?)` when one accepted name is close, else nothing."""
    close = difflib.get_close_matches(name, accepted, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def faults_of(error: ValidationError, body: Any, root: type[BaseModel] | None = None) -> tuple[Fault, ...]:
    """Every fault of a failed validation, one a place, pointers relative to `body`; of very many, the first `MOST`."""
    found: dict[str, list[str]] = {}
    items = [(_pointer(item["loc"], body, missing=item["type"] == "missing"), item)
             for item in error.errors(include_url=False)]  # fmt: skip
    above = {pointer[:end] for pointer, _ in items for end in _ends(pointer)}
    telling = [(pointer, item) for pointer, item in items if not _follows(item, pointer, above)]
    for pointer, item in telling[:MOST]:
        if item["type"] == "faults":
            for fault in item["ctx"]["faults"]:
                found.setdefault(pointer + fault["pointer"], []).append(fault["detail"])
            continue
        found.setdefault(pointer, []).append(_detail(item, root))
    faults = [Fault(pointer, _joined(details)) for pointer, details in found.items()]
    if len(telling) > MOST:
        faults.append(Fault("", f"{len(telling) - MOST:,} more faults like these are not listed"))
    return tuple(faults)


def _ends(pointer: str) -> Iterator[int]:
    """Where each place above this one ends."""
    return (index for index, letter in enumerate(pointer) if letter == "/")


def _follows(item: Any, pointer: str, above: set[str]) -> bool:
    """Whether a fault only follows from another one, which says more.

    Defaults that hang on a faulty field; a list that pydantic counts without its faulty entries; and the other type that a
    union takes, where the fault lies deeper in the value.
    """
    kind = item["type"]
    deeper = pointer in above
    return kind == "default_factory_not_called" or (
        deeper and (kind in _TYPES or (kind == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]))
    )


def _joined(details: list[str]) -> str:
    """One sentence for all members of a union: `'x'; accepted: an integer, or fresh`."""
    different = list(dict.fromkeys(details))
    heads = {detail.partition("; accepted: ")[0] for detail in different}
    if len(different) > 1 and all("; accepted: " in detail for detail in different):
        head = max(heads, key=len)
        return f"{head}; accepted: " + ", or ".join(
            detail.partition("; accepted: ")[2] for detail in different
        )
    return "; or ".join(different)


def _pointer(loc: tuple[int | str, ...], body: Any, *, missing: bool) -> str:
    """The pointer into `body`; skips pydantic's union tags, which are no part of it."""
    pointer, node = "", body
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(node, dict) and step in node and step != "[key]":
            node = node[str(step)]
        elif isinstance(node, list | tuple) and isinstance(step, int) and step < len(node):
            node = node[step]
        elif not (missing and last):
            continue
        pointer += "/" + escape(step)
    return pointer


_TYPES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
    "finite_number": "a finite number",
}


#: what is said instead of a pattern
_PATTERNS = {
    r"^(auto|cpu|cuda(:[0-9]{1,2})?)$": "auto, cpu, cuda or cuda:N",
    r"^job_[0-9a-z]{10,40}$": "the id of a job, job_…",
    r"^snap_[0-9a-z]{10,40}$": "the id of a snapshot, snap_…",
    r"^ds_[0-9a-z]{10,40}$": "the id of a data set, ds_…",
}


def _shown(value: Any) -> str:
    """The value as its JSON reads; text in single quotes, as in the rest of a sentence."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _detail(item: Any, root: type[BaseModel] | None) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item.get("input")
    if kind == "missing":
        return "is missing; this field is required"
    if kind == "extra_forbidden":
        name = str(item["loc"][-1])
        accepted = sorted({field for model in _around(item["loc"], root) for field in model.model_fields})
        others = ", ".join(kind for kind, model in _kinds(item["loc"][:-2], root).items() if name in model.model_fields)
        elsewhere = f"; a field of the kind {others}" if others else ""
        listed = f"; accepted: {', '.join(accepted)}" if accepted else ""
        return f"unknown field {name[:80]!r}{nearest(name, accepted)}{elsewhere}{listed}"
    if kind == "union_tag_invalid":
        accepted = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"kind {_shown(context['tag'])} is unknown{nearest(str(context['tag']), accepted)}; accepted: {', '.join(accepted)}"
    if kind == "union_tag_not_found":
        kinds = ", ".join(_kinds(item["loc"], root)) or "a kind of the catalog"
        return (
            f"kind is missing; accepted: {kinds}"
            if isinstance(value, dict)
            else f"{_shown(value)}; accepted: an object with a kind: {kinds}"
        )
    if kind == "literal_error":
        accepted = [tag.strip(" '") for tag in context["expected"].replace(" or ", ", ").split(",")]
        return f"{_shown(value)}{nearest(str(value), accepted)}; accepted: {context['expected'].replace(chr(39), '')}"
    bounds = {
        "greater_than_equal": ("ge", "at least"),
        "greater_than": ("gt", "above"),
        "less_than_equal": ("le", "at most"),
        "less_than": ("lt", "below"),
    }
    if kind in bounds:
        name, words = bounds[kind]
        return f"{_shown(value)}; accepted: {words} {context[name]}"
    if kind in _TYPES:
        return f"{_shown(value)}; accepted: {_TYPES[kind]}"
    if kind in ("too_short", "too_long"):
        words = (
            f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        )
        return f"{context['actual_length'] or len(value):,} entries; accepted: {words}"
    if kind in ("string_too_long", "string_too_short"):
        words = (
            f"at most {context['max_length']}"
            if kind == "string_too_long"
            else f"at least {context['min_length']}"
        )
        return f"{_shown(value)}; accepted: {words} characters"
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)}; accepted: {_PATTERNS.get(context['pattern'], 'text matching ' + context['pattern'])}"
    return f"{_shown(value)}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _around(loc: tuple[int | str, ...], root: type[BaseModel] | None) -> list[type[BaseModel]]:
    """The models that may stand where the last step of `loc` is a field, found by walking down from the root."""
    models = [root] if root is not None else []
    for step in loc[:-1]:
        following: list[type[BaseModel]] = []
        for model in models:
            field = model.model_fields.get(str(step))
            if field is not None:
                following += _models(field.annotation)
            elif _kind(model) == step or isinstance(step, int):
                following.append(model)
        models = following or [model for model in models if model.__name__ == step] or models
    return models


def _kinds(loc: tuple[int | str, ...], root: type[BaseModel] | None) -> dict[str, type[BaseModel]]:
    """The models of the union at `loc`, by their kind."""
    models = _around((*loc, ""), root)
    return {kind: model for model in models if (kind := _kind(model)) is not None}


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return field.default if field is not None and isinstance(field.default, str) else None
