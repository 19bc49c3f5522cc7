"""How much a layer changed: chance-corrected CKA of its features, λ, and cosines of its weights beside it.

Invariances: the corrected correlation and λ to orthogonal maps and a common scaling of either side's neurons;
`aligned_cosine` to orthogonal maps of the neurons, `matched_cosine` to their permutation and signs,
`raw_cosine` to neither, so these are diagnostics by layer.
Source: docs/science.md. Letters: K members, n samples, m features, q numbers that the lowest level reads.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from bfc_core.probes.base import Reading, View, When
from bfc_core.probes.chosen import ROLE, chosen_layers, reads_isotropic
from bfc_core.registry import deed
from bfc_core.specs import probe as words

PAIRS: tuple[tuple[str, When, When], ...] = (
    ("before_after", "before", "now"),
    ("init_after", "init", "now"),
    ("init_before", "init", "before"),
)
"""`before` is the start of the last stage begun, `after` is now."""
UNCHANGED = 1e-9
"""A change since initialisation below this is rounding."""
STILL = "the layer has not changed since initialisation"


def gram_correlation(a: Tensor, b: Tensor) -> Tensor:
    """⟨AᵀA, BᵀB⟩/(|AᵀA||BᵀB|) less chance (K,), of maps a, b (K, m, q) of isotropic inputs.

    Chance v₀ is the mean over random rotations of the inputs; over all rotations it is tr AᵀA · tr BᵀB / q
    over the same norms, which is used in place of a sample of 200.
    """
    a, b = a.double(), b.double()
    cross = (a @ b.mT).square().sum((1, 2))
    norms = _gram_norm(a) * _gram_norm(b)
    chance = a.square().sum((1, 2)) * b.square().sum((1, 2)) / a.shape[2]
    return corrected(cross / norms, chance / norms)


def feature_correlation(y: Tensor, z: Tensor) -> Tensor:
    """Linear CKA less chance (K,), of features y, z (K, n, m) of the same inputs.

    Chance is the mean over permutations of the samples; over all of them it is tr K · tr L/(n − 1) over
    |K||L| for the centred Gram matrices K, L, which is used in place of a sample of 200.
    """
    n = y.shape[1]
    y = y.double() - y.double().mean(1, keepdim=True)
    z = z.double() - z.double().mean(1, keepdim=True)
    cross = (y.mT @ z).square().sum((1, 2))
    norms = _gram_norm(y.mT) * _gram_norm(z.mT)
    chance = y.square().sum((1, 2)) * z.square().sum((1, 2)) / (n - 1)
    return corrected(cross / norms, chance / norms)


def corrected(value: Tensor, chance: Tensor) -> Tensor:
    """c = (v − v₀)/(1 − v₀): 1 for equal, 0 on average for unrelated representations."""
    return (value - chance) / (1 - chance)


def change_share(before_after: Tensor, init_after: Tensor) -> Tensor:
    """λ = (1 − c(before, after))/(1 − c(init, after)): 0 for no change, 1 for as much as in all of training.

    NaN where nothing changed since initialisation: such members have no λ.
    """
    whole = 1 - init_after
    return torch.where(whole > UNCHANGED, (1 - before_after) / whole, torch.nan)


def raw_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine (K,) of weights a, b (K, m, q) as vectors."""
    return (a * b).sum((1, 2)) / _norms(a, b)


def aligned_cosine(a: Tensor, b: Tensor) -> Tensor:
    """max_Q ⟨Q a, b⟩/(|a||b|) (K,) over orthogonal Q (Procrustes): the nuclear norm of a bᵀ."""
    nuclear: Tensor = torch.linalg.svdvals(a.double() @ b.double().mT).sum(1)
    return nuclear / _norms(a, b)


def matched_cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine (K,) after the best one-to-one matching of neurons, signs free."""
    inner = (a.double() @ b.double().mT).abs().cpu()
    best = [values.numpy()[linear_sum_assignment(values.numpy(), maximize=True)].sum() for values in inner]
    return torch.as_tensor(best, dtype=torch.float64, device=a.device) / _norms(a, b)


def _gram_norm(a: Tensor) -> Tensor:
    return (a @ a.mT).square().sum((1, 2)).sqrt()


def _norms(a: Tensor, b: Tensor) -> Tensor:
    return a.double().square().sum((1, 2)).sqrt() * b.double().square().sum((1, 2)).sqrt()


@deed(words.WeightCorrelation)
def read_weight_correlation(spec: words.WeightCorrelation, view: View) -> Iterable[Reading]:
    """Readings `weight_correlation/…` and the cosines of each pair of times, and `lambda`, by layer."""
    layers = chosen_layers(spec, view)
    x = view.inputs(ROLE, spec.inputs)
    features = {when: view.features(x, when) for when in ("init", "before", "now")}
    weights = {when: view.weights(when) for when in ("init", "before", "now")}
    for layer in layers:
        name = f"W{layer}"
        linear = reads_isotropic(view, layer)
        found: dict[str, Tensor] = {}
        for pair, first, second in PAIRS:
            if linear:
                found[pair] = gram_correlation(weights[first][name], weights[second][name])
            else:
                found[pair] = feature_correlation(features[first][layer], features[second][layer])
            yield Reading(f"weight_correlation/{pair}", found[pair], layer)
            if name in weights["now"]:
                a, b = weights[first][name], weights[second][name]
                yield Reading(f"raw_cosine/{pair}", raw_cosine(a.double(), b.double()), layer)
                yield Reading(f"aligned_cosine/{pair}", aligned_cosine(a, b), layer)
                yield Reading(f"matched_cosine/{pair}", matched_cosine(a, b), layer)
        moved = change_share(found["before_after"], found["init_after"])
        yield Reading("lambda", moved, layer, whys=[STILL] * view.members)
