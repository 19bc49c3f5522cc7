"""The arms of a correction study: what is trained how, for every seed and read-out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bfc_core import specs
from bfc_core.specs import probe as probes
from bfc_core.specs import schedule as words
from bfc_core.specs.data import SYNTHETIC, Hierarchical, MultiIndex, Parity, RandomHierarchy, Staircase
from bfc_core.specs.model import CONVOLUTIONAL, QuadraticDensenet

MAIN: dict[str, Any] = {
    "joint": words.Joint(),
    "layerwise": words.Layerwise(),
    "layerwise_then_joint": words.LayerwiseThenJoint(),
    "longer": words.Longer(),
    "detached": words.Detached(),
    "cyclic": words.Cyclic(),
    "upper_frozen": words.UpperFrozen(),
}
"""The arms of table `runs`."""

PICTURES_COMPARED = 500
"""Test pictures on which a block is compared with itself at another time."""

AFTER_LAYERWISE = ("layerwise_then_joint", "detached", "cyclic", "upper_frozen")
Control = Literal["none", "equal_updates", "sliding", "sliding_equal_updates", "joint", "reinitialised"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training. `control` is `none` for a window itself; `cell` is its place in the 2 × 2 of claim 4.

    `start` names the arm whose stages are the first ones of this, where it is not a pack that shares them; `rate` is the
    peak rate of the last stage where several are tried, and `base` then names the arm without it.
    """

    name: str
    schedule: Any
    table: Literal["runs", "how_deep", "frontier", "cells", "starts"] = "runs"
    train_up_to: int | None = None
    free: int | None = None
    control: Control = "none"
    cell: tuple[float, str] | None = None
    start: str | None = None
    rate: float | None = None
    penalty: float | None = None
    base: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def window_name(train_up_to: int, free: int, control: str = "none") -> str:
    """The arm of a window (l, k) or of its control."""
    return f"window/{train_up_to}/{free}" + ("" if control == "none" else f"/{control}")


def cell_name(weakest: float, sign: str) -> str:
    return f"cell/{weakest:g}/{sign}"


def arms(study: specs.CorrectionSpec) -> list[Arm]:
    """Every arm of the study, main ones first; an arm that others start from comes before them."""
    found = list(_main(study))
    if study.how_deep:
        found += _windows(study)
        if not of_pictures(study):
            found.append(Arm("reinitialised", words.Reinitialised(), "how_deep", control="reinitialised"))
    for width in study.sliding:
        if width <= len(layers(study)):
            found += _sliding(width)
    if not of_pictures(study):
        found += _frontier(study)
    if asks_which_part(study):
        found += _cells(study)
    return found


def of_pictures(study: specs.CorrectionSpec) -> bool:
    """Whether the study trains on uploaded data: accuracies instead of relative errors, no teacher, no packs."""
    return not isinstance(study.base.data, SYNTHETIC)


def layers(study: specs.CorrectionSpec) -> tuple[int, ...]:
    """Numbers of the learner's layers."""
    return specs.layers(study.base.arm(words.Joint(), 0))


def lower_levels(study: specs.CorrectionSpec) -> tuple[int, ...]:
    """Levels whose features later ones can correct and whose feature error says something.

    The lowest level is left out where it is so wide (m >= 2d) that it holds every feature from the start.
    """
    data, model = study.base.data, study.base.model
    found = tuple(level for level in layers(study)[:-1] if level in taught_levels(data))
    if isinstance(model, QuadraticDensenet) and isinstance(data, Hierarchical):
        read = data.input_dim if data.inputs == "sign" else 2 * data.input_dim
        return found[1:] if model.width >= read else found
    return found


def taught_levels(data: Any) -> range:
    """Levels of which a synthetic target has features; of uploaded data, none."""
    if isinstance(data, Hierarchical):
        return range(2, data.levels + 1)
    if isinstance(data, RandomHierarchy):
        return range(1, data.levels + 1)
    if isinstance(data, MultiIndex):
        return range(2, 3)
    if isinstance(data, Staircase | Parity):
        # Level l has the monomials of degree 2^(l−3) + 1 … 2^(l−2).
        degree = data.degree if isinstance(data, Parity) else max(len(one) for one in data.monomials)
        return range(2, 3 + (degree - 1).bit_length())
    return range(0)


def rows_of_windows(study: specs.CorrectionSpec) -> dict[int, tuple[int, ...]]:
    """l -> every k of the study's windows (l, k), rising, none and all among them."""
    numbers, pictures = layers(study), of_pictures(study)
    rows = study.rows or ((numbers[max(0, 2 * len(numbers) // 5 - 1)],) if pictures else numbers[:-1])
    found = {}
    for level in sorted(set(rows)):
        every = numbers.index(level) + 1
        wanted = study.free or ([2**i for i in range(10)] if pictures else range(every))
        found[level] = (0, *sorted(free for free in set(wanted) if 0 < free < every), every)
    return found


def _main(study: specs.CorrectionSpec) -> Iterator[Arm]:
    pictures = of_pictures(study)
    wanted: tuple[str, ...] = study.schedules or (("joint", "layerwise") if pictures else tuple(MAIN))
    for name in sorted(set(wanted), key=list(MAIN).index):
        start = "layerwise" if pictures and name in AFTER_LAYERWISE and "layerwise" in wanted else None
        yield Arm(name, MAIN[name], start=start)
        if name == "layerwise" and isinstance(study.base.model, CONVOLUTIONAL):
            head = study.base.model.model_copy(update={"auxiliary": "convolutional"})
            yield Arm("layerwise_convolutional", MAIN[name], changes={"model": head})


def _windows(study: specs.CorrectionSpec) -> Iterator[Arm]:
    for level, frees in rows_of_windows(study).items():
        start = f"start/{level}" if of_pictures(study) else None
        if start:
            lower = tuple(layer for layer in layers(study) if layer <= level)
            first = words.StageSpec(present=lower, train=lower)
            yield Arm(start, words.Stages(stages=(first,)), "starts", level)
        for free in frees:
            yield from _rated(
                study, Arm(window_name(level, free), None, "how_deep", level, free, start=start)
            )
            if free:
                name = window_name(level, free, "equal_updates")
                yield from _rated(
                    study, Arm(name, None, "how_deep", level, free, "equal_updates", start=start)
                )
    budget = study.base.budget
    doubled = budget.model_copy(update={"steps": 2 * budget.steps})
    yield Arm("window/joint", words.Joint(), "how_deep", control="joint", changes={"budget": doubled})


def _rated(study: specs.CorrectionSpec, arm: Arm) -> Iterator[Arm]:
    """The window, or one for each peak rate of its later stages where the study tries several."""
    assert arm.train_up_to is not None
    assert arm.free is not None
    equal = arm.control == "equal_updates"
    window = words.Window(train_up_to=arm.train_up_to, free=arm.free, equal_updates=equal)
    if not study.second_rates or not of_pictures(study):
        yield replace(arm, schedule=window)
        return
    first, *later = specs.stages(study.base.arm(window, 0))
    for rate in study.second_rates:
        changed = study.base.optimizer.model_copy(update={"rate": rate})
        stages = [words.StageSpec(present=first.present, train=first.train)]
        stages += [words.StageSpec(present=s.present, train=s.train, optimizer=changed) for s in later]
        schedule = words.Stages(stages=tuple(stages))
        yield replace(arm, name=f"{arm.name}@{rate:g}", schedule=schedule, rate=rate, base=arm.name)


def _frontier(study: specs.CorrectionSpec) -> Iterator[Arm]:
    """Layerwise, then joint under each penalty on the lower levels' movement, and at each rate of the last stage."""
    for penalty in sorted(set(study.penalties)):
        yield Arm(f"frontier/penalty/{penalty:g}", words.Minimal(penalty=penalty), "frontier", penalty=penalty)
    *before, _ = specs.stages(study.base.arm(MAIN["layerwise_then_joint"], 0))
    shared = [words.StageSpec(present=stage.present, train=stage.train) for stage in before]
    for rate in sorted(set(study.second_rates or ())):
        last = words.StageSpec(optimizer=study.base.optimizer.model_copy(update={"rate": rate}))
        yield Arm(f"frontier/rate/{rate:g}", words.Stages(stages=(*shared, last)), "frontier", rate=rate)


def _sliding(width: int) -> Iterator[Arm]:
    yield Arm(f"sliding/{width}", words.Sliding(window=width), "how_deep", free=width, control="sliding")
    greedy = words.Sliding(window=width, equal_updates=True)
    yield Arm(f"sliding/{width}/greedy", greedy, "how_deep", free=width, control="sliding_equal_updates")


def asks_which_part(study: specs.CorrectionSpec) -> bool:
    """Claim 4 needs three more cells of its 2 × 2, so they are trained only where it is asked for by name."""
    asked = any(claim.claim == "weak_directions_corrected" for claim in study.claims or ())
    return asked and isinstance(study.base.data, Hierarchical)


def own_cell(data: Hierarchical) -> tuple[float, str]:
    """The cell of the study's own target: r_min, and the sign of the gap beyond its first entry."""
    return data.weakest, "negative" if any(value < 0 for value in data.gap[1:]) else "positive"


def cells(data: Hierarchical) -> dict[tuple[float, str], Hierarchical]:
    """The targets of the 2 × 2 of r_min {the study's or 1/2, 1} × gap sign, the study's own among them."""
    weakest, sign = own_cell(data)
    other = "positive" if sign == "negative" else "negative"
    grid = {}
    for r in (weakest if weakest < 1 else 0.5, 1.0):
        for s in (sign, other):
            gap = data.gap if s == sign else _flipped(data.gap, s)
            grid[r, s] = data.model_copy(update={"weakest": r, "gap": gap})
    return grid


def _flipped(gap: tuple[float, ...], sign: str) -> tuple[float, ...]:
    if sign == "positive":
        return tuple(abs(value) for value in gap)
    return tuple(abs(value) * (-1) ** i for i, value in enumerate(gap))


def _cells(study: specs.CorrectionSpec) -> Iterator[Arm]:
    data = study.base.data
    assert isinstance(data, Hierarchical)
    for cell, target in cells(data).items():
        if cell != own_cell(data):
            name = cell_name(*cell)
            yield Arm(name, words.LayerwiseThenJoint(), "cells", cell=cell, changes={"data": target})


#: Points of a stage's curve of feature error, its end included; each takes some 5 % of the quick study's processor time.
CURVE_POINTS = 2


def with_probes(study: specs.CorrectionSpec) -> tuple[Any, ...]:
    """The base's probes, and those that the study's questions need where the base has not set them itself."""
    base = study.base
    # Defaults of the base are at stage ends; the figures draw feature error as a curve.
    own = base.probes if "probes" in base.model_fields_set or of_pictures(study) else ()
    kinds = {probe.kind for probe in own}
    needed: list[Any] = []
    if isinstance(base.data, SYNTHETIC):
        every = max(1, base.budget.steps // CURVE_POINTS)
        needed += [probes.FeatureError(every=every), probes.WeightCorrelation()]
    if isinstance(base.data, Hierarchical):
        needed.append(probes.Captured())
    if of_pictures(study):
        needed += [probes.Linear(), probes.WeightCorrelation(inputs=PICTURES_COMPARED)]
    return (*own, *(probe for probe in needed if probe.kind not in kinds))
