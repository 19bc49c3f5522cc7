"""`--set path=value`: one change to a spec before it is sent."""

from __future__ import annotations

import json
from typing import Any

from bfc_client.errors import BfcError


def apply(document: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The document with each `a.b.0.c=value` set. Values are JSON; what is no JSON is a string.

    Missing objects on the way are made; a list's index must exist. Raises BfcError for a path that cannot be.
    """
    changed: dict[str, Any] = json.loads(json.dumps(document))
    for setting in settings:
        path, found, text = setting.partition("=")
        if not found or not path:
            raise BfcError(f"--set {setting}: write path=value, for instance spec.seed=3")
        _set(changed, path.split("."), _value(text), setting)
    return changed


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _set(place: Any, path: list[str], value: Any, setting: str) -> None:
    name, rest = path[0], path[1:]
    key: Any = name
    if isinstance(place, list):
        if not name.isdigit() or int(name) >= len(place):
            raise BfcError(f"--set {setting}: {name!r} is not one of the {len(place)} entries there")
        key = int(name)
    elif not isinstance(place, dict):
        raise BfcError(f"--set {setting}: there is nothing below a value before {name!r}")
    if not rest:
        place[key] = value
        return
    if isinstance(place, dict):
        place.setdefault(key, {})
    _set(place[key], rest, value, setting)
