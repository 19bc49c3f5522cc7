"""JSON bodies, read strictly: bounded in bytes and depth, no name twice, text that can be stored.

Python's own parser keeps the last of two equal names and recurses until it falls.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from api.problems import Fault, Refused, malformed, pointer

JSON_LIMIT_BYTES = 1 << 20
DEPTH_LIMIT = 64


def parse_json(raw: bytes) -> Any:
    """The value that `raw` spells.

    Raises a 400 Problem where it is not JSON, and a 422 with a pointer to each text that Postgres cannot keep.
    `NaN` and numbers beyond a double pass: the models refuse them with all other faults of the body.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as fault:
        raise malformed(f"the body is not UTF-8: byte {fault.start} ({fault.reason})") from None
    except json.JSONDecodeError as fault:
        place = f"line {fault.lineno} column {fault.colno}"
        raise malformed(f"the body is not JSON: {fault.msg} at {place}") from None
    except RecursionError:
        raise malformed(f"the body is nested deeper than {DEPTH_LIMIT} levels") from None
    except ValueError:
        raise malformed("the body holds an integer of thousands of digits, which is not read") from None
    _check(value)
    return value


def canonical(value: Any) -> bytes:
    """One spelling for equal values: sorted names, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """The hash by which two bodies are told the same."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names: set[str] = set()
        twice = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
        raise malformed(f"the name {twice[:80]!r} stands twice in one object")
    return found


def _check(value: Any) -> None:
    """Walk the value without recursion and refuse all that is wrong in it at once."""
    faults: list[Fault] = []
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while stack and len(faults) < 20:
        node, path = stack.pop()
        if len(path) > DEPTH_LIMIT:
            raise malformed(f"the body is nested deeper than {DEPTH_LIMIT} levels")
        if isinstance(node, dict):
            faults += [Fault(pointer(path), "a name " + _UNSTORABLE) for name in node if _unstorable(name)]
            stack.extend((inner, (*path, name)) for name, inner in node.items())
        elif isinstance(node, list):
            stack.extend((inner, (*path, index)) for index, inner in enumerate(node))
        elif isinstance(node, str) and _unstorable(node):
            faults.append(Fault(pointer(path), "text " + _UNSTORABLE))
    if faults:
        raise Refused(faults)


_UNSTORABLE = "may not hold NUL or a lone surrogate"


def _unstorable(text: str) -> bool:
    return (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)) or "\x00" in text
