"""Whether a layer's weights point where the function changes: the neural feature ansatz.

WᵀW of a layer is compared with the average outer product of the gradient with respect to what the layer reads, along
the layer itself: Wᵀ E[δ δᵀ] W with δ = ∂F/∂z. Invariances: orthogonal maps of the neurons, a common scaling.
Source: Radhakrishnan et al. arXiv 2212.13881. Letters: K members, n samples, m neurons, r numbers a layer reads.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bfc_core.probes.base import Reading, View, When
from bfc_core.probes.chosen import ROLE, chosen_layers, reads_inputs
from bfc_core.probes.sample_gradients import gradients
from bfc_core.registry import deed
from bfc_core.specs import probe as words


def ansatz_alignment(w: Tensor, second: Tensor) -> Tensor:
    """Cosine (K,) between WᵀW and Wᵀ S W, of w (K, m, r) and S = E[δ δᵀ] (K, m, m)."""
    outer = w.double() @ w.double().mT
    inner = (outer @ second * outer).sum((1, 2))
    pulled = second @ outer
    norms = outer.square().sum((1, 2)).sqrt() * (pulled * pulled.mT).sum((1, 2)).clamp_min(0).sqrt()
    return inner / norms


def neuron_gradients(view: View, x: Tensor, layer: int, when: When) -> Tensor | None:
    """S = E[δ δᵀ] (K, m, m), from the bias that each neuron has, or from W itself where it meets known numbers."""
    bias, name = f"c{layer}", f"W{layer}"
    weights = view.weights(when)
    if bias not in weights and not reads_inputs(view, layer):
        return None
    read = None if bias in weights else view.teacher.embed(x)
    total, start = None, 0
    for block in gradients(view, x, when, [bias if read is None else name]):
        (found,) = block.values()
        if read is not None:
            # The gradient of W is δ uᵀ, so δ is what u picks of it, over |u|².
            u = read[start : start + len(found)].to(found)
            found = torch.einsum("nkmr,nr->nkm", found, u) / u.square().sum(1)[:, None, None]
        start += len(found)
        part = torch.einsum("nki,nkj->kij", found.double(), found.double())
        total = part if total is None else total + part
    return None if total is None else total / len(x)


@deed(words.Agop)
def read_agop(spec: words.Agop, view: View) -> Iterable[Reading]:
    """Readings `agop_alignment` and `agop_alignment_initial` by layer."""
    x = view.inputs(ROLE, spec.inputs)
    times: tuple[tuple[str, When], ...] = (("agop_alignment", "now"), ("agop_alignment_initial", "init"))
    for layer in chosen_layers(spec, view):
        for key, when in times:
            second = neuron_gradients(view, x, layer, when)
            if second is None:
                reason = "the layer has no bias from which its neurons' gradients could be read"
                none = torch.zeros(view.members, dtype=torch.float64)
                yield Reading(key, none, layer, undefined=reason)
            else:
                yield Reading(key, ansatz_alignment(view.weights(when)[f"W{layer}"], second), layer)
