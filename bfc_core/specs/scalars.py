"""Named, strict scalars and the base class of every spec."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Steps = Annotated[int, Field(strict=True, ge=1, le=10**7)]
Samples = Annotated[int, Field(strict=True, ge=1, le=10**8)]
Index = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Dim = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Width = Annotated[int, Field(strict=True, ge=1, le=65_536)]
Level = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Rate = Annotated[float, Field(strict=True, gt=0, le=1e3)]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e9)]
NonNegative = Annotated[float, Field(strict=True, ge=0, le=1e9)]
Real = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)]
Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
Unit = Annotated[float, Field(strict=True, ge=0, le=1)]
Decay = Annotated[float, Field(strict=True, ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
JobId = Annotated[str, Field(strict=True, pattern=r"^job_[0-9a-z]{10,40}$", max_length=44)]
SnapshotId = Annotated[str, Field(strict=True, pattern=r"^snap_[0-9a-z]{10,40}$", max_length=45)]
DatasetId = Annotated[str, Field(strict=True, pattern=r"^ds_[0-9a-z]{10,40}$", max_length=43)]


class Spec(BaseModel):
    """A frozen, closed piece of the language; unknown fields, NaN and infinities are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=False,
        protected_namespaces=(),
    )

    #: where the word comes from, for the catalog
    source: ClassVar[str] = "Allen-Zhu and Li, arXiv 2001.04413"

    @classmethod
    def example(cls) -> dict[str, Any]:
        """A valid example of this word, for the catalog: by default its own defaults."""
        return cls().model_dump(mode="json")


#: what turns the direction of the text around it, or breaks its line
_TURNING = frozenset("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

UNPRINTABLE = "control characters, lone surrogates or marks that turn the direction of the text around them"


def printable(text: str) -> bool:
    """Whether text may be shown beside other text: it holds nothing of `UNPRINTABLE`. Kept as it came, not normalised."""
    if text.isascii():
        return text.isprintable()
    return not any(letter in _TURNING or unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def said(body: Any, *path: str) -> Any:
    """What an object that is not yet validated says at a path of names; None where it says nothing."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


def by_default(kind: str) -> BeforeValidator:
    """For a union of words: an object that names no kind means the default one."""

    def named(value: Any) -> Any:
        return {"kind": kind, **value} if isinstance(value, dict) and "kind" not in value else value

    return BeforeValidator(named)


def _exact(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise PydanticCustomError("int_type", "an integer")
    return value


Exact = BeforeValidator(_exact)
"""For a literal number, which Python takes true and 1.0 for."""


def refuse(faults: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
    """Raise one error carrying every `(pointer below the checked field, detail)`; nothing for none."""
    found = [{"pointer": pointer, "detail": detail} for pointer, detail in faults]
    if found:
        raise PydanticCustomError("faults", "{summary}", {"summary": found[0]["detail"], "faults": found})
