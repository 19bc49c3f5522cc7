"""What of the target's hierarchy the network's output has: Fourier coefficients, or insensitivity to synonyms.

Letters: K members, n samples, o outputs. Sources: O'Donnell §1.4 for the coefficients; Cagnetta et al. arXiv
2307.02129 for synonymic sensitivity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from bfc_core.probes.base import Reading, View
from bfc_core.probes.chosen import ROLE
from bfc_core.registry import deed
from bfc_core.specs import probe as words
from bfc_core.targets.monomials import MonomialTeacher, products
from bfc_core.targets.random_hierarchy import RandomHierarchyTeacher


def fourier_coefficients(outputs: Tensor, characters: Tensor) -> Tensor:
    """E F χ_S (K, s) of outputs F (K, n) for characters χ_S (n, s) of uniform ±1 inputs."""
    return outputs.double() @ characters.double() / outputs.shape[1]


def synonym_sensitivity(outputs: Tensor, exchanged: Tensor) -> Tensor:
    """E |F(x) − F(x')|² / E |F(x) − F(x'')|² (K,): 0 when synonyms do not matter, 1 when they are as good as new.

    outputs, exchanged (K, n, o); x'' is another input, whose mean square distance is twice the variance.
    """
    moved = (outputs.double() - exchanged.double()).square().sum(2).mean(1)
    return moved / (2 * outputs.double().var(1).sum(1))


@deed(words.Sensitivity)
def read_sensitivity(spec: words.Sensitivity, view: View) -> Iterable[Reading]:
    """Readings `fourier/i` (over the target's coefficient of monomial i), `fourier_rest`; or `sensitivity/height`."""
    teacher = view.teacher
    x = view.inputs(ROLE, spec.inputs)
    if isinstance(teacher, MonomialTeacher):
        yield from _fourier(teacher, view, x)
    elif isinstance(teacher, RandomHierarchyTeacher):
        outputs = view.outputs(x)
        for height in range(1, teacher.spec.levels + 1):
            other = teacher.with_other_synonyms(x, height, view.generator(f"synonyms {height}"))
            yield Reading(f"sensitivity/{height}", synonym_sensitivity(outputs, view.outputs(other)))
    else:
        none = torch.zeros(view.members, dtype=torch.float64)
        yield Reading("sensitivity", none, undefined="defined for staircase, parity and random_hierarchy")


def _fourier(teacher: MonomialTeacher, view: View, x: Tensor) -> Iterator[Reading]:
    characters = products(x.double(), teacher.monomials)
    found = fourier_coefficients(view.outputs(x), characters)
    wanted = fourier_coefficients(teacher.labels(x.double())[None], characters)[0]
    for i, column in enumerate(found.unbind(1)):
        yield Reading(f"fourier/{i}", column / wanted[i])
    # What lies outside the target's monomials, over Var y: near 0 once they are all that is learnt.
    distinct = [i for i, one in enumerate(teacher.monomials) if one not in teacher.monomials[:i]]
    rest = view.outputs(x).double().square().mean(1) - found[:, distinct].square().sum(1)
    yield Reading("fourier_rest", rest / teacher.variance)
