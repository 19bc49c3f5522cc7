"""What of the target a layer's features hold linearly, against initialisation and against shuffled labels.

Invariances: orthogonal maps, isotropic scaling and translation of the features (the ridge sees how large a direction
is). Source: Alain and Bengio, arXiv 1610.01644; docs/science.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from bfc_core.measures.ridge import PENALTIES
from bfc_core.probes import logistic
from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import ROLE, chosen_layers
from bfc_core.probes.ridge import Spectrum, accuracies, choose_ridge, fit_ridge, relative_errors
from bfc_core.registry import deed
from bfc_core.specs import probe as words


def linear_errors(
    z: Tensor,
    y: Tensor,
    split: int,
    penalties: Sequence[float] = PENALTIES,
    *,
    streaming: bool = False,
    spectrum: Spectrum | None = None,
) -> Tensor:
    """Relative error (K,) of ridge probes of y (n, o) on z (K, n, m), fitted on the first `split` samples.

    `spectrum`: that of these, if known; streaming fits alone use it.
    """
    fitted, known = z[:, :split], y[:split]
    probes = (
        fit_ridge(fitted, known, penalties, spectrum) if streaming else choose_ridge(fitted, known, penalties)
    )
    return relative_errors(probes.predict(z[:, split:]), y[split:])


def linear_accuracies(
    z: Tensor,
    y: Tensor,
    split: int,
    penalties: Sequence[float] | None = None,
    *,
    streaming: bool = False,
    spectrum: Spectrum | None = None,
) -> Tensor:
    """Accuracy (K,) of probes of classes y (n, c) on z (K, n, m), fitted on the first `split` samples.

    Logistic, its penalty chosen on held-out samples; when streaming, ridge by generalised cross-validation, which takes
    the fitted features' `spectrum` where it is known.
    """
    if streaming:
        fitted = fit_ridge(z[:, :split], y[:split], penalties or PENALTIES, spectrum)
        return accuracies(fitted.predict(z[:, split:]), y[split:])
    labels, classes, grid = y.argmax(1), y.shape[1], penalties or logistic.PENALTIES
    fits = [logistic.choose_logistic(one[:split], labels[:split], classes, grid) for one in z]
    found = [fit.accuracy(one[split:], labels[split:]) for fit, one in zip(fits, z, strict=True)]
    return torch.tensor(found, dtype=torch.float64, device=z.device)


def targets(view: View, x: Tensor) -> Tensor:
    """The label as columns y (n, o): values, or class indicators where there are several."""
    y = view.teacher.labels(x.double())
    return y[:, None] if y.ndim == 1 else y


def shuffled(view: View, y: Tensor) -> Tensor:
    """y in an order that has nothing to do with the inputs, the same at every step."""
    order = torch.randperm(len(y), generator=view.generator("shuffled labels"))
    return y[order.to(y.device)]


@deed(words.Linear)
def read_linear(spec: words.Linear, view: View) -> Iterable[Reading]:
    """Readings `linear`, `linear_initial`, `linear_shuffled`, `linear/N` by layer; for classes `linear_accuracy…`."""
    x = view.inputs(ROLE, spec.inputs)
    y = targets(view, x)
    now, initial, wrong = view.features(x), view.features(x, "init"), shuffled(view, y)
    for layer in chosen_layers(spec, view):
        yield from _layer(spec, layer, now[layer], initial[layer], y, wrong)


def _layer(
    spec: words.Linear, layer: int, now: Tensor, initial: Tensor, y: Tensor, wrong: Tensor
) -> Iterator[Reading]:
    classes, half = y.shape[1] > 1, len(y) // 2
    key = "linear_accuracy" if classes else "linear"

    def value(z: Tensor, t: Tensor, split: int, spectrum: Spectrum | None = None) -> Tensor:
        if classes:
            return linear_accuracies(z, t, split, spec.penalties, streaming=spec.streaming, spectrum=spectrum)
        penalties = spec.penalties or PENALTIES
        return linear_errors(z, t, split, penalties, streaming=spec.streaming, spectrum=spectrum)

    known = Spectrum.of(now[:, :half]) if spec.streaming else None
    yield Reading(key, value(now, y, half, known), layer)
    yield Reading(f"{key}_initial", value(initial, y, half), layer)
    yield Reading(f"{key}_shuffled", value(now, wrong, half, known), layer)
    for count in spec.curve:
        # The tested half is the same for every size; only the part fitted on shrinks.
        if count < half:
            yield Reading(f"{key}/{count}", value(now[:, half - count :], y[half - count :], count), layer)


@deed(words.InformationGap)
def read_information_gap(spec: words.InformationGap, view: View) -> Iterable[Reading]:
    """Reading `information_gap` by layer: what its linear probe gains over the best of the layers below.

    In units of Var y, or of accuracy for classes; the first layer is compared with what the network reads.
    """
    x = view.inputs(ROLE, spec.inputs)
    y = targets(view, x)
    penalties = PENALTIES if spec.ridge is None else (spec.ridge,)
    read = view.teacher.embed(x.double()).expand(view.members, -1, -1)

    def held(z: Tensor) -> Tensor:
        if y.shape[1] > 1:
            return linear_accuracies(z, y, len(y) // 2, penalties, streaming=True)
        return 1 - linear_errors(z, y, len(y) // 2, penalties, streaming=True)

    best, features = held(read), view.features(x)
    chosen = chosen_layers(spec, view)
    for layer in (one for one in view.layers if one <= max(chosen, default=0)):
        here = held(features[layer])
        if layer in chosen:
            yield Reading("information_gap", here - best, layer)
        best = torch.maximum(best, here)
