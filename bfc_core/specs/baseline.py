"""Baselines: shallow learners, and generic deep ones, on the same samples."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bfc_core.specs.model import Activation
from bfc_core.specs.scalars import Count, NonNegative, Positive, Rate, Spec, Steps, Width

Grid = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100)]
Penalties = Annotated[tuple[NonNegative, ...], Field(min_length=1, max_length=100)]
DEFAULT_PENALTIES = tuple(10.0**e for e in range(-9, 2))
SCREEN_SAMPLES = 384
"""Samples on which a kernel's whole grid is scored; all penalties of this size cost less than a Cholesky of 2,000."""


class KernelRidge(Spec):
    """Kernel ridge regression; bandwidth and penalty chosen on validation, then refitted on all samples."""

    source: ClassVar[str] = (
        "RBF, Laplace: standard; arc-cosine: Cho and Saul, 2009; NTK: Jacot, Gabriel, Hongler, arXiv 1806.07572"
    )
    kind: Literal["kernel_ridge"] = "kernel_ridge"
    kernel: Literal["rbf", "laplace", "polynomial", "arc_cosine", "ntk"] = "rbf"
    """`arc_cosine` is the network's prior (NNGP), `ntk` its tangent kernel, both of a ReLU network in closed form."""
    depth: Annotated[int, Field(strict=True, ge=1, le=64)] = 3
    """Hidden layers of `arc_cosine` and `ntk`."""
    degree: Annotated[int, Field(strict=True, ge=1, le=32)] = 4
    """Degree of `polynomial`."""
    bandwidths: Grid = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Bandwidths of `rbf` and `laplace`, in units of √d (offsets of `polynomial`)."""
    penalties: Penalties = DEFAULT_PENALTIES
    """Ridge penalties, in units of the mean kernel eigenvalue n⁻¹ tr K."""


class TangentKernelRidge(Spec):
    """Ridge regression with the empirical tangent kernel of a network at its initialisation."""

    source: ClassVar[str] = (
        "Jacot, Gabriel, Hongler, arXiv 1806.07572; Novak, Sohl-Dickstein, Schoenholz, arXiv 2206.08720"
    )
    kind: Literal["tangent_kernel"] = "tangent_kernel"
    network: Literal["quadratic_densenet", "mlp"] = "mlp"
    width: Width = 512
    depth: Annotated[int, Field(strict=True, ge=1, le=16)] = 3
    """Hidden layers, or levels beyond the first."""
    activation: Activation = "relu"
    penalties: Penalties = DEFAULT_PENALTIES


class RandomFeatures(Spec):
    """Ridge regression on random features."""

    source: ClassVar[str] = "Rahimi and Recht, 2007"
    kind: Literal["random_features"] = "random_features"
    activation: Literal["relu", "quadratic"] = "relu"
    features: Width = 4096
    penalties: Penalties = DEFAULT_PENALTIES


class TwoLayerNetwork(Spec):
    """A trained network with one hidden layer."""

    source: ClassVar[str] = "standard"
    kind: Literal["two_layer"] = "two_layer"
    activation: Literal["relu", "quadratic"] = "relu"
    width: Width = 256
    rates: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=20)] = (0.002, 0.01, 0.05)
    """Peak rates of Adam, chosen on validation."""
    steps: Steps = 2000
    batch: Count | None = None
    """Samples a step; when left out 128, and 64 where fewer than 2,400 are fitted."""
    epochs: Count | None = None
    """Passes over the samples at most: fewer steps where there are few samples, which more would only fit too closely.
    When left out 80, and 40 where fewer than 2,400 are fitted."""


class MlpBaseline(Spec):
    """A generic deep network: four-layer by default, not told the target's architecture."""

    source: ClassVar[str] = "standard"
    kind: Literal["mlp"] = "mlp"
    activation: Literal["relu", "quadratic"] = "relu"
    width: Width = 128
    depth: Annotated[int, Field(strict=True, ge=1, le=16)] = 3
    """Hidden layers."""
    rates: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=20)] = (0.005, 0.015, 0.045)
    """Peak rates of Adam, chosen on validation."""
    steps: Steps = 1000
    batch: Count | None = None
    """Samples a step; when left out 64, and 32 where fewer than 2,400 are fitted."""
    epochs: Count | None = None
    """Passes over the samples at most: fewer steps where there are few samples. When left out 160, and 80 where fewer
    than 2,400 are fitted."""


FEW_SAMPLES = 2400
"""Below this networks learn as well or better from batches of half the size, in as many steps."""


def fit_length(spec: TwoLayerNetwork | MlpBaseline, samples: int) -> tuple[int, int]:
    """Steps of a fit on so many samples, and samples a step: what is said, or the defaults for so many samples."""
    batch, epochs = (128, 80) if isinstance(spec, TwoLayerNetwork) else (64, 160)
    half = 2 if samples < FEW_SAMPLES else 1
    batch, epochs = spec.batch or batch // half, spec.epochs or epochs // half
    batch = min(batch, samples)
    return min(spec.steps, math.ceil(epochs * samples / batch)), batch


class RecursiveFeatureMachine(Spec):
    """A Laplace kernel machine whose metric is its own average gradient outer product, recomputed a few times."""

    source: ClassVar[str] = "Radhakrishnan, Beaglehole, Pandit, Belkin, arXiv 2212.13881"
    kind: Literal["recursive_feature_machine"] = "recursive_feature_machine"
    iterations: Annotated[int, Field(strict=True, ge=1, le=50)] = 5
    bandwidths: Grid = (0.5, 1.0, 2.0, 4.0)
    """In units of √d."""
    penalties: Penalties = tuple(10.0**e for e in range(-8, 0))


BaselineKind = Annotated[
    KernelRidge
    | TangentKernelRidge
    | RandomFeatures
    | TwoLayerNetwork
    | MlpBaseline
    | RecursiveFeatureMachine,
    Field(discriminator="kind"),
]

Group = Literal["deep_matched", "deep_generic", "shallow"]


def baseline_name(baseline: Spec) -> str:
    """The learner's name in tables, such as `kernel_ridge/rbf`."""
    for field in ("kernel", "network", "activation"):
        if field in type(baseline).model_fields:
            return f"{baseline.kind}/{getattr(baseline, field)}"  # type: ignore[attr-defined]
    return str(baseline.kind)  # type: ignore[attr-defined]


#: every learner that a study can name, with its spec at the defaults and its group in claims
LEARNERS: dict[str, tuple[Group, Spec]] = {
    "kernel_ridge/rbf": ("shallow", KernelRidge()),
    "kernel_ridge/laplace": ("shallow", KernelRidge(kernel="laplace")),
    "kernel_ridge/polynomial": ("shallow", KernelRidge(kernel="polynomial")),
    "kernel_ridge/arc_cosine": ("shallow", KernelRidge(kernel="arc_cosine")),
    "kernel_ridge/ntk": ("shallow", KernelRidge(kernel="ntk")),
    "tangent_kernel/quadratic_densenet": (
        "shallow",
        TangentKernelRidge(network="quadratic_densenet", width=32, activation="quadratic"),
    ),
    "tangent_kernel/mlp": ("shallow", TangentKernelRidge()),
    "random_features/relu": ("shallow", RandomFeatures()),
    "random_features/quadratic": ("shallow", RandomFeatures(activation="quadratic")),
    "two_layer/relu": ("shallow", TwoLayerNetwork()),
    "two_layer/quadratic": ("shallow", TwoLayerNetwork(activation="quadratic")),
    "recursive_feature_machine": ("shallow", RecursiveFeatureMachine()),
    "mlp/relu": ("deep_generic", MlpBaseline()),
    "mlp/quadratic": ("deep_generic", MlpBaseline(activation="quadratic")),
}
