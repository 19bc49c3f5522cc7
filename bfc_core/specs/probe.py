"""Probes: what is measured on features and weights of every layer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bfc_core.specs.scalars import Flag, Level, NonNegative, Spec, Steps, Unit, Width


class Probe(Spec):
    """Shared by all probes: at which layers, and when."""

    source: ClassVar[str] = "SCIENCE §3"
    layers: tuple[Level, ...] | None = None
    """Layer numbers; all when left out."""
    every: Steps | None = None
    """Steps between probes within a stage; only at the stages' ends when left out. Initialisation and stage ends are always probed."""


class FeatureError(Probe):
    """Part of a teacher level's features that a layer cannot express linearly: residual over variance, float64 least squares, cross-fitted."""

    kind: Literal["feature_error"] = "feature_error"
    inputs: Annotated[int, Field(strict=True, ge=1000, le=10**6)] = 8000
    """Fresh inputs, at least 40 times the layer's dimension; half fit, half test."""
    balanced: Flag = False
    """Also the mean over principal components of the teacher's features, each alone."""


class Captured(Probe):
    """For each teacher neuron: 1 − the cross-fitted residual on a layer's features; with initialisation and chance."""

    kind: Literal["captured"] = "captured"
    inputs: Annotated[int, Field(strict=True, ge=1000, le=10**6)] = 8000
    effective: Flag = True
    """Also with ridge 1e-2·tr Cov(z)/m, so that vanishing rows do not count."""


class Linear(Probe):
    """A linear probe of the target (ridge, or logistic for classes) against initialisation and shuffled labels."""

    source: ClassVar[str] = "Alain and Bengio, arXiv 1610.01644"
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

    kind: Literal["weight_correlation"] = "weight_correlation"
    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 4000
    """Fixed inputs on which features are compared."""


class Cka(Similarity):
    """Centred kernel alignment with the linear kernel, debiased and biased."""

    source: ClassVar[str] = (
        "Kornblith, Norouzi, Lee, Hinton, arXiv 1905.00414; debiased: Nguyen, Raghu, Kornblith, arXiv 2010.15327"
    )
    kind: Literal["cka"] = "cka"
    debiased: Flag = True


class Svcca(Similarity):
    """Mean canonical correlation after truncation to most of the variance."""

    source: ClassVar[str] = "Raghu, Gilmer, Yosinski, Sohl-Dickstein, arXiv 1706.05806"
    kind: Literal["svcca"] = "svcca"
    variance: Unit = 0.99
    """Part of the variance kept."""


class Pwcca(Similarity):
    """Canonical correlations weighted by how much of the first representation each direction accounts for."""

    source: ClassVar[str] = "Morcos, Raghu, Bengio, arXiv 1806.05759"
    kind: Literal["pwcca"] = "pwcca"


class Procrustes(Similarity):
    """Similarity after the best rotation: nuclear norm of the cross-product of centred, unit-norm features."""

    source: ClassVar[str] = "Ding, Denain, Steinhardt, arXiv 2108.01661"
    kind: Literal["procrustes"] = "procrustes"


class SubspaceAngles(Similarity):
    """Principal angles between the spans of centred features."""

    source: ClassVar[str] = "Björck and Golub, 1973"
    kind: Literal["subspace_angles"] = "subspace_angles"


class EffectiveRank(Probe):
    """exp of the entropy of the normalised covariance spectrum of a layer's features."""

    source: ClassVar[str] = "Roy and Vetterli, 2007"
    kind: Literal["effective_rank"] = "effective_rank"
    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 4000


class Movement(Probe):
    """Relative distance of a layer's weights from initialisation."""

    kind: Literal["movement"] = "movement"


class TangentKernel(Probe):
    """Change of the empirical tangent kernel since initialisation, and its alignment with the target."""

    source: ClassVar[str] = "Fort et al., arXiv 2010.15110; alignment: Cristianini et al., 2001"
    kind: Literal["tangent_kernel"] = "tangent_kernel"
    inputs: Annotated[int, Field(strict=True, ge=8, le=20_000)] = 256


class Agop(Probe):
    """Alignment of a layer's Gram matrix WᵀW with its average gradient outer product."""

    source: ClassVar[str] = "Radhakrishnan, Beaglehole, Pandit, Belkin, arXiv 2212.13881"
    kind: Literal["agop"] = "agop"
    inputs: Annotated[int, Field(strict=True, ge=8, le=10**6)] = 2000


class Degrees(Probe):
    """Variance by polynomial degree of what the best affine fit leaves of each teacher neuron."""

    kind: Literal["degrees"] = "degrees"
    inputs: Annotated[int, Field(strict=True, ge=1000, le=10**6)] = 16000
    highest: Annotated[int, Field(strict=True, ge=1, le=32)] = 8


class Sensitivity(Probe):
    """Fourier coefficients of the network on ±1 inputs, or sensitivity to synonyms by level for random hierarchies."""

    kind: Literal["sensitivity"] = "sensitivity"
    inputs: Annotated[int, Field(strict=True, ge=100, le=10**6)] = 4000


class InformationGap(Probe):
    """Probe accuracy of each layer minus the best of the layers below: what each layer adds."""

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
