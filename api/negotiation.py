"""Content negotiation by `Accept` (RFC 9110 §12.5.1): which of the offered types a client wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.problems import Problem


@dataclass(frozen=True, slots=True)
class _Range:
    main: str
    sub: str
    quality: float

    def fits(self, offer: str) -> int:
        """0 where it does not fit; else how exactly it names the offer."""
        main, _, sub = offer.partition("/")
        if (self.main, self.sub) == (main, sub):
            return 3
        if self.main == main and self.sub == "*":
            return 2
        return 1 if (self.main, self.sub) == ("*", "*") else 0


def choose(accept: str | None, offers: Sequence[str]) -> str:
    """The offer that `accept` likes best; the first of equals. Raises 406 naming what is offered."""
    if not accept:
        return offers[0]
    ranges = [_parsed(part) for part in accept[:4000].split(",") if part.strip()]
    if not ranges:
        return offers[0]
    qualities = [_quality(offer, ranges) for offer in offers]
    best = max(qualities)
    if best <= 0:
        offered = ", ".join(offers)
        raise Problem(406, "not_acceptable", f"offered: {offered}; got Accept: {accept[:120]}")
    return offers[qualities.index(best)]


def names(accept: str | None, offer: str) -> bool:
    """True only if `accept` names `offer` itself, not through a wildcard."""
    return any(
        range_.fits(offer) == 3 and range_.quality > 0
        for range_ in map(_parsed, (accept or "")[:4000].split(","))
    )


def _quality(offer: str, ranges: Sequence[_Range]) -> float:
    """The quality of the most exact range that fits (RFC 9110: precedence goes to the most specific)."""
    exactness, quality = max(
        ((range_.fits(offer), range_.quality) for range_ in ranges), key=lambda found: found[0]
    )
    return quality if exactness else 0.0


def _parsed(part: str) -> _Range:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    main, _, sub = media.partition("/")
    return _Range(main, sub, _weight(parameters))


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
