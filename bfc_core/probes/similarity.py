"""Similarity of a layer to itself at another time, or to every other layer: the measures of `bfc_core.measures`.

One definition serves training, stored snapshots and tests; features leave the device once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from bfc_core.measures import (
    Scalar,
    Stack,
    Undefined,
    cka,
    cka_pairs,
    effective_rank,
    procrustes,
    pwcca,
    subspace_angles,
    svcca,
)
from bfc_core.measures.undefined import Array
from bfc_core.probes.answers import reading
from bfc_core.probes.base import Reading, View, When
from bfc_core.probes.chosen import ROLE, chosen_layers
from bfc_core.registry import deed
from bfc_core.specs import probe as words

Measure = Callable[[Array, Array], Scalar]


@deed(words.Cka)
def read_cka(spec: words.Cka, view: View) -> Iterable[Reading]:
    """Readings `cka` (debiased, as the spec has it) and `cka_biased`."""
    for key, debiased in (("cka", True), ("cka_biased", False)):
        if debiased and not spec.debiased:
            continue
        if spec.against == "layers":
            yield from _all_pairs(key, debiased, spec, view)
        else:
            yield from _compared(key, partial(cka, debiased=debiased), spec, view)


def _all_pairs(key: str, debiased: bool, spec: words.Cka, view: View) -> Iterator[Reading]:
    """Every pair of layers from one product of all features of a member."""
    layers, features = chosen_layers(spec, view), view.features(view.inputs(ROLE, spec.inputs))
    arrays = [_arrays(features[layer]) for layer in layers]
    members = [Stack.of_features([layer[k] for layer in arrays]) for k in range(view.members)]
    found = [cka_pairs(member, member, debiased=debiased) for member in members]
    for i, layer in enumerate(layers):
        for j in range(i + 1, len(layers)):
            yield reading(f"{key}/{layers[j]}", [pairs[i][j] for pairs in found], layer)


@deed(words.Svcca)
def read_svcca(spec: words.Svcca, view: View) -> Iterable[Reading]:
    """Reading `svcca`."""
    return _compared("svcca", partial(svcca, keep=spec.variance), spec, view)


@deed(words.Pwcca)
def read_pwcca(spec: words.Pwcca, view: View) -> Iterable[Reading]:
    """Reading `pwcca`, weighted by the layer as it is now."""
    return _compared("pwcca", pwcca, spec, view)


@deed(words.Procrustes)
def read_procrustes(spec: words.Procrustes, view: View) -> Iterable[Reading]:
    """Reading `procrustes`: similarity in [0, 1]."""
    return _compared("procrustes", procrustes, spec, view)


@deed(words.SubspaceAngles)
def read_subspace_angles(spec: words.SubspaceAngles, view: View) -> Iterable[Reading]:
    """Readings `subspace_angle_largest` and `subspace_angle_mean` in radians, between the spans of the features."""

    def angle(x: Array, y: Array, reduce: Callable[[Array], Any]) -> Scalar:
        found = subspace_angles(x, y, rank=min(x.shape[1], y.shape[1]))
        return found if isinstance(found, Undefined) else float(reduce(found))

    yield from _compared("subspace_angle_largest", partial(angle, reduce=np.max), spec, view)
    yield from _compared("subspace_angle_mean", partial(angle, reduce=np.mean), spec, view)


@deed(words.EffectiveRank)
def read_effective_rank(spec: words.EffectiveRank, view: View) -> Iterable[Reading]:
    """Reading `effective_rank` by layer."""
    features = view.features(view.inputs(ROLE, spec.inputs))
    for layer in chosen_layers(spec, view):
        yield reading("effective_rank", [effective_rank(z) for z in _arrays(features[layer])], layer)


def _compared(key: str, measure: Measure, spec: words.Similarity, view: View) -> Iterator[Reading]:
    """The layer now with the layer then; or with each other layer now, under `key/layer`."""
    x = view.inputs(ROLE, spec.inputs)
    layers, now = chosen_layers(spec, view), view.features(x)
    if spec.against == "layers":
        for i, layer in enumerate(layers):
            for other in layers[i + 1 :]:
                yield reading(f"{key}/{other}", _each(measure, now[layer], now[other]), layer)
        return
    when: When = "init" if spec.against == "initial" else "before"
    then = view.features(x, when)
    for layer in layers:
        yield reading(key, _each(measure, now[layer], then[layer]), layer)


def _each(measure: Measure, y: Tensor, z: Tensor) -> list[Scalar]:
    return [measure(a, b) for a, b in zip(_arrays(y), _arrays(z), strict=True)]


def _arrays(z: Tensor) -> list[Array]:
    return list(z.detach().double().cpu().numpy())
