"""The claims of a correction study: which its data can answer, and each seed's value of every component."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bfc_core import specs
from bfc_core.specs.claims import PICTURE_THRESHOLDS, THRESHOLDS
from bfc_core.specs.data import SYNTHETIC, Hierarchical
from bfc_core.studies import intervals
from bfc_core.studies.arms import (
    asks_which_part,
    cell_name,
    cells,
    layers,
    lower_levels,
    of_pictures,
    own_cell,
    rows_of_windows,
    taught_levels,
    window_name,
)
from bfc_core.studies.claims import Claim, Component, Unit, asked, finite
from bfc_core.studies.outcomes import DIVERGED, Reading
from bfc_core.studies.picture_claims import PICTURE_CLAIMS, picture_step, unforgotten_rows
from bfc_core.studies.readings import FEATURE_FLOOR, control_error, log_error, log_ratio
from bfc_core.studies.seeds import Found, Seeds, Values

if TYPE_CHECKING:
    from bfc_core.studies.correction import Run

HEADLINE = "signed"


def assemble(study: specs.CorrectionSpec, runs: Sequence[Run]) -> list[list[Claim]]:
    """One family of claims a read-out, the headlined read-out first."""
    readouts = sorted({run.readout for run in runs}, key=lambda readout: (readout != HEADLINE, readout))
    return [list(_family(study, Seeds(readout, runs, study.seeds))) for readout in readouts]


def _family(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Claim]:
    pictures = of_pictures(study)
    defaults = PICTURE_THRESHOLDS if pictures else THRESHOLDS
    found = PICTURE_CLAIMS if pictures else CLAIMS
    for name, changed in asked(study.claims, defaults).items():
        limits = {**defaults.get(name, {}), **changed}
        for where, values, arms in found.get(name, _nothing)(study, seeds):
            if not all((arm, 0) in seeds.runs for arm in arms):
                continue
            components = tuple(_component(part, limits[part], values[part], pictures) for part in values)
            shown = {"readout": seeds.readout, "headline": seeds.readout in (HEADLINE, "own"), **where}
            yield Claim(name, components, seeds.measured(arms), shown)


def unanswered(study: specs.CorrectionSpec, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Claims that the study was asked for, or judges by default, and cannot judge; and levels left out of one: with why."""
    pictures = of_pictures(study)
    found = PICTURE_CLAIMS if pictures else CLAIMS
    for readout in sorted({run.readout for run in runs}, key=lambda readout: (readout != HEADLINE, readout)):
        seeds = Seeds(readout, runs, study.seeds)
        defaults = PICTURE_THRESHOLDS if pictures else THRESHOLDS
        for name in asked(study.claims, (name for name in defaults if name in study.answers)):
            needs = [arms for *_, arms in found.get(name, _nothing)(study, seeds)]
            missing = [arm for arms in needs for arm in arms if (arm, 0) not in seeds.runs]
            kept = unforgotten_rows(study, seeds) if pictures and name == "correction_is_local" else {}
            for level, why in kept.items():
                yield {"claim": name, "readout": readout, "level": level, "why": why}
            if (not needs and not kept) or missing:
                yield {"claim": name, "readout": readout, "why": _why_not(name, study, readout, missing)}
            elif name == "lower_features_corrected" and not pictures:
                for level in sorted(set(layers(study)[:-1]) - set(lower_levels(study))):
                    yield {"claim": name, "readout": readout, "level": level, "why": _why_not_level(level, study)}


TRIVIAL = "level 2 has as many neurons as it reads numbers, so it holds every feature from the start"


def _why_not(name: str, study: specs.CorrectionSpec, readout: str, missing: Sequence[str]) -> str:
    data = study.base.data
    if missing:
        return f"needs the arms {', '.join(dict.fromkeys(missing))}, which the study leaves out"
    if name == "correction_is_local" and of_pictures(study) and not study.how_deep:
        return "how_deep is false"
    if name in ("correction_is_deep", "one_level_suffices"):
        return "needs windows of k = 0, 1 and 2 at one row l" if study.how_deep else "how_deep is false"
    if name == "weak_directions_corrected":
        if not isinstance(data, Hierarchical):
            return f"needs the directions of a hierarchical target; this is {data.kind}"
        if asks_which_part(study):
            return f"is read from the signed read-out; this is {readout}"
        return "its 2 × 2 of r_min and gap sign is trained only where claims names it"
    if of_pictures(study):
        return "is not judged of pictures"
    return "the data cannot answer it" if lower_levels(study) else _why_not_level(layers(study)[0], study)


def _why_not_level(level: int, study: specs.CorrectionSpec) -> str:
    taught = level in taught_levels(study.base.data)
    return TRIVIAL if taught else f"the target has no features of level {level}"


def _component(name: str, threshold: float, values: Values, pictures: bool) -> Component:
    unit = UNITS.get(name, "points" if pictures else "log10 ratio")
    return Component(name, values, threshold, unit, at_most=name in AT_MOST)


UNITS: Mapping[str, Unit] = {
    "joint_error": "-log10 error",
    "error_after": "-log10 error",
    "layerwise_error": "error",
    "weakest_lags": "share",
    "weakest_after": "share",
    "even_lags": "share",
    "lambda": "lambda",
    "lambda_over_longer": "log10 ratio",
}
AT_MOST = {"lambda", "lambda_over_longer", "even_lags", "rest_adds"}


def _joint_beats_layerwise(_: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    joint, layerwise = seeds.error("joint"), seeds.error("layerwise")
    values = {
        "layerwise_over_joint": _ratios(layerwise, joint),
        "joint_error": tuple(log_error(one) for one in joint),
    }
    yield {}, values, ("joint", "layerwise")


def _layerwise_fails(_: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    yield (
        {},
        {"layerwise_error": tuple(control_error(one) for one in seeds.error("layerwise"))},
        ("layerwise",),
    )


def _lower_features_corrected(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    for level in _taught(study):
        after = seeds.feature_error("layerwise_then_joint", level)
        values = {
            "before_over_after": _before_over_after(seeds, level),
            "longer_over_after": _ratios(seeds.feature_error("longer", level), after, FEATURE_FLOOR),
            "error_after": tuple(log_error(one, FEATURE_FLOOR) for one in after),
        }
        yield {"level": level}, values, ("layerwise", "layerwise_then_joint", "longer")


def _correction_is_backward(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    for level in _taught(study):
        after = seeds.feature_error("layerwise_then_joint", level)
        values = {
            "detached_over_after": _ratios(seeds.feature_error("detached", level), after, FEATURE_FLOOR)
        }
        yield {"level": level}, values, ("layerwise_then_joint", "detached")


def _correction_is_deep(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    for row, frees in _deep_rows(study):
        values: dict[str, Values] = {}
        for step in (1, 2):
            values |= _step(seeds, row, frees, step)
        arms = [window_name(row, free) for free in frees[:3]]
        arms += [window_name(row, free, "equal_updates") for free in frees[1:3]]
        yield (
            {"row": row, "k_star": k_star(seeds, row, frees, limits_of(study)["correction_is_deep"])},
            values,
            arms,
        )


def _one_level_suffices(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    for row, frees in _deep_rows(study):
        one, every = seeds.error(window_name(row, 1)), seeds.error(window_name(row, frees[-1]))
        values = _step(seeds, row, frees, 1) | {
            "rest_adds": tuple(-value for value in _without_credit(one, every))
        }
        arms = [window_name(row, free) for free in (0, 1, frees[-1])] + [window_name(row, 1, "equal_updates")]
        yield {"row": row}, values, arms


def _without_credit(treatment: Sequence[Reading], control: Sequence[Reading]) -> Values:
    """log10 of control over treatment: minus how much freeing all the rest adds to freeing one level."""
    return tuple(log_ratio(other, one) for other, one in zip(control, treatment, strict=True))


def _step(seeds: Seeds, row: int, frees: Sequence[int], step: int) -> dict[str, Values]:
    """Gain of the study's next k over the one before, and over the same updates spent before the higher levels came."""
    treatment = seeds.error(window_name(row, frees[step]))
    return {
        f"step_{step}": _ratios(seeds.error(window_name(row, frees[step - 1])), treatment),
        f"control_{step}": _ratios(seeds.error(window_name(row, frees[step], "equal_updates")), treatment),
    }


def k_star(seeds: Seeds, row: int, frees: Sequence[int], limits: Mapping[str, float]) -> int:
    """The largest k of which every k' <= k gains, over k' - 1 and over its control, by its whole interval.

    A k' that the study leaves out ends it: what was not trained was not shown.
    """
    best = 0
    for step, free in enumerate(frees[1:], start=1):
        parts = [
            Component(name, values, limit_of_step(limits, name))
            for name, values in _step(seeds, row, frees, step).items()
        ]
        if free != best + 1 or any(part.verdict != "supported" for part in parts):
            break
        best = free
    return best


def limit_of_step(limits: Mapping[str, float], name: str) -> float:
    """The threshold of `step_3`, `control_3`, … is that of the second step."""
    return limits[name] if name in limits else limits[f"{name.rpartition('_')[0]}_2"]


def limits_of(study: specs.CorrectionSpec) -> dict[str, dict[str, float]]:
    """The thresholds of every claim, as the spec changes them."""
    defaults = PICTURE_THRESHOLDS if of_pictures(study) else THRESHOLDS
    changed = asked(study.claims, defaults)
    return {name: {**limits, **changed.get(name, {})} for name, limits in defaults.items()}


def gains(study: specs.CorrectionSpec, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """For every window (l, k) with k >= 1: what it gains in log10 over the study's next smaller k, and whether that and
    the gain over its control pass their thresholds."""
    pictures = of_pictures(study)
    limits = limits_of(study)["correction_is_deep"]
    unit: Unit = "points" if pictures else "log10 ratio"
    steps = picture_step if pictures else _step
    for readout in sorted({run.readout for run in runs}) if study.how_deep else ():
        seeds = Seeds(readout, runs, study.seeds)
        for row, frees in rows_of_windows(study).items():
            for step, free in enumerate(frees[1:], start=1):
                parts = [
                    Component(name, values, limit_of_step(limits, name), unit)
                    for name, values in steps(seeds, row, frees, step).items()
                ]
                arms = _arms_of_step(row, frees[step - 1], free)
                claim = Claim("correction_is_deep", tuple(parts), seeds.measured(arms))
                found = {"train_up_to": row, "free": free, "over": frees[step - 1], "readout": readout}
                found["verdict"] = claim.verdict
                for name, part in zip(("step", "control"), parts[:2], strict=True):
                    effect, low, high = (
                        finite(value) for value in (intervals.median(part.values), *part.interval)
                    )
                    found |= {f"{name}_gain": effect, f"{name}_low": low, f"{name}_high": high}
                yield found


def _arms_of_step(row: int, before: int, free: int) -> list[str]:
    return [window_name(row, before), window_name(row, free), window_name(row, free, "equal_updates")]


def _weak_directions_corrected(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    """Read from the cells of the study's own gap sign; the other sign's are shown in `which_part` beside them."""
    if not asks_which_part(study) or seeds.readout == "fixed":
        return
    data = study.base.data
    assert isinstance(data, Hierarchical)
    sign = own_cell(data)[1]
    uneven, even = (_arm_of_cell(data, r, sign) for r in sorted({r for r, _ in cells(data)}))
    for level in range(2, data.levels):
        values = {
            "weakest_lags": tuple(_lag(seeds, uneven, i, level, data.width) for i in range(seeds.count)),
            "weakest_after": tuple(
                _captured_after(seeds, uneven, i, level, data.width) for i in range(seeds.count)
            ),
            "even_lags": tuple(-_lag(seeds, even, i, level, data.width, -1) for i in range(seeds.count)),
        }
        yield {"level": level}, values, (uneven, even)


def _arm_of_cell(data: Hierarchical, weakest: float, sign: str) -> str:
    own = (weakest, sign) == own_cell(data)
    return "layerwise_then_joint" if own else cell_name(weakest, sign)


def _lag(seeds: Seeds, arm: str, index: int, level: int, width: int, sign: int = 1) -> float:
    """Missing share of the weakest direction before correction, less the median of the others'; times `sign`.

    Minus infinity where it cannot be told.
    """
    run = seeds.runs.get((arm, index))
    if run is None or width < 2:
        return -math.inf
    before = [run.outcome.at(run.last_stage, f"captured/{i}", level) for i in range(width)]
    known = [value for value in before if value is not None]
    if len(known) < width:
        return -math.inf
    return sign * ((1 - known[-1]) - statistics.median(1 - value for value in known[:-1]))


def _captured_after(seeds: Seeds, arm: str, index: int, level: int, width: int) -> float:
    value = seeds.outcome(arm, index).last(f"captured/{width - 1}", level)
    return -math.inf if value is None or value == DIVERGED else value


def _correction_is_local(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    for level in _taught(study):
        moved = [seeds.outcome("layerwise_then_joint", i).last("lambda", level) for i in range(seeds.count)]
        values = {
            "lambda": tuple(math.inf if one is None else one for one in moved),
            "before_over_after": _before_over_after(seeds, level),
        }
        yield {"level": level}, values, ("layerwise", "layerwise_then_joint")


def _before_over_after(seeds: Seeds, level: int) -> Values:
    before = seeds.feature_error("layerwise", level)
    return _ratios(before, seeds.feature_error("layerwise_then_joint", level), FEATURE_FLOOR)


def _ratios(control: Sequence[Reading], treatment: Sequence[Reading], floor: float = 1e-12) -> Values:
    return tuple(log_ratio(one, other, floor) for one, other in zip(control, treatment, strict=True))


def _taught(study: specs.CorrectionSpec) -> tuple[int, ...]:
    """Lower levels with teacher features to compare with."""
    return lower_levels(study) if isinstance(study.base.data, SYNTHETIC) else ()


def _deep_rows(study: specs.CorrectionSpec) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Rows l whose windows free no level, one, and two."""
    for row, frees in rows_of_windows(study).items() if study.how_deep else ():
        if frees[:3] == (0, 1, 2):
            yield row, frees


def _nothing(_: specs.CorrectionSpec, __: Seeds) -> Iterator[Found]:
    yield from ()


CLAIMS: Mapping[str, Callable[[specs.CorrectionSpec, Seeds], Iterator[Found]]] = {
    "joint_beats_layerwise": _joint_beats_layerwise,
    "lower_features_corrected": _lower_features_corrected,
    "correction_is_backward": _correction_is_backward,
    "correction_is_deep": _correction_is_deep,
    "weak_directions_corrected": _weak_directions_corrected,
    "correction_is_local": _correction_is_local,
    "layerwise_fails": _layerwise_fails,
    "one_level_suffices": _one_level_suffices,
}
