"""What a study is: a question that knows its members, and how to conclude from their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bfc_core.records import Result
from bfc_core.registry import deed_of
from bfc_core.studies import intervals
from bfc_core.studies.claims import Claim, rule
from bfc_core.studies.member import Member
from bfc_core.studies.outcomes import Outcome

SHARES = (0.7, 0.8, 0.9, 0.95, 0.99)


class Question(Protocol):
    """The deed of a study's spec class: made from the spec."""

    def size(self) -> int:
        """How many members there are at most, told without making them."""
        ...

    def members(self) -> list[Member]:
        """The jobs, keys unique, in an order that depends on the spec alone."""
        ...

    def conclude(self, outcomes: Mapping[str, Outcome]) -> Result:
        """Tables and verdicts from the members' outcomes; those that are missing rank worst."""
        ...

    def families(self) -> list[list[Claim]]:
        """The claims that will be judged, in order, before any value is known."""
        ...

    def unanswered(self) -> list[dict[str, Any]]:
        """Claims that were asked for, or are judged by default, and cannot be judged here; each with `why`."""
        ...


def question(spec: Any) -> Question:
    """The question that a study or sweep spec asks.

    Raises:
        LookupError: for a word without a deed.
    """
    found: Question = deed_of(spec)(spec)
    return found


def size(spec: Any) -> int:
    """How many members a study or sweep has at most; cheap."""
    return question(spec).size()


def members(spec: Any) -> list[Member]:
    """The member jobs of a study or sweep, in order, with their packs."""
    return question(spec).members()


def conclude(spec: Any, outcomes: Mapping[str, Outcome]) -> Result:
    """The result of a study or sweep from its members' outcomes, by key."""
    return question(spec).conclude(outcomes)


def power(spec: Any) -> dict[str, Any]:
    """What the planned seeds can show, before anything runs: exact, by the rule that will judge.

    A component is supported when all but `failures_tolerated` seeds reach its threshold. `power` says how likely that is
    where each seed reaches it with probability `share`; for a claim of several components read `share` as that of
    reaching all of them, which makes it a lower bound. At share 1/2 the claim is false, and the chance is the error rate.
    """
    n = getattr(spec, "seeds", 0)
    r = intervals.rank(n)
    asked = question(spec)
    return {
        "says": _says(n, r),
        "seeds": n,
        "rule": rule(n),
        "failures_tolerated": r - 1 if r else None,
        "error_rate": intervals.power(n, 0.5),
        "power": [_power(n, share) for share in SHARES],
        "claims": [_planned(claim) for family in asked.families() for claim in family],
        "unanswered": asked.unanswered(),
    }


def _says(n: int, r: int) -> str:
    if not r:
        return (
            f"{n} {'seed' if n == 1 else 'seeds'} can support nothing: the rule needs {intervals.LEAST_SEEDS}"
        )
    likely = intervals.power(n, SHARES[2])
    return (
        f"supported when at least {n - r + 1} of {n} seeds reach every threshold: {likely:.0%} likely where nine seeds "
        f"in ten do, {intervals.power(n, 0.5):.1%} by chance where half do"
    )


def _power(n: int, share: float) -> dict[str, Any]:
    return {
        "share": share,
        "power": intervals.power(n, share),
        "seeds_for_80_percent": intervals.seeds_needed(share),
    }


def _planned(claim: Claim) -> dict[str, Any]:
    limits = [
        {
            "name": c.name,
            "threshold": c.threshold,
            "direction": "at_most" if c.at_most else "at_least",
            "unit": c.unit,
        }
        for c in claim.components
    ]
    where = {name: value for name, value in claim.where.items() if name != "k_star"}
    return {"claim": claim.claim, **where, "components": limits}
