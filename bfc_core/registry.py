"""Words and deeds: a spec class is a word, the function registered on it is its deed.

A deed is found by the class of the spec, so adding a target, learner or probe changes nothing else. The modules
that hold deeds are imported by their room's `__init__`, explicitly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_DEEDS: dict[type, Callable[..., Any]] = {}


def deed(word: type) -> Callable[[F], F]:
    """Register the decorated function (or class) as what `word` does."""

    def register(function: F) -> F:
        known = _DEEDS.get(word)
        if known is not None and known.__qualname__ != function.__qualname__:
            raise ValueError(f"{word.__name__} already does {known.__module__}.{known.__qualname__}")
        _DEEDS[word] = function
        return function

    return register


def deed_of(spec: object) -> Callable[..., Any]:
    """What the word of `spec` (an instance, or the class itself) does."""
    word = spec if isinstance(spec, type) else type(spec)
    try:
        return _DEEDS[word]
    except KeyError:
        raise LookupError(f"{word.__name__} is a word without a deed") from None


def has_deed(word: type) -> bool:
    """Whether the word's deed is known; needs the rooms imported."""
    return word in _DEEDS
