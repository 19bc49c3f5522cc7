"""The claims of a correction study of pictures: differences of test accuracy, in points.

A difference also has to exceed twice its test-sampling error. Arms share their test pictures and agree on most, so the
error is a paired one, of the pictures on which exactly one arm is right. Where a reading has no answers by picture (a
probe's accuracy, a run of an older version) the two count as independent, which is the wider of the two.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from bfc_core import specs
from bfc_core.studies.arms import rows_of_windows, window_name
from bfc_core.studies.outcomes import DIVERGED, MISSING, Outcome, Reading
from bfc_core.studies.seeds import Found, Seeds, Values

FORGOTTEN = 0.7
"""1 − c(initialisation, stage 1) from which on likeness to the initialisation says nothing of stage 2 (docs/science.md)."""
STILL = 1e-6
"""λ below which a block counts as not moved when two are divided."""
GREEDY = ("layerwise", "layerwise_convolutional")


def points(treatment: Reading, control: Reading) -> float:
    """Treatment minus control in points; minus infinity where either is missing or diverged."""
    if treatment is None or control is None or DIVERGED in (treatment, control):
        return -math.inf
    return 100 * (treatment - control)


def beyond_sampling(treatment: Reading, control: Reading, pictures: Reading) -> float:
    """Points by which the difference exceeds twice its standard error over `pictures` test pictures."""
    error = independent_error(treatment, control, pictures)
    return -math.inf if error is None else points(treatment, control) - 2 * error


def independent_error(treatment: Reading, control: Reading, pictures: Reading) -> float | None:
    """Standard error, in points, of the difference of two accuracies as if each had test pictures of its own."""
    if math.isinf(points(treatment, control)) or not pictures or treatment is None or control is None:
        return None
    variance = (treatment * (1 - treatment) + control * (1 - control)) / pictures
    return 100 * math.sqrt(variance)


def paired_error(treatment: Outcome, control: Outcome) -> float | None:
    """Standard error, in points, of the difference of two accuracies on the same test pictures.

    With a, b of n pictures on which only the one, only the other is right: 100 √(a + b − (a − b)²/n) / n (McNemar).
    None where either keeps no answers by picture.
    """
    if treatment.answers is None or control.answers is None or treatment.answers[0] != control.answers[0]:
        return None
    (n, one), (_, other) = treatment.answers, control.answers
    a, b = (one & ~other).bit_count(), (other & ~one).bit_count()
    return 100 * math.sqrt(max(0.0, a + b - (a - b) ** 2 / n)) / n


def sampling_error(treatment: Outcome, control: Outcome) -> float | None:
    """The paired error where both keep their answers, else the independent one; None where either has no accuracy."""
    if math.isinf(points(_accuracy(treatment), _accuracy(control))):
        return None
    paired = paired_error(treatment, control)
    if paired is not None:
        return paired
    return independent_error(_accuracy(treatment), _accuracy(control), treatment.number("test_samples"))


def _accuracy(outcome: Outcome) -> Reading:
    return outcome.number("test_accuracy")


def _differences(treatments: Sequence[Outcome], controls: Sequence[Outcome]) -> tuple[Values, Values]:
    pairs = list(zip(treatments, controls, strict=True))
    differences = tuple(points(_accuracy(a), _accuracy(b)) for a, b in pairs)
    errors = (sampling_error(a, b) for a, b in pairs)
    beyond = (-math.inf if e is None else d - 2 * e for d, e in zip(differences, errors, strict=True))
    return differences, tuple(beyond)


def _outcomes(seeds: Seeds, arm: str) -> list[Outcome]:
    return [seeds.outcome(arm, index) for index in range(seeds.count)]


def _joint_beats_layerwise(_: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    """Joint training against the better of the greedy heads, chosen on validation, at equal updates of every block."""
    arms = [arm for arm in GREEDY if (arm, 0) in seeds.runs]
    if not arms or ("joint", 0) not in seeds.runs:
        return
    greedy = [_best([seeds.outcome(arm, index) for arm in arms]) for index in range(seeds.count)]
    difference, beyond = _differences(_outcomes(seeds, "joint"), greedy)
    yield {}, {"joint_minus_greedy": difference, "beyond_sampling": beyond}, ("joint", *arms)


def _best(outcomes: Sequence[Outcome]) -> Outcome:
    """The one of the best validation accuracy; missing where any is missing, since it might have been the best."""
    if not all(one.ended for one in outcomes):
        return MISSING
    return max(outcomes, key=lambda one: one.number("validation_accuracy") or 0.0)


def _lower_features_corrected(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    """The linear probe of block l after all blocks up to it were freed, against as many updates before the rest came."""
    for row, frees in rows_of_windows(study).items() if study.how_deep else ():
        arms = (window_name(row, frees[-1]), window_name(row, frees[-1], "equal_updates"))
        pairs = [tuple(seeds.outcome(arm, index) for arm in arms) for index in range(seeds.count)]
        probes = [
            (a.last("linear_accuracy", row), b.last("linear_accuracy", row), a.number("test_samples"))
            for a, b in pairs
        ]
        values = {
            "after_minus_longer": tuple(points(a, b) for a, b, _ in probes),
            "beyond_sampling": tuple(beyond_sampling(*probe) for probe in probes),
        }
        yield {"level": row}, values, arms


def _correction_is_deep(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    for row, frees in rows_of_windows(study).items() if study.how_deep else ():
        if len(frees) < 3:
            continue
        first, second = (picture_step(seeds, row, frees, step) for step in (1, 2))
        beyond = tuple(
            min(pair)
            for pair in zip(first.pop("beyond_sampling"), second.pop("beyond_sampling"), strict=True)
        )
        arms = [window_name(row, free) for free in frees[:3]]
        arms += [window_name(row, free, "equal_updates") for free in frees[1:3]]
        yield {"row": row}, {**first, **second, "beyond_sampling": beyond}, arms


def picture_step(seeds: Seeds, row: int, frees: Sequence[int], step: int) -> dict[str, Values]:
    """Points gained by the study's next k over the one before, and over its control of equal updates."""
    treatment = _outcomes(seeds, window_name(row, frees[step]))
    gained, sure = _differences(treatment, _outcomes(seeds, window_name(row, frees[step - 1])))
    control, certain = _differences(
        treatment, _outcomes(seeds, window_name(row, frees[step], "equal_updates"))
    )
    beyond = tuple(min(pair) for pair in zip(sure, certain, strict=True))
    return {f"step_{step}": gained, f"control_{step}": control, "beyond_sampling": beyond}


def _correction_is_local(study: specs.CorrectionSpec, seeds: Seeds) -> Iterator[Found]:
    """λ of block l where all blocks up to it were freed: small, not much above that of the same blocks trained longer at
    the same rate with no block above, and with a gain of the probe; nothing where stage 1 kept the initialisation."""
    lower = {where["level"]: values for where, values, _ in _lower_features_corrected(study, seeds)}
    for row in sorted(set(lower) - set(unforgotten_rows(study, seeds))):
        arms = _freed_and_longer(study, row)
        moved, longer = (_second_stage(seeds, arm, "lambda", row) for arm in arms)
        values = {
            "lambda": tuple(math.inf if one is None else one for one in moved),
            "lambda_over_longer": tuple(_movement(a, b) for a, b in zip(moved, longer, strict=True)),
            "after_minus_longer": lower[row]["after_minus_longer"],
        }
        yield {"level": row}, values, arms


def unforgotten_rows(study: specs.CorrectionSpec, seeds: Seeds) -> dict[int, str]:
    """Rows l whose block l was, in the median seed, still like its initialisation after stage 1: λ has no meaning there."""
    found = {}
    for row in rows_of_windows(study) if study.how_deep else ():
        kept = _second_stage(seeds, _freed_and_longer(study, row)[0], "weight_correlation/init_before", row)
        known = [1 - one for one in kept if one is not None]
        if known and statistics.median(known) < FORGOTTEN:
            share = statistics.median(known)
            found[row] = (
                f"undefined: initialisation not forgotten (1 − c(initialisation, stage 1) is {share:.2f}, {FORGOTTEN} is "
                "asked); train stage 1 longer, at a higher rate or decay"
            )
    return found


def _freed_and_longer(study: specs.CorrectionSpec, row: int) -> tuple[str, str]:
    """The window that frees all blocks up to l, and its control of equal updates."""
    free = rows_of_windows(study)[row][-1]
    return window_name(row, free), window_name(row, free, "equal_updates")


def _second_stage(seeds: Seeds, arm: str, key: str, block: int) -> list[Reading]:
    """A reading at the end of stage 2, one a seed."""
    found: list[Reading] = []
    for index in range(seeds.count):
        run = seeds.runs.get((arm, index))
        found.append(run.outcome.at(run.second_stage_end, key, block) if run else None)
    return found


def _movement(treatment: Reading, control: Reading) -> float:
    """log₁₀ of λ over λ; plus infinity where either is missing."""
    if treatment is None or control is None:
        return math.inf
    return math.log10(max(treatment, STILL) / max(control, STILL))


PICTURE_CLAIMS: Mapping[str, Callable[[specs.CorrectionSpec, Seeds], Iterator[Found]]] = {
    "joint_beats_layerwise": _joint_beats_layerwise,
    "lower_features_corrected": _lower_features_corrected,
    "correction_is_deep": _correction_is_deep,
    "correction_is_local": _correction_is_local,
}
