"""Probes: what is measured on features and weights of every layer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bfc_core.specs.scalars import Flag, Level, NonNegative, Spec, Steps, Unit, Width
from bfc_core.specs.series import Series


class Probe(Spec):
    """Shared by all probes: at which layers, and when."""

    source: ClassVar[str] = "docs/science.md, Measures; after Allen-Zhu and Li, arXiv 2001.04413"
    readings: ClassVar[tuple[Series, ...]] = ()
    layers: tuple[Level, ...] | None = None
    """Layer numbers; all when left out."""
    every: Steps | None = None
    """Steps between probes within a stage; only at the stages' ends when left out. Initialisation and stage ends are always probed."""


class FeatureError(Probe):
    """Part of a teacher level's features that a layer cannot express linearly: residual over variance, float64 least squares, cross-fitted."""

    readings = (
        Series("feature_error", "Var z*", "what a layer's features cannot express linearly of the teacher's"),
        Series("feature_error_balanced", "Var z*", "its mean over the principal components of the teacher's features"),
    )
    kind: Literal["feature_error"] = "feature_error"
    inputs: Annotated[int, Field(strict=True, ge=1000, le=10**6)] = 8000
    """Fresh inputs, at least 40 times the layer's dimension; half fit, half test."""
    balanced: Flag = False
    """Also the mean over principal components of the teacher's features, each alone."""


class Captured(Probe):
    """For each teacher neuron: 1 − the cross-fitted residual on a layer's features; with initialisation and chance."""

    readings = (
        Series("captured", "part", "of teacher neuron i, strongest first; `subspace` where only their span is visible", "i"),
        Series("captured_initial", "part", "the same at initialisation", "i"),
        Series("captured_effective", "part", "the same with a ridge, so that vanishing features do not count", "i"),
        Series("captured_chance", "part", "what random features of that width would capture"),
    )
    kind: Literal["captured"] = "captured"
    inputs: Annotated[int, Field(strict=True, ge=1000, le=10**6)] = 8000
    effective: Flag = True
    """Also with ridge 1e-2·tr Cov(z)/m, so that vanishing rows do not count."""


class Linear(Probe):
    """A linear probe of the target (ridge, or logistic for classes) against initialisation and shuffled labels."""

    source: ClassVar[str] = "Alain and Bengio, arXiv 1610.01644"
    readings = (
        Series("linear", "Var y", "test error of a linear probe of the layer"),
        Series("linear_initial", "Var y", "the same at initialisation"),
        Series("linear_shuffled", "Var y", "the same on shuffled labels"),
        Series("linear_accuracy", "part", "test accuracy of a linear probe, for classes"),
        Series("linear_accuracy_initial", "part", "the same at initialisation"),
        Series("linear_accuracy_shuffled", "part", "the same on shuffled labels"),
    )
    kind: Literal["linear"] = "linear"
    inputs: Annotated[int, Field(strict=True, ge=100, le=10**6)] = 4000
    penalties: tuple[NonNegative, ...] | None = None
    """Grid of penalties, chosen on held-out data; a logarithmic grid when left out."""
    streaming: Flag = False
    """One-pass ridge with generalised cross-validation: cheap enough for live curves."""
    curve: Annotated[tuple[Annotated[int, Field(strict=True, ge=20)], ...], Field(max_length=20)] = ()
    """Also fitted on these smaller numbers of samples: how many a layer's features need."""


class TwoLayer(Probe):
    """A two-layer probe of the target, against initialisation and shuffled labels."""

    readings = (
        Series("two_layer", "Var y", "test error of a two-layer probe of the layer"),
        Series("two_layer_initial", "Var y", "the same at initialisation"),
        Series("two_layer_shuffled", "Var y", "the same on shuffled labels"),
        Series("two_layer_accuracy", "part", "test accuracy of a two-layer probe, for classes"),
        Series("two_layer_accuracy_initial", "part", "the same at initialisation"),
        Series("two_layer_accuracy_shuffled", "part", "the same on shuffled labels"),
    )
    kind: Literal["two_layer"] = "two_layer"
    inputs: Annotated[int, Field(strict=True, ge=100, le=10**6)] = 4000
    width: Width = 128


class Similarity(Probe):
    """Shared by similarities between the same layer at two times, or between layers."""

    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 4000
    against: Literal["initial", "before", "layers"] = "initial"
    """Compared with: initialisation, the start of the last stage, or every other layer now."""


class WeightCorrelation(Probe):
    """How far a layer moved: chance-corrected linear CKA between initialisation, the start of the last stage and now,
    λ, and raw, aligned and matched cosines of its weights beside them."""

    readings = (
        Series("weight_correlation", "similarity", "chance-corrected, between two of init, before, after", "pair"),
        Series("raw_cosine", "cosine", "of the weights as they are", "pair"),
        Series("aligned_cosine", "cosine", "after the best rotation of the neurons", "pair"),
        Series("matched_cosine", "cosine", "after the best permutation of the neurons", "pair"),
        Series("lambda", "lambda", "how much of a layer its last stage changed"),
    )
    kind: Literal["weight_correlation"] = "weight_correlation"
    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 4000
    """Fixed inputs on which features are compared."""


class Cka(Similarity):
    """Centred kernel alignment with the linear kernel, debiased and biased."""

    source: ClassVar[str] = (
        "Kornblith, Norouzi, Lee, Hinton, arXiv 1905.00414; debiased: Nguyen, Raghu, Kornblith, arXiv 2010.15327"
    )
    readings = (
        Series("cka", "similarity", "centred kernel alignment, debiased; `/layer` when layers are compared", "layer"),
        Series("cka_biased", "similarity", "the same, biased", "layer"),
    )
    kind: Literal["cka"] = "cka"
    debiased: Flag = True


class Svcca(Similarity):
    """Mean canonical correlation after truncation to most of the variance."""

    source: ClassVar[str] = "Raghu, Gilmer, Yosinski, Sohl-Dickstein, arXiv 1706.05806"
    readings = (Series("svcca", "similarity", "mean canonical correlation", "layer"),)
    kind: Literal["svcca"] = "svcca"
    variance: Unit = 0.99
    """Part of the variance kept."""


class Pwcca(Similarity):
    """Canonical correlations weighted by how much of the first representation each direction accounts for."""

    source: ClassVar[str] = "Morcos, Raghu, Bengio, arXiv 1806.05759"
    readings = (Series("pwcca", "similarity", "canonical correlations, weighted", "layer"),)
    kind: Literal["pwcca"] = "pwcca"


class Procrustes(Similarity):
    """Similarity after the best rotation: nuclear norm of the cross-product of centred, unit-norm features."""

    source: ClassVar[str] = "Ding, Denain, Steinhardt, arXiv 2108.01661"
    readings = (Series("procrustes", "similarity", "after the best rotation", "layer"),)
    kind: Literal["procrustes"] = "procrustes"


class SubspaceAngles(Similarity):
    """Principal angles between the spans of centred features."""

    source: ClassVar[str] = "Björck and Golub, 1973"
    readings = (
        Series("subspace_angle_largest", "rad", "largest principal angle", "layer"),
        Series("subspace_angle_mean", "rad", "mean principal angle", "layer"),
    )
    kind: Literal["subspace_angles"] = "subspace_angles"


class EffectiveRank(Probe):
    """exp of the entropy of the normalised covariance spectrum of a layer's features."""

    source: ClassVar[str] = "Roy and Vetterli, 2007"
    readings = (Series("effective_rank", "dimension", "exp of the entropy of the covariance spectrum"),)
    kind: Literal["effective_rank"] = "effective_rank"
    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 4000


class Movement(Probe):
    """Relative distance of a layer's weights from initialisation."""

    readings = (
        Series("movement", "ratio", "distance of the weights from initialisation, over their norm there"),
        Series("movement_stage", "ratio", "distance from the start of the last stage, over their norm there"),
    )
    kind: Literal["movement"] = "movement"


class TangentKernel(Probe):
    """Change of the empirical tangent kernel since initialisation, and its alignment with the target."""

    source: ClassVar[str] = "Fort et al., arXiv 2010.15110; alignment: Cristianini et al., 2001"
    readings = (
        Series("tangent_kernel_change", "part", "1 − cosine between the tangent kernel and the initial one"),
        Series("tangent_kernel_alignment", "cosine", "of the centred tangent kernel with the target"),
        Series("tangent_kernel_alignment_initial", "cosine", "the same at initialisation"),
    )
    kind: Literal["tangent_kernel"] = "tangent_kernel"
    inputs: Annotated[int, Field(strict=True, ge=8, le=20_000)] = 256


class Agop(Probe):
    """Alignment of a layer's Gram matrix WᵀW with its average gradient outer product."""

    source: ClassVar[str] = "Radhakrishnan, Beaglehole, Pandit, Belkin, arXiv 2212.13881"
    readings = (
        Series("agop_alignment", "cosine", "of WᵀW with the average gradient outer product"),
        Series("agop_alignment_initial", "cosine", "the same at initialisation"),
    )
    kind: Literal["agop"] = "agop"
    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 2000


class Degrees(Probe):
    """Variance by polynomial degree of what the best affine fit leaves of each teacher neuron."""

    readings = (
        Series("degrees", "Var z*", "what the best affine fit leaves, of polynomial degree j; `/j/i` of neuron i", "j"),
        Series("degrees_error", "Var z*", "standard error of that estimate", "j"),
        Series("split", "part", "of the difference of the level's quadratic forms: by span (`span`, `cross`, `orthogonal`) and by degree (`degree_2` …)", "name"),
    )
    kind: Literal["degrees"] = "degrees"
    inputs: Annotated[int, Field(strict=True, ge=1000, le=10**6)] = 16000
    highest: Annotated[int, Field(strict=True, ge=1, le=32)] = 8


class Sensitivity(Probe):
    """Fourier coefficients of the network on ±1 inputs, or sensitivity to synonyms by level for random hierarchies."""

    readings = (
        Series("sensitivity", "ratio", "to synonyms at a height of the hierarchy: 0 when they do not matter", "height"),
        Series("fourier", "ratio", "coefficient of the target's monomial i, over the target's own", "i"),
        Series("fourier_rest", "Var y", "what lies outside the target's monomials"),
    )
    kind: Literal["sensitivity"] = "sensitivity"
    inputs: Annotated[int, Field(strict=True, ge=100, le=10**6)] = 4000


class InformationGap(Probe):
    """Probe accuracy of each layer minus the best of the layers below: what each layer adds."""

    readings = (Series("information_gap", "part", "what a layer's linear probe gains over the best layer below"),)
    kind: Literal["information_gap"] = "information_gap"
    inputs: Annotated[int, Field(strict=True, ge=100, le=10**6)] = 4000
    ridge: NonNegative | None = None


class Pictures(Probe):
    """What blocks look for, as pictures at the end of training: first-layer filters, and inputs that excite channels most."""

    source: ClassVar[str] = "Erhan et al., 2009; Fourier basis and colours: Olah, Mordvintsev, Schubert, Distill 2017"
    kind: Literal["pictures"] = "pictures"
    channels: Annotated[int, Field(strict=True, ge=1, le=64)] = 12
    """Channels of each block, the first ones; the same before and after the last stage."""
    steps: Annotated[int, Field(strict=True, ge=1, le=2000)] = 200
    """Ascent steps. `layers` left out means the middle and the last block."""


ProbeKind = Annotated[
    FeatureError | Captured | Linear | TwoLayer | WeightCorrelation | Cka | Svcca | Pwcca | Procrustes | SubspaceAngles
    | EffectiveRank | Movement | TangentKernel | Agop | Degrees | Sensitivity | InformationGap | Pictures,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = [
    "Agop", "Captured", "Cka", "Degrees", "EffectiveRank", "FeatureError", "InformationGap", "Linear", "Movement",
    "Pictures", "Probe", "ProbeKind", "Procrustes", "Pwcca", "Sensitivity", "SubspaceAngles", "Svcca", "TangentKernel", "TwoLayer",
    "WeightCorrelation",
]  # fmt: skip
