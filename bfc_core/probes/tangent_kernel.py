"""How far the tangent kernel went from initialisation, and how well it fits the target.

Invariances of both: a scaling of the outputs; of the alignment also a scaling and translation of the target.
Source: Fort et al. arXiv 2010.15110 (kernel distance); Cristianini et al. 2001 (alignment), here centred.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import ROLE
from bfc_core.probes.sample_gradients import tangent_kernels
from bfc_core.registry import deed
from bfc_core.specs import probe as words


def kernel_change(before: Tensor, after: Tensor) -> Tensor:
    """1 − ⟨Θ, Θ'⟩/(|Θ||Θ'|) (K,) of kernels (K, n, n)."""
    norms = before.square().sum((1, 2)).sqrt() * after.square().sum((1, 2)).sqrt()
    return 1 - (before * after).sum((1, 2)) / norms


def kernel_alignment(kernel: Tensor, y: Tensor) -> Tensor:
    """yᵀ Θ_c y/(|Θ_c| |y_c|²) (K,) of the centred kernels (K, n, n) with targets y (n, o), summed over o."""
    centre = (
        kernel
        - kernel.mean(1, keepdim=True)
        - kernel.mean(2, keepdim=True)
        + kernel.mean((1, 2), keepdim=True)
    )
    y = (y - y.mean(0)).to(kernel)
    along = (y * (centre @ y)).sum((1, 2))
    return along / (centre.square().sum((1, 2)).sqrt() * (y.mT @ y).square().sum().sqrt())


@deed(words.TangentKernel)
def read_tangent_kernel(spec: words.TangentKernel, view: View) -> Iterable[Reading]:
    """Readings `tangent_kernel_change`, and with a teacher `tangent_kernel_alignment` now and `…_initial`."""
    x = view.inputs(ROLE, spec.inputs)
    initial, now = tangent_kernels(view, x, "init"), tangent_kernels(view, x, "now")
    yield Reading("tangent_kernel_change", kernel_change(initial, now))
    try:
        y = view.teacher.labels(x.double())
    except AttributeError:
        return
    y = y[:, None] if y.ndim == 1 else y
    yield Reading("tangent_kernel_alignment", kernel_alignment(now, y))
    yield Reading("tangent_kernel_alignment_initial", kernel_alignment(initial, y))
