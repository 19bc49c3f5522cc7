"""Comparisons of stored features, in the rendering child: numpy alone, no forward pass."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


#: what the layers of recently compared snapshots hold at most, so that another question of them is arithmetic alone
KEPT_BYTES = 96 << 20


class Incomparable(ValueError):
    """Why these snapshots cannot be compared so; `pointer` names the field of the body."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Layers:
    """The stored layers of one snapshot, read when they are asked for: names of layers, and of the tensors that keep them.

    A layer is its features (n, d), or its Gram matrix (n, n).
    """

    id: str
    connection: Connection
    names: tuple[str, ...]
    chosen: tuple[tuple[str, bool], ...]
    tensors: Mapping[str, int]
    samples: int

    def ordered(self) -> Layers:
        """The same layers in the order of their numbers."""
        order = sorted(range(len(self.names)), key=lambda at: int(self.names[at]))
        names, chosen = [self.names[at] for at in order], [self.chosen[at] for at in order]
        return replace(self, names=tuple(names), chosen=tuple(chosen))

    def arrays(self) -> list[Any]:
        """Each layer (n, …) as (n, d), as it is stored."""
        found = self._loaded(name for name, _ in self.chosen)
        return [found[name].reshape(len(found[name]), -1) for name, _ in self.chosen]

    def features(self) -> list[Any]:
        """Features of every layer in double precision; a Gram matrix gives them up to a rotation."""
        wide = (np.asarray(array, np.float64) for array in self.arrays())
        return [_rooted(a) if gram else a for a, (_, gram) in zip(wide, self.chosen, strict=True)]

    def labels(self) -> Any:
        """The labels kept beside the features, if any."""
        return self._loaded(["labels"])["labels"] if "labels" in self.tensors else None

    def stack(self) -> Stack:
        """The layers for CKA, by Gram matrices if one of them is."""
        arrays, grams = self.arrays(), [gram for _, gram in self.chosen]
        if not any(grams):
            return Stack.of_features(arrays)
        wide = [np.asarray(array, np.float64) for array in arrays]
        return Stack.of_grams([a if gram else a @ a.T for a, gram in zip(wide, grams, strict=True)])

    def _loaded(self, names: Iterable[str]) -> dict[str, Any]:
        wanted = {name: self.tensors[name] for name in names}
        return {name: tensor.numpy() for name, tensor in tensors.load(self.connection, wanted).items()}


@dataclass(slots=True)
class Kept:
    """Stacks of recently compared snapshots, by the tensors that they are of; the longest unused leave first."""

    stacks: OrderedDict[tuple[int, ...], Stack] = field(default_factory=OrderedDict)

    def of(self, layers: Layers) -> Stack:
        """The stack of `layers`, made unless it is kept."""
        key = _key(layers)
        if key not in self.stacks:
            self.stacks[key] = layers.stack()
        self.stacks.move_to_end(key)
        return self.stacks[key]

    def keep(self, layers: Layers, stack: Stack) -> None:
        """Keeps the form in which a stack was compared, and no more than `KEPT_BYTES` in all."""
        self.stacks[_key(layers)] = stack
        while sum(one.bytes for one in self.stacks.values()) > KEPT_BYTES:
            self.stacks.popitem(last=False)


def _key(layers: Layers) -> tuple[int, ...]:
    return tuple(layers.tensors[name] for name, _ in layers.chosen)


_KEPT = Kept()


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
    rows = snapshots.listing(connection, id_)
    ids = {row["name"]: row["id"] for row in rows}
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
    first = next(iter(chosen.values()))[0]
    samples = next(row["shape"][0] for row in rows if row["name"] == first)
    return Layers(id_, connection, tuple(chosen), tuple(chosen.values()), ids, samples)


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
        here, there = found[at].samples, found[0].samples
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
        values = _aligned(first, second, debiased=kind == "cka")
    else:
        values = MEASURES[kind].pairs(first.features(), second.features())
    return {
        "first": first.id,
        "second": second.id,
        "rows": first.names,
        "columns": second.names,
        **_told(values),
    }


def _aligned(first: Layers, second: Layers, *, debiased: bool) -> list[list[Any]]:
    """CKA of all pairs, from the layers in the order of their numbers whatever order is asked for."""
    rows, columns = first.ordered(), second.ordered()
    x, y = _KEPT.of(rows), _KEPT.of(columns)
    x, y = x.comparable(y), y.comparable(x)
    _KEPT.keep(rows, x)
    _KEPT.keep(columns, y)
    values = cka_pairs(x, y, debiased=debiased)
    at = {name: i for i, name in enumerate(rows.names)}, {name: i for i, name in enumerate(columns.names)}
    return [[values[at[0][row]][at[1][column]] for column in second.names] for row in first.names]


def _probed(layers: Layers, at: int) -> dict[str, Any]:
    labels = layers.labels()
    if labels is None:
        raise Incomparable(f"/snapshots/{at}", f"{layers.id} keeps no labels beside its features")
    values = [[ridge_accuracy(z, labels)] for z in layers.features()]
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


def _rooted(gram: Any) -> Any:
    """Features (n, r) whose Gram matrix is `gram` (n, n)."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])
