"""Comparisons of stored features, in the rendering child: numpy alone, no forward pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
from sqlalchemy import Connection

from bfc_core.measures import MEASURES, Stack, Undefined, cka_pairs, ridge_accuracy
from store import snapshots, tensors

#: probe of the labels kept beside the features, one number a layer
LINEAR = "linear"
DIRECTED = ("ridge", "pwcca")
_LAYER = re.compile(r"(?:(?P<form>features|gram)/)?(?P<layer>z?\d+)")


class Incomparable(ValueError):
    """Why these snapshots cannot be compared so; `pointer` names the field of the body."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Layers:
    """The stored layers of one snapshot: features (n, d) by name, or Gram matrices (n, n)."""

    id: str
    names: tuple[str, ...]
    arrays: tuple[Any, ...]
    gram: tuple[bool, ...]
    labels: Any

    def features(self) -> list[Any]:
        """Features of every layer; a Gram matrix gives them up to a rotation."""
        return [_rooted(a) if gram else a for a, gram in zip(self.arrays, self.gram, strict=True)]

    def stack(self) -> Stack:
        """The layers for CKA, by Gram matrices if one of them is."""
        if not any(self.gram):
            return Stack.of_features(self.arrays)
        return Stack.of_grams(
            [a if gram else a @ a.T for a, gram in zip(self.arrays, self.gram, strict=True)]
        )


def compare(connection: Connection, order: Mapping[str, Any]) -> dict[str, Any]:
    """`{"items": […]}` for `{"project", "snapshots", "layers", "kind"}`."""
    kind, wanted = order["kind"], order["layers"]
    found = [
        _load(connection, order["project"], id_, at, wanted) for at, id_ in enumerate(order["snapshots"])
    ]
    _check_same_inputs(connection, order["project"], order["snapshots"], found)
    if kind == LINEAR:
        return {"items": [_probed(layers, at) for at, layers in enumerate(found)]}
    pairs = list(product(found, found) if kind in DIRECTED else combinations_with_replacement(found, 2))
    if len(found) > 1:
        pairs = [(first, second) for first, second in pairs if first is not second]
    return {"items": [_compared(kind, first, second) for first, second in pairs]}


def _load(connection: Connection, project: str, id_: str, at: int, wanted: Sequence[str] | None) -> Layers:
    snapshots.get(connection, project, id_)
    ids = {row["name"]: row["id"] for row in snapshots.listing(connection, id_)}
    chosen = {match["layer"].lstrip("z"): (name, match["form"] == "gram") for name, match in _layers(ids)}
    if wanted is not None:
        missing = [layer for layer in wanted if layer not in chosen]
        if missing:
            raise Incomparable(
                "/layers", f"{id_} keeps no layer {missing[0]!r}; accepted: {', '.join(chosen)}"
            )
        chosen = {layer: chosen[layer] for layer in wanted}
    if not chosen:
        raise Incomparable(f"/snapshots/{at}", f"{id_} keeps no features; a snapshot of kind `features` does")
    names = [name for name, _ in chosen.values()] + (["labels"] if "labels" in ids else [])
    loaded = {n: t.numpy() for n, t in tensors.load(connection, {n: ids[n] for n in names}).items()}
    arrays = tuple(_flat(loaded[name]) for name, _ in chosen.values())
    return Layers(
        id_, tuple(chosen), arrays, tuple(gram for _, gram in chosen.values()), loaded.get("labels")
    )


def _layers(ids: Mapping[str, int]) -> list[tuple[str, re.Match[str]]]:
    matches = ((name, _LAYER.fullmatch(name)) for name in ids)
    found = [(name, match) for name, match in matches if match is not None]
    return sorted(found, key=lambda pair: int(pair[1]["layer"].lstrip("z")))


def _check_same_inputs(
    connection: Connection, project: str, ids: Sequence[str], found: Sequence[Layers]
) -> None:
    """Features are comparable only on equal inputs: of one number, and where they are kept or named, the same."""
    marks = [_inputs(connection, project, id_) for id_ in ids]
    for at in range(1, len(found)):
        here, there = len(found[at].arrays[0]), len(found[0].arrays[0])
        if here != there:
            raise Incomparable(
                f"/snapshots/{at}", f"{here} inputs against {there} of the first; they must be the same"
            )
        if marks[at] != marks[0]:
            raise Incomparable(f"/snapshots/{at}", "its features are of other inputs than those of the first")


def _inputs(connection: Connection, project: str, id_: str) -> str:
    """What names the inputs of a feature snapshot: the kept inputs' hash, or the hash its maker wrote."""
    for row in snapshots.listing(connection, id_):
        if row["name"] == "u":
            return bytes(row["hash"]).hex()
    return str(snapshots.get(connection, project, id_)["meta"].get("anchors", ""))


def _compared(kind: str, first: Layers, second: Layers) -> dict[str, Any]:
    if kind in ("cka", "cka_biased"):
        values = cka_pairs(first.stack(), second.stack(), debiased=kind == "cka")
    else:
        values = MEASURES[kind].pairs(first.features(), second.features())
    return {
        "first": first.id,
        "second": second.id,
        "rows": first.names,
        "columns": second.names,
        **_told(values),
    }


def _probed(layers: Layers, at: int) -> dict[str, Any]:
    if layers.labels is None:
        raise Incomparable(f"/snapshots/{at}", f"{layers.id} keeps no labels beside its features")
    values = [[ridge_accuracy(z, layers.labels)] for z in layers.features()]
    return {
        "first": layers.id,
        "second": None,
        "rows": layers.names,
        "columns": ("accuracy",),
        **_told(values),
    }


def _told(values: Sequence[Sequence[Any]]) -> dict[str, Any]:
    reasons = [
        {"row": i, "column": j, "reason": value.reason}
        for i, row in enumerate(values)
        for j, value in enumerate(row)
        if isinstance(value, Undefined)
    ]
    plain = [[None if isinstance(value, Undefined) else float(value) for value in row] for row in values]
    return {"values": plain, "undefined": reasons}


def _flat(array: Any) -> Any:
    """(n, …) as (n, d), in double precision."""
    return np.asarray(array, np.float64).reshape(len(array), -1)


def _rooted(gram: Any) -> Any:
    """Features (n, r) whose Gram matrix is `gram` (n, n)."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])
