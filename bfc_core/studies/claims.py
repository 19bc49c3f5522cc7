"""Verdicts on claims, by order statistics over seeds. The rules are fixed before a study runs.

A claim has components. A component holds one value per *planned* seed and a threshold; larger is better, and a seed
whose treatment diverged or whose member is missing counts as minus infinity. So nothing that went wrong can be dropped.

In JSON an infinite or absent number is null, and `words` says why under the same name (`effect`, `low`, `high`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bfc_core.specs.claims import ClaimSpec
from bfc_core.studies import intervals

Verdict = Literal["supported", "not_supported", "underpowered"]
Unit = Literal["log10 ratio", "-log10 error", "error", "share", "points", "lambda"]

SENTENCES: Mapping[str, str] = {
    "joint_beats_layerwise": "joint training beats layerwise training",
    "lower_features_corrected": "training the higher levels corrects the features of level {level}",
    "correction_is_backward": "the correction of level {level} arrives through the gradient from above",
    "correction_is_deep": "after joint training up to level {row}, correction reaches two or more levels down",
    "weak_directions_corrected": "layerwise training misses the weakest direction of level {level}, correction restores it",
    "correction_is_local": "correction moves the features of level {level} little",
    "shallow_fail_at_equal_samples": "with {samples} samples every shallow learner fails where the deep one succeeds",
    "layerwise_fails": "layerwise training fails",
    "one_level_suffices": "after joint training up to level {row}, freeing one level is enough",
}

PHRASES: Mapping[str, str] = {
    "layerwise_over_joint": "error of layerwise over joint training",
    "joint_error": "error of joint training",
    "before_over_after": "feature error before over after correction",
    "longer_over_after": "feature error of longer layerwise training over that after correction",
    "error_after": "feature error after correction",
    "detached_over_after": "feature error without the gradient path over that with it",
    "joint_minus_greedy": "accuracy of joint training less that of the best greedy",
    "after_minus_longer": "probe accuracy after correction less that after longer training",
    "beyond_sampling": "difference beyond twice its test-sampling error",
    "step_1": "error with no level freed over one",
    "control_1": "error of one level trained as long before over freeing it",
    "step_2": "error with one level freed over two",
    "control_2": "error of two levels trained as long before over freeing them",
    "rest_adds": "error with one level freed over all",
    "weakest_lags": "share of the weakest direction missing before, beyond the others' median,",
    "weakest_after": "share of the weakest direction captured after",
    "even_lags": "the same with directions of equal strength",
    "lambda": "movement λ, correction's part of all change since initialisation,",
    "lambda_over_longer": "movement λ over that of the same depth trained longer at the same rate",
    "shallow_over_deep": "error of the best shallow learner over the deep one",
    "shallow_error": "error of the best shallow learner",
    "deep_error": "error of the deep learner",
    "layerwise_error": "error of layerwise training",
}

POINTS: Mapping[str, str] = {
    "step_1": "accuracy with the first step of levels freed less that with none",
    "control_1": "accuracy of freeing the first step of levels less that of training them as long before",
    "step_2": "accuracy with the second step of levels freed less that with the first",
    "control_2": "accuracy of freeing both steps of levels less that of training them as long before",
}
"""The same where the component is a difference of accuracies."""


def phrase_of(name: str, unit: str) -> str:
    """What a component measures, in words."""
    phrase = PHRASES.get(name, name.replace("_", " "))
    return POINTS.get(name, phrase) if unit == "points" else phrase


def asked(given: Sequence[ClaimSpec] | None, default: Iterable[str]) -> dict[str, Mapping[str, float]]:
    """The claims to judge, in order, with the thresholds that the spec changes."""
    if given is None:
        return {name: {} for name in default}
    return {claim.claim: claim.thresholds for claim in given}


@dataclass(frozen=True, slots=True)
class Component:
    """One value per planned seed against a threshold.

    `values` are in the unit shown. With `at_most` smaller is better, and what counts as worst is plus infinity.
    """

    name: str
    values: tuple[float, ...]
    threshold: float
    unit: Unit = "log10 ratio"
    at_most: bool = False

    @property
    def sign(self) -> int:
        return -1 if self.at_most else 1

    @property
    def passing(self) -> int:
        """Seeds that reach the threshold."""
        return sum(self.sign * value >= self.sign * self.threshold for value in self.values)

    @property
    def interval(self) -> tuple[float, float]:
        return intervals.order_interval(self.values)

    @property
    def verdict(self) -> Verdict:
        """By the interval alone: the whole of it at or past the threshold, the whole of it short, or neither."""
        low, high = sorted(self.sign * end for end in self.interval)
        if low >= self.sign * self.threshold:
            return "supported"
        return "not_supported" if high < self.sign * self.threshold else "underpowered"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about one study. `measured` counts the seeds whose members all ended by themselves, diverged ones included.

    `where` places it: readout, level, row or samples.
    """

    claim: str
    components: tuple[Component, ...]
    measured: int
    where: Mapping[str, Any] = field(default_factory=dict)

    @property
    def planned(self) -> int:
        return len(self.components[0].values)

    @property
    def verdict(self) -> Verdict:
        verdicts = [component.verdict for component in self.components]
        if self.measured < intervals.LEAST_SEEDS:
            return "underpowered"
        if all(verdict == "supported" for verdict in verdicts):
            return "supported"
        return "not_supported" if "not_supported" in verdicts else "underpowered"

    @property
    def deciding(self) -> tuple[Component, int | None]:
        """The component that settles the claim or keeps it open, and the number of seeds that would settle it.

        A claim falls with its first failing component and stands with its last undecided one. Where members are
        missing, the planned seeds would do.
        """
        if self.verdict == "supported":
            return self.components[0], None
        if self.verdict == "not_supported":
            return next(c for c in self.components if c.verdict == "not_supported"), None
        if self.measured < intervals.LEAST_SEEDS <= self.planned:
            return self.components[0], self.planned
        open_components = [c for c in self.components if c.verdict == "underpowered"] or list(self.components)
        needed = [(c, _seeds_that_would_do(c)) for c in open_components]
        failing = [(c, n) for c, n in needed if 2 * c.passing < len(c.values) and n is not None]
        if failing:
            return min(failing, key=lambda pair: pair[1])
        return max(needed, key=lambda pair: math.inf if pair[1] is None else pair[1])


def _seeds_that_would_do(component: Component) -> int | None:
    """Seeds with which the component would be settled four times in five, if further ones pass as often as these did.

    The share is (passing + 1/2)/(n + 1), so that a clean sweep of few seeds does not promise one of many.
    """
    n = len(component.values)
    share = (component.passing + 0.5) / (n + 1)
    needed = intervals.seeds_needed(max(share, 1 - share))
    return None if needed is None else max(needed, n + 1)


def judge(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """The claims as JSON, in the order given; `family_wise` is true while every earlier one is supported."""
    judged, gate = [], True
    for claim in claims:
        judged.append(_show(claim, family_wise=gate))
        gate = gate and claim.verdict == "supported"
    return judged


def _show(claim: Claim, *, family_wise: bool) -> dict[str, Any]:
    first = _show_component(claim.components[0])
    component, needed = claim.deciding
    return {
        "claim": claim.claim,
        **claim.where,
        "verdict": claim.verdict,
        "n": claim.measured,
        "planned": claim.planned,
        "effect": first["effect"],
        "interval": first["interval"],
        "unit": first["unit"],
        "words": first["words"],
        "components": [_show_component(c) for c in claim.components],
        "decided_by": component.name,
        "n_needed": needed,
        "family_wise": family_wise,
        "rule": rule(claim.planned),
        "says": says(claim),
    }


def _show_component(component: Component) -> dict[str, Any]:
    effect, (low, high) = intervals.median(component.values), component.interval
    few = len(component.values) < intervals.LEAST_SEEDS
    words = {"effect": _word(effect), "low": _word(low), "high": _word(high)}
    if few:
        words |= dict.fromkeys(("low", "high"), f"no interval below {intervals.LEAST_SEEDS} seeds")
    return {
        "name": component.name,
        "effect": finite(effect),
        "interval": [finite(low), finite(high)],
        "threshold": component.threshold,
        "direction": "at_most" if component.at_most else "at_least",
        "unit": component.unit,
        "passing": component.passing,
        "verdict": component.verdict,
        "words": {name: word for name, word in words.items() if word},
    }


def finite(value: float) -> float | None:
    """The value as JSON can hold it: None for an infinity."""
    return value if math.isfinite(value) else None


def _word(value: float) -> str | None:
    if math.isfinite(value):
        return None
    return f"{'plus' if value > 0 else 'minus'} infinity: a diverged or missing seed ranks worst"


def rule(planned: int) -> str:
    """The rule in words, for `planned` seeds."""
    r = intervals.rank(planned)
    if r == 0:
        give = "gives" if planned == 1 else "give"
        return f"order statistics need {intervals.LEAST_SEEDS} seeds; {planned} {give} no 95 % interval for a median"
    return (
        f"interval from order statistics {r} and {planned + 1 - r} of {planned} planned seeds "
        f"({intervals.coverage(planned):.1%}); supported when it lies wholly at or past the threshold in every component"
    )


def says(claim: Claim) -> str:
    """The verdict in plain words, with the deciding component's median, interval and threshold."""
    sentence = SENTENCES[claim.claim].format_map(claim.where)
    readout = claim.where.get("readout")
    place = f" ({readout} read-out)" if readout in ("fixed", "signed") else ""
    component, needed = claim.deciding
    share = "" if claim.measured == claim.planned else f"{claim.measured} of "
    seeds = f"{share}{claim.planned} {'seed' if claim.planned == 1 else 'seeds'}"
    verdict = claim.verdict.replace("_", " ")
    remedy = f"; {_remedy(claim, needed)}" if claim.verdict == "underpowered" else ""
    return (
        f"{sentence[0].upper()}{sentence[1:]}{place}: {verdict} on {seeds}. {_evidence(component)}{remedy}."
    )


def _remedy(claim: Claim, needed: int | None) -> str:
    if claim.measured < intervals.LEAST_SEEDS <= claim.planned:
        return f"the planned {claim.planned} seeds would do, but members of {claim.planned - claim.measured} are missing"
    if needed is None:
        return f"if seeds go on like these, even {intervals.MOST_SEEDS} might not do"
    return f"if seeds go on like these, about {needed} would do"


def _evidence(component: Component) -> str:
    median, ends = intervals.median(component.values), component.interval
    if component.unit == "-log10 error":
        ends = ends[::-1]
    low, high = (_in_words(end, component) for end in ends)
    span = f" [{low}, {high}]" if intervals.rank(len(component.values)) else ""
    asked = f"{_asked(component)} {_in_words(component.threshold, component)} is asked"
    phrase = phrase_of(component.name, component.unit)
    said, lost = f"{phrase[0].upper()}{phrase[1:]}", sum(map(math.isinf, component.values))
    worst = f"{lost} of {len(component.values)} seeds diverged or are missing and rank worst" if lost else ""
    if math.isinf(median):
        return f"{said} has no median: {worst}; {asked}"
    return f"{said} has median {_in_words(median, component)}{span}, where {asked}" + (f"; {worst}" if worst else "")


def _asked(component: Component) -> str:
    """Errors read the other way round than their logarithms."""
    return "at most" if component.at_most or component.unit == "-log10 error" else "at least"


def _in_words(value: float, component: Component) -> str:
    if math.isinf(value):
        return "worst"
    if component.unit == "log10 ratio":
        return f"{_three_digits(10**value)}-fold"
    if component.unit == "-log10 error":
        return f"{10**-value:.2g}"
    return f"{value:.3g}" + (" points" if component.unit == "points" else "")


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"
