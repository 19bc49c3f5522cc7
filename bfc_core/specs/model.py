"""Models: learners with named, ordered layers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from bfc_core.specs.scalars import Exact, Level, Positive, Spec, Width, by_default, refuse

Activation = Literal["relu", "quadratic", "gelu", "tanh", "erf", "linear"]
Parametrisation = Literal["standard", "ntk", "mean_field", "mup"]


class QuadraticDensenet(Spec):
    """The paper's learner: every level squares a linear map of all lower levels; the output sums their norms."""

    kind: Literal["quadratic_densenet"] = "quadratic_densenet"
    width: Width = 8
    """m, neurons a level; m ≥ 2k of the teacher learns, m = k does not."""
    readout: Literal["fixed", "signed"] = "fixed"
    """`fixed`: a_l = α_l/√(2k), the learner is told the gap; `signed`: v_l·h_l is trained."""
    expansion: Literal["random", "none"] = "random"
    """`random`: h_l = ((R_l z_l)² − 1)/√2 with m(m+1)/2 fixed random unit rows; `none`: h_l = z_l²."""
    levels: Level | None = None
    """L, the last level; the teacher's when left out (3 for targets without levels)."""
    parametrisation: Parametrisation = "standard"
    """How initial weights and rates scale with width."""
    output_scale: Positive = 1.0
    """Factor on the output (the loss is divided by its square): large is lazy, small is rich. Above 1 trained read-outs
    start divided by it, so that the first outputs keep their size."""


class Mlp(Spec):
    """A fully connected network; hidden layers are numbered 1 … depth."""

    source: ClassVar[str] = "standard"
    kind: Literal["mlp"] = "mlp"
    width: Width = 256
    """Neurons a hidden layer."""
    depth: Annotated[int, Field(strict=True, ge=1, le=64)] = 3
    """Hidden layers."""
    activation: Activation = "relu"
    parametrisation: Parametrisation = "standard"
    """How initial weights and rates scale with width."""
    output_scale: Positive = 1.0
    """Factor on the output (the loss is divided by its square): large is lazy, small is rich. Above 1 trained read-outs
    start divided by it, so that the first outputs keep their size."""


class TreeConvnet(Spec):
    """Convolutions that follow the tree of a random hierarchy: told its architecture, not its rules."""

    source: ClassVar[str] = "Cagnetta, Petrini, Tomasini, Favero, Wyart, arXiv 2307.02129"
    kind: Literal["tree_convnet"] = "tree_convnet"
    width: Width = 64
    """Channels of each layer. There are as many layers as the target has rules from label to input, numbered from the
    input; filter and stride are the symbols that one rule writes."""
    activation: Activation = "relu"
    parametrisation: Parametrisation = "mup"
    """How initial weights and rates scale with width; `mup` starts with small outputs, so that features are learned."""
    output_scale: Positive = 1.0
    """Factor on the output (the loss is divided by its square): large is lazy, small is rich. Above 1 trained read-outs
    start divided by it, so that the first outputs keep their size."""


class Convolutional(Spec):
    """Shared by the image networks; blocks are numbered 1 … B, the stem is 1."""

    activation: Literal["relu", "quadratic"] = "relu"
    auxiliary: Literal["linear", "convolutional"] = "linear"
    """Head on a network cut at a block: linear on pooled features, or two convolutions before it."""


class Resnet(Convolutional):
    """A residual network for 32×32 pictures: 6n + 2 layers in three groups of n blocks."""

    source: ClassVar[str] = "He, Zhang, Ren, Sun, arXiv 1512.03385"
    kind: Literal["resnet"] = "resnet"
    depth: Annotated[int, Field(strict=True, ge=8, le=110)] = 20
    """6n + 2: 20, 32, 44, 56, 110."""
    width: Width = 16
    """Channels of the first group; doubled at each next."""

    @field_validator("depth")
    @classmethod
    def _six_n_plus_two(cls, depth: int) -> int:
        if (depth - 2) % 6:
            refuse([("", f"{depth} is not 6n + 2; accepted: 8, 14, 20, 26, 32, … 110")])
        return depth

    @property
    def blocks(self) -> int:
        return 1 + (self.depth - 2) // 2


def default_widths(fields: dict[str, Any]) -> tuple[int, ...]:
    """16, 32, 64, …: as many as there are groups."""
    return tuple(16 * 2**i for i in range(len(fields.get("groups", (3, 3, 3)))))


class WideResnet(Convolutional):
    """A pre-activation wide residual network; stem, then groups of blocks, each group at half the resolution."""

    source: ClassVar[str] = "Zagoruyko and Komodakis, arXiv 1605.07146"
    kind: Literal["wide_resnet"] = "wide_resnet"
    groups: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=1, le=18)], ...], Field(min_length=1, max_length=5)
    ] = (3, 3, 3)
    """Residual blocks in each group."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=5)] = Field(
        default_factory=default_widths
    )
    """Channels of each group; when left out 16, doubled at each next."""
    stem_stride: Annotated[Literal[1, 2], Exact] = 2
    """2 halves the picture at once (3.4 times faster on a CPU); 1 is the published network."""
    stem_size: Annotated[Literal[3, 5, 7], Exact] = 5
    """Kernel of the stem's convolution."""

    @field_validator("widths")
    @classmethod
    def _one_each(cls, widths: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        groups = info.data.get("groups")
        if groups is not None and len(widths) != len(groups):
            refuse([("", f"{len(widths)} widths for {len(groups)} groups; accepted: one each")])
        return widths

    @property
    def blocks(self) -> int:
        return 1 + sum(self.groups)


class Vgg(Convolutional):
    """A plain convolutional network: VGG with batch normalisation; each convolution is a block."""

    source: ClassVar[str] = "Simonyan and Zisserman, arXiv 1409.1556"
    kind: Literal["vgg"] = "vgg"
    depth: Annotated[Literal[11, 13, 16, 19], Exact] = 16
    """Layers with weights in the published network; its convolutions are the blocks."""
    width: Width = 64
    """Channels of the first group; doubled up to eightfold."""

    @property
    def blocks(self) -> int:
        return self.depth - 3


class Densenet(Convolutional):
    """A densely connected network: every layer of a group reads all earlier ones of the group."""

    source: ClassVar[str] = "Huang, Liu, van der Maaten, Weinberger, arXiv 1608.06993"
    kind: Literal["densenet"] = "densenet"
    groups: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=1, le=32)], ...], Field(min_length=1, max_length=4)
    ] = (4, 4, 4)
    """Dense layers in each group."""
    growth: Width = 12
    """Channels each layer adds."""

    @property
    def blocks(self) -> int:
        return 1 + sum(self.groups)


class Alexnet(Convolutional):
    """An AlexNet-like network for 32×32 pictures: five convolutions and two dense layers."""

    source: ClassVar[str] = "Krizhevsky, Sutskever, Hinton, NeurIPS 2012"
    kind: Literal["alexnet"] = "alexnet"
    width: Width = 64
    """Channels of the first convolution."""

    @property
    def blocks(self) -> int:
        return 7


ModelSpec = Annotated[
    QuadraticDensenet | Mlp | TreeConvnet | Resnet | WideResnet | Vgg | Densenet | Alexnet,
    Field(discriminator="kind"),
    by_default("quadratic_densenet"),
]
CONVOLUTIONAL = (Resnet, WideResnet, Vgg, Densenet, Alexnet)
