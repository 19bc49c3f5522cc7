"""Data: synthetic targets with known features, and uploaded data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from bfc_core.specs.scalars import (
    DatasetId,
    Dim,
    Fraction,
    Index,
    NonNegative,
    Real,
    Samples,
    Spec,
    by_default,
    refuse,
)

SampleCount = Samples | Literal["fresh"]


class Synthetic(Spec):
    """Inputs drawn from a known law and labelled by a known teacher."""

    samples: SampleCount = 4000
    """Training samples N; `"fresh"` draws new inputs at each step."""
    test_samples: Annotated[int, Field(strict=True, ge=100, le=10**7)] = 8000
    """Test inputs, the same for all arms of a seed."""
    label_noise: NonNegative = 0.0
    """Standard deviation of Gaussian noise on training labels, in units of the standard deviation of y."""


def default_gap(fields: dict[str, Any]) -> tuple[float, ...]:
    """α_l = (−.7)^(l−2): the gap of bench/measured/reproduce.md, whatever the number of levels."""
    return tuple(round((-0.7) ** i, 6) for i in range(fields.get("levels", 3) - 1))


#: A target whose largest coefficient is smaller drowns in the rounding of float32.
SMALLEST_COEFFICIENT = 1e-6


def _lost_in_rounding(coefficients: Sequence[float]) -> list[tuple[str, str]]:
    """The fault of a target that is all but constant."""
    largest = max(abs(value) for value in coefficients)
    accepted = f"accepted: one of at least {SMALLEST_COEFFICIENT:g}"
    says = f"the largest magnitude is {largest:g}, lost in rounding; {accepted}"
    return [("", says)] if largest < SMALLEST_COEFFICIENT else []


class Hierarchical(Synthetic):
    """A hierarchical quadratic teacher: each level squares combinations of the levels below it."""

    kind: Literal["hierarchical"] = "hierarchical"
    input_dim: Dim = 20
    """d, the number of input coordinates."""
    levels: Annotated[int, Field(strict=True, ge=2, le=5)] = 3
    """L; the target has degree 2^L."""
    width: Dim = 4
    """k, teacher neurons a level."""
    gap: tuple[Real, ...] = Field(default_factory=default_gap)
    """α_2 … α_L: the standard deviation that each level contributes, with its sign; exactly `levels − 1` entries."""
    weakest: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5
    """r_min: rows of every level but the last are scaled by a logarithmic grid from 1 to this."""
    topology: Literal["dense", "chain"] = "dense"
    """`dense`: a level reads all lower ones; `chain`: only the one below."""
    inputs: Literal["uniform", "gaussian", "sign"] = "uniform"
    """Coordinates iid: uniform on ±√3, standard Gaussian, or ±1."""

    @field_validator("width")
    @classmethod
    def _fits(cls, width: int, info: ValidationInfo) -> int:
        dim = info.data.get("input_dim")
        if dim is not None and width > dim:
            refuse(
                [
                    (
                        "",
                        f"{width} orthonormal teacher rows do not fit {dim} inputs; accepted: 1 to input_dim = {dim}",
                    )
                ]
            )
        return width

    @field_validator("inputs")
    @classmethod
    def _varies(cls, inputs: str, info: ValidationInfo) -> str:
        known = info.data
        whole = inputs == "sign" and known.get("width") == known.get("input_dim")
        if whole and (known.get("levels") == 2 or known.get("weakest") == 1 or known.get("width") == 1):
            said = "squares of input_dim orthonormal rows of ±1 inputs add up to a constant"
            refuse([("", f"{said}; accepted: width below input_dim, or uniform or gaussian")])
        return inputs

    @field_validator("gap")
    @classmethod
    def _one_entry_a_level(cls, gap: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        levels = info.data.get("levels")
        if levels is not None and len(gap) != levels - 1:
            refuse(
                [("", f"{len(gap)} entries for {levels} levels; accepted: exactly levels − 1 = {levels - 1}")]
            )
        if all(value == 0 for value in gap):
            refuse([("", "every entry is 0, so the target is constant; accepted: at least one other than 0")])
        refuse(_lost_in_rounding(gap))
        return gap


class Monomials(Synthetic):
    """Shared by targets that are sums of monomials on ±1 inputs."""

    input_dim: Dim = 20
    """d, the number of input coordinates."""
    samples: SampleCount = 4000
    test_samples: Annotated[int, Field(strict=True, ge=100, le=10**7)] = 8000


class Staircase(Monomials):
    """A sum of monomials on ±1 inputs, each a prefix of the next by default; any list gives any leap."""

    source: ClassVar[str] = (
        "Abbe, Boix-Adsera, Brennan, Bresler, Nagaraj, arXiv 2108.10573; leap: arXiv 2302.11055"
    )
    kind: Literal["staircase"] = "staircase"
    monomials: tuple[tuple[Index, ...], ...] = ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 4))
    """Sets of coordinate numbers, from 0; y is the sum of their products over √(their number)."""
    coefficients: tuple[Real, ...] | None = None
    """A coefficient for each monomial; all equal when left out."""

    @field_validator("monomials")
    @classmethod
    def _inside(
        cls, monomials: tuple[tuple[int, ...], ...], info: ValidationInfo
    ) -> tuple[tuple[int, ...], ...]:
        dim = info.data.get("input_dim")
        faults = [] if monomials else [("", "no monomial; accepted: at least one")]
        for i, monomial in enumerate(monomials):
            if not monomial or len(set(monomial)) != len(monomial):
                faults.append((f"/{i}", "accepted: one or more different coordinates"))
            if dim is not None and any(j >= dim for j in monomial):
                faults.append(
                    (f"/{i}", f"coordinate {max(monomial)}; accepted: 0 to input_dim − 1 = {dim - 1}")
                )
        refuse(faults)
        return monomials

    @field_validator("coefficients")
    @classmethod
    def _one_each(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        monomials = info.data.get("monomials")
        if value is not None and monomials is not None and len(value) != len(monomials):
            refuse([("", f"{len(value)} coefficients for {len(monomials)} monomials; accepted: one each")])
        if value is not None and monomials is not None:
            sums: dict[frozenset[int], float] = {}
            for monomial, coefficient in zip(monomials, value, strict=True):
                sums[frozenset(monomial)] = sums.get(frozenset(monomial), 0.0) + coefficient
            refuse(_lost_in_rounding(list(sums.values())))
        return value


class Parity(Monomials):
    """One monomial: the parity of `degree` of the ±1 coordinates."""

    source: ClassVar[str] = "Daniely and Malach, arXiv 2002.07400"
    kind: Literal["parity"] = "parity"
    degree: Annotated[int, Field(strict=True, ge=1, le=64)] = 5
    """How many coordinates are multiplied."""

    @field_validator("degree")
    @classmethod
    def _inside(cls, degree: int, info: ValidationInfo) -> int:
        dim = info.data.get("input_dim")
        if dim is not None and degree > dim:
            refuse([("", f"degree {degree} of {dim} inputs; accepted: 1 to input_dim = {dim}")])
        return degree


class RandomHierarchy(Synthetic):
    """The random hierarchy model: labels expand by rules with synonyms into strings of one-hot symbols."""

    source: ClassVar[str] = "Cagnetta, Petrini, Tomasini, Favero, Wyart, arXiv 2307.02129"
    kind: Literal["random_hierarchy"] = "random_hierarchy"
    vocabulary: Annotated[int, Field(strict=True, ge=2, le=64)] = 8
    """v, symbols (and classes)."""
    synonyms: Annotated[int, Field(strict=True, ge=1, le=4096)] = 4
    """m, strings a symbol can expand into."""
    branching: Annotated[int, Field(strict=True, ge=2, le=8)] = 2
    """s, symbols a rule writes."""
    levels: Annotated[int, Field(strict=True, ge=1, le=8)] = 3
    """L, rules from label to input; the input has s^L symbols."""
    samples: SampleCount = 4096

    @field_validator("branching")
    @classmethod
    def _unambiguous(cls, s: int, info: ValidationInfo) -> int:
        v, m = info.data.get("vocabulary"), info.data.get("synonyms")
        if v and m and v * m > v**s:
            refuse(
                [("", f"{v}·{m} rules need as many different strings, and v^s = {v**s}; accepted: v·m ≤ v^s")]
            )
        return s

    @field_validator("levels")
    @classmethod
    def _bounded(cls, levels: int, info: ValidationInfo) -> int:
        v, s = info.data.get("vocabulary"), info.data.get("branching")
        if v and s and s**levels * v > 100_000:
            refuse([("", f"the input would have {s**levels * v} coordinates; accepted: at most 100,000")])
        return levels


class MultiIndex(Synthetic):
    """A function of a few directions: a sum of Hermite links, with a stated information exponent."""

    source: ClassVar[str] = "Ben Arous, Gheissari, Jagannath, arXiv 2003.10409"
    kind: Literal["multi_index"] = "multi_index"
    input_dim: Dim = 20
    """d, the number of Gaussian input coordinates."""
    links: tuple[tuple[Real, ...], ...] = ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
    """For each direction the coefficients of the normalised Hermite polynomials He_0, He_1, …; the first other than He_0 gives the information exponent."""
    spike: NonNegative = 0.0
    """Extra input variance along the teacher's directions (spiked covariance)."""

    @field_validator("links")
    @classmethod
    def _not_constant(
        cls, links: tuple[tuple[float, ...], ...], info: ValidationInfo
    ) -> tuple[tuple[float, ...], ...]:
        dim = info.data.get("input_dim")
        faults = [
            (f"/{i}", "constant link; accepted: up to 12 coefficients, one beyond the first other than 0")
            for i, link in enumerate(links)
            if len(link) > 12 or not any(link[1:])
        ]
        if not links or (dim is not None and len(links) > dim):
            faults.append(("", f"{len(links)} directions; accepted: 1 to input_dim = {dim}"))
        refuse(faults)
        refuse(_lost_in_rounding([coefficient for link in links for coefficient in link[1:]]))
        return links


class Uploaded(Spec):
    """An uploaded data set, by its id."""

    source: ClassVar[str] = "uploaded by the project"
    dataset: DatasetId
    """Id of a data set of this project (`POST /v1/datasets`)."""
    samples: Samples | None = None
    """Training samples, drawn by the data seed, evenly by class; all when left out."""
    test_samples: Samples | None = None
    """Test samples; all when left out."""
    validation: Fraction = 0.1
    """Part of the training samples held out to choose hyper-parameters."""
    augment: Literal["none", "flip", "crop_flip"] = "crop_flip"
    """Random crops of the 2-pixel padded picture, and flips that alternate by epoch."""

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"kind": cls.model_fields["kind"].default, "dataset": "ds_01hzy3v7k2q8s4t6w9x0"}


class Cifar10(Uploaded):
    """CIFAR-10 in its binary format: 32×32 colour pictures of 10 classes."""

    source: ClassVar[str] = "Krizhevsky, 2009"
    kind: Literal["cifar10"] = "cifar10"


class Cifar100(Uploaded):
    """CIFAR-100 in its binary format: 32×32 colour pictures of 100 classes."""

    source: ClassVar[str] = "Krizhevsky, 2009"
    kind: Literal["cifar100"] = "cifar100"


class Images(Uploaded):
    """Pictures from an archive of folders, one folder a class."""

    kind: Literal["images"] = "images"


class Arrays(Uploaded):
    """Arrays `x` and `y` from an `.npz` or a safetensors file: vectors or pictures, integer classes or real targets."""

    kind: Literal["arrays"] = "arrays"
    augment: Literal["none", "flip", "crop_flip"] = "none"


DataSpec = Annotated[
    Hierarchical | Staircase | Parity | RandomHierarchy | MultiIndex | Cifar10 | Cifar100 | Images | Arrays,
    Field(discriminator="kind"),
    by_default("hierarchical"),
]
SYNTHETIC = (Hierarchical, Staircase, Parity, RandomHierarchy, MultiIndex)
UPLOADED = (Cifar10, Cifar100, Images, Arrays)
UPLOADED_KINDS = frozenset(str(word.model_fields["kind"].default) for word in UPLOADED)

__all__ = [
    "SYNTHETIC", "UPLOADED", "UPLOADED_KINDS", "Arrays", "Cifar10", "Cifar100", "DataSpec", "Hierarchical", "Images",
    "MultiIndex", "Parity", "RandomHierarchy", "SampleCount", "Staircase", "Synthetic", "Uploaded",
]  # fmt: skip
