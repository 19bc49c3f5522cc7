"""What of the target a small network finds in a layer's features, against initialisation and shuffled labels.

Features are standardised, so the error is invariant to a scaling and translation of each neuron, up to training.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from bfc_core.learners.perceptrons import Perceptrons, Shape, train
from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import ROLE, chosen_layers
from bfc_core.probes.linear import shuffled, targets
from bfc_core.probes.ridge import accuracies, relative_errors
from bfc_core.registry import deed
from bfc_core.specs import probe as words

STEPS, BATCH, RATE = 600, 128, 0.01


def two_layer_predictions(z: Tensor, y: Tensor, split: int, width: int, generator: Generator) -> Tensor:
    """Predictions (K, n − split, o) of networks trained on the first `split` of z (K, n, m), y (n, o)."""
    z, y = z.float(), y.float()
    mean, deviation = z[:, :split].mean(1, keepdim=True), z[:, :split].std(1, keepdim=True)
    standard = (z - mean) / torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    centre, scale = y[:split].mean(0), y[:split].var(0).sum().sqrt().clamp_min(1e-12)
    networks = Perceptrons(Shape((z.shape[2], width, y.shape[1])), len(z), generator, z.device)
    part = standard[:, :split]
    for _ in train(networks, part, (y[:split] - centre) / scale, [RATE] * len(z), STEPS, BATCH, generator):
        pass
    return networks(standard[:, split:]) * scale + centre


@deed(words.TwoLayer)
def read_two_layer(spec: words.TwoLayer, view: View) -> Iterable[Reading]:
    """Readings `two_layer`, `two_layer_initial`, `two_layer_shuffled` by layer; for classes `two_layer_accuracy…`."""
    x = view.inputs(ROLE, spec.inputs)
    y = targets(view, x)
    half, wrong = len(y) // 2, shuffled(view, y)
    key, score = ("two_layer_accuracy", accuracies) if y.shape[1] > 1 else ("two_layer", relative_errors)
    now, initial = view.features(x), view.features(x, "init")
    for layer in chosen_layers(spec, view):
        for name, z, t in (
            (key, now[layer], y),
            (f"{key}_initial", initial[layer], y),
            (f"{key}_shuffled", now[layer], wrong),
        ):
            predicted = two_layer_predictions(
                z, t, half, spec.width, view.generator(f"two-layer probe {layer}")
            )
            yield Reading(name, score(predicted.double(), t[half:]), layer)
