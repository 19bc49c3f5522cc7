"""How much of the teacher's features a layer's features do not hold linearly.

Invariances: any invertible affine map of the learner's features; orthogonal maps and a common scaling of the
teacher's (the balanced form: orthogonal maps and scaling too, since principal components follow them).
Source: Allen-Zhu and Li, arXiv 2001.04413; definition as in docs/science.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import reads_inputs, regression_inputs, teacher_layers
from bfc_core.probes.least_squares import affine_fit, residual
from bfc_core.registry import deed
from bfc_core.specs import probe as words

FLOOR = 1e-6
"""Smallest feature error that enters a ratio."""


def feature_error(z: Tensor, t: Tensor) -> Tensor:
    """Feature error (K,) of features z (K, n, m) for teacher features t (n, k).

    Fits t on [1, z] on the first half of the samples; residual over variance of the second half, both summed
    over teacher neurons. Infinite where t does not vary.
    """
    test, left = _left_over(z, t)
    return left.square().sum((1, 2)) / centred(test).square().sum()


def balanced_feature_error(z: Tensor, t: Tensor) -> Tensor:
    """The mean (K,) of each principal component of t's own feature error: weak directions count fully."""
    fit = centred(t.double()[: len(t) // 2])
    axes: Tensor = torch.linalg.eigh(fit.mT @ fit).eigenvectors
    test, left = _left_over(z, t)
    spread = (centred(test) @ axes).square().sum(0)
    share: Tensor = (left @ axes).square().sum(1) / spread
    return share.mean(1)


def centred(t: Tensor) -> Tensor:
    """t (…, n, k) less its mean over samples."""
    return t - t.mean(-2, keepdim=True)


def _left_over(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    half = len(t) // 2
    beta = affine_fit(z[:, :half], t[:half])
    test = t[half:].double()
    return test, residual(z[:, half:], test, beta)


@deed(words.FeatureError)
def read_feature_error(spec: words.FeatureError, view: View) -> Iterable[Reading]:
    """Readings `feature_error`, and `feature_error_balanced`, of chosen layers with teacher features.

    Undefined where a layer has as many neurons as the numbers that it maps: it holds every feature from the start.
    """
    x = regression_inputs(view, spec.inputs)
    z, t = view.features(x), view.teacher.features(x.double())
    for layer in teacher_layers(spec, view):
        if reads_inputs(view, layer) and z[layer].shape[2] >= view.teacher.read_dim:
            none = z[layer].new_zeros(view.members)
            yield Reading("feature_error", none, layer, undefined="trivial: as many neurons as numbers read")
            continue
        yield Reading("feature_error", feature_error(z[layer], t[layer]), layer)
        if spec.balanced:
            yield Reading("feature_error_balanced", balanced_feature_error(z[layer], t[layer]), layer)
