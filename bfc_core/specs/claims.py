"""Claims that a study can be asked to judge, with their components and default thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from bfc_core.specs.scalars import Real, Spec, refuse

ClaimName = Literal[
    "joint_beats_layerwise",
    "lower_features_corrected",
    "correction_is_backward",
    "correction_is_deep",
    "weak_directions_corrected",
    "correction_is_local",
    "shallow_fail_at_equal_samples",
    "layerwise_fails",
    "one_level_suffices",
]

THRESHOLDS: Mapping[str, Mapping[str, float]] = {
    "joint_beats_layerwise": {"layerwise_over_joint": 1.0, "joint_error": 2.0},
    "lower_features_corrected": {"before_over_after": 1.0, "longer_over_after": 1.0, "error_after": 2.0},
    "correction_is_backward": {"detached_over_after": 1.0},
    "correction_is_deep": {"step_1": 0.3, "control_1": 0.3, "step_2": 0.3, "control_2": 0.3},
    "weak_directions_corrected": {"weakest_lags": 0.3, "weakest_after": 0.95, "even_lags": 0.1},
    "correction_is_local": {"lambda": 0.1, "before_over_after": 1.0},
    "shallow_fail_at_equal_samples": {"shallow_over_deep": 1.0, "shallow_error": 0.2, "deep_error": 2.0},
    "layerwise_fails": {"layerwise_error": 0.1},
    "one_level_suffices": {"step_1": 0.3, "control_1": 0.3, "rest_adds": 0.3},
}
"""Every claim with the default threshold of each component, in the order in which they are judged: the numbered claims
of docs/science.md, then the two that stand beside them, so that a companion never costs a claim its place in the family.
`…_over_…` and `step`, `control`, `rest_adds` are log₁₀ ratios; `joint_error`, `error_after` and `deep_error` are −log₁₀."""

PICTURE_THRESHOLDS: Mapping[str, Mapping[str, float]] = {
    "joint_beats_layerwise": {"joint_minus_greedy": 3.0, "beyond_sampling": 0.0},
    "lower_features_corrected": {"after_minus_longer": 2.0, "beyond_sampling": 0.0},
    "correction_is_deep": {
        "step_1": 1.5,
        "control_1": 1.5,
        "step_2": 1.5,
        "control_2": 1.5,
        "beyond_sampling": 0.0,
    },
    "correction_is_local": {"lambda": 0.1, "lambda_over_longer": 0.176, "after_minus_longer": 2.0},
}
"""The same for pictures, in points of accuracy. `beyond_sampling` is what a difference exceeds twice its test-sampling
error by; `lambda_over_longer` is a log₁₀ ratio, at most 1.5-fold."""


class ClaimSpec(Spec):
    """A claim to be judged, with its thresholds stated before the study runs."""

    claim: ClaimName
    thresholds: dict[Annotated[str, Field(max_length=64)], Real] = Field(default_factory=dict)
    """Thresholds by component, where they differ from those of docs/science.md."""

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"claim": "joint_beats_layerwise"}

    @field_validator("thresholds")
    @classmethod
    def _known(cls, thresholds: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        claim = info.data.get("claim", "")
        components = {**THRESHOLDS.get(claim, {}), **PICTURE_THRESHOLDS.get(claim, {})}
        accepted = ", ".join(components)
        if components:
            refuse([(f"/{name}", f"is no component of this claim; accepted: {accepted}")
                    for name in thresholds if name not in components])  # fmt: skip
        return thresholds


__all__ = ["PICTURE_THRESHOLDS", "THRESHOLDS", "ClaimName", "ClaimSpec"]
