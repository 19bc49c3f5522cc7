"""The duel: all learners at equal samples, sample-complexity curves, and claim 6."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from bfc_core import specs
from bfc_core.records import Result, Table
from bfc_core.registry import deed
from bfc_core.specs.claims import THRESHOLDS
from bfc_core.specs.schedule import Joint
from bfc_core.specs.train import squares_say_more
from bfc_core.studies import claims, intervals
from bfc_core.studies.beside import COLUMNS, baseline_members, baseline_row, most_baselines
from bfc_core.studies.claims import Claim, Component
from bfc_core.studies.crossing import crossing
from bfc_core.studies.member import Member, packed
from bfc_core.studies.outcomes import DIVERGED, MISSING, Outcome
from bfc_core.studies.rates import stuck_rates
from bfc_core.studies.readings import control_error, log_error, log_ratio
from bfc_core.studies.tables import columns, failed_runs, table

CLAIM = "shallow_fail_at_equal_samples"

CROSSINGS = (
    *columns("string", "learner", "group", "inputs_as"),
    *columns("integer", "seeds", "crossed"),
    *columns("number", "crossing", "low", "high", unit="samples"),
    *columns("string", "censored"),
)


@deed(specs.DuelSpec)
class Duel:
    """What the word `duel` does."""

    def __init__(self, spec: specs.DuelSpec) -> None:
        self.spec = spec
        self.deep = f"{spec.base.model.kind}/joint"
        self.readout = str(getattr(spec.base.model, "readout", "own"))

    def size(self) -> int:
        learners = specs.LEARNERS if self.spec.against is None else self.spec.against
        return len(self.spec.samples) * (self.spec.seeds + most_baselines(learners, self.spec.seeds))

    def members(self) -> list[Member]:
        """The deep learner, trained jointly, and every baseline on both inputs; at every N and seed."""
        return list(self._members)

    @cached_property
    def _members(self) -> list[Member]:
        spec = self.spec
        against = tuple(specs.LEARNERS) if spec.against is None else spec.against
        deep = [self._deep(count, index) for count in spec.samples for index in range(spec.seeds)]
        found = packed(deep, [member.key for member in deep])
        for count in spec.samples:
            found += baseline_members(spec, against, spec.seeds, count)
        return found

    def _deep(self, count: int, index: int) -> Member:
        seed = self.spec.member_seed(index)
        number = seed if isinstance(seed, int) else index
        data = self.spec.base.data.model_copy(update={"samples": count})
        spec = self.spec.base.arm(Joint(), seed, data=data)
        inputs_as = "x_and_h1" if squares_say_more(data) else "x"
        labels = {"learner": self.deep, "group": "deep_matched", "inputs_as": inputs_as}
        labels |= {"samples": str(count), "seed": str(number)}
        name = f"{self.deep} · N {count} · seed {number}"
        return Member(f"{self.deep}/{count}/{index}", "train", name, spec, labels)

    def conclude(self, outcomes: Mapping[str, Outcome]) -> Result:
        """Table `runs`, the crossings N* of every learner, stuck rates, and claim 6 at every N."""
        members = self.members()
        rows = [_row(member, outcomes.get(member.key)) for member in members]
        deep = [(m, outcomes.get(m.key, MISSING)) for m in members if m.kind == "train"]
        failed = failed_runs(members, outcomes)
        heads = (*columns("string", "learner"), *columns("integer", "samples"))
        stuck = stuck_rates(
            heads, (((m.labels["learner"], int(m.labels["samples"])), one) for m, one in deep)
        )
        tables = {
            "runs": table((*COLUMNS, *columns("boolean", "stuck")), rows),
            "crossings": _crossings(rows, self.spec),
            "stuck_rates": stuck,
            "failed_runs": failed,
        }
        summary = {"seeds": self.spec.seeds, "members": len(members), "failed": len(failed.rows)}
        judged = [claim for family in self._families(rows) for claim in claims.judge(family)]
        found: dict[str, Any] = {
            "claims": judged,
            "unanswered": self.unanswered(),
            "stuck": stuck.records(),
            "crossings": tables["crossings"].records(),
        }
        return Result({**found, **summary}, tables)

    def unanswered(self) -> list[dict[str, Any]]:
        shallow = any(member.labels["group"] == "shallow" for member in self._members)
        return (
            []
            if shallow
            else [{"claim": CLAIM, "readout": self.readout, "why": "no shallow learner is trained"}]
        )

    def families(self) -> list[list[Claim]]:
        return self._families([_row(member, None) for member in self.members()])

    def _families(self, rows: Sequence[Mapping[str, Any]]) -> list[list[Claim]]:
        """One family, from the largest N down, so that a small N where nothing separates costs no larger one its place."""
        asked = claims.asked(self.spec.claims, [CLAIM])
        if CLAIM not in asked or not any(row["group"] == "shallow" for row in rows):
            return []
        limits = {**THRESHOLDS[CLAIM], **asked[CLAIM]}
        return [[self._claim(count, rows, limits) for count in reversed(self.spec.samples)]]

    def _claim(self, count: int, rows: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> Claim:
        here = [row for row in rows if row["samples"] == count]
        pairs = [
            _pair([row for row in here if row["index"] == index], self.deep)
            for index in range(self.spec.seeds)
        ]
        values = {
            "shallow_over_deep": tuple(log_ratio(shallow, deep) for shallow, deep, _ in pairs),
            "shallow_error": tuple(control_error(shallow) for shallow, _, _ in pairs),
            "deep_error": tuple(log_error(deep) for _, deep, _ in pairs),
        }
        where = {"readout": self.readout, "headline": self.readout in ("signed", "own"), "samples": count}
        units: dict[str, claims.Unit] = {"shallow_error": "error", "deep_error": "-log10 error"}
        parts = tuple(
            Component(name, values[name], limits[name], units.get(name, "log10 ratio")) for name in values
        )
        return Claim(CLAIM, parts, sum(measured for *_, measured in pairs), where)


def _row(member: Member, outcome: Outcome | None) -> dict[str, Any]:
    """The member's row of `runs`, with the number of its seed within the study."""
    return {**baseline_row(member, outcome), "index": int(member.key.rsplit("/", 1)[1])}


def _pair(rows: Sequence[Mapping[str, Any]], deep: str) -> tuple[float | None, float | None, bool]:
    """One seed at one N: rel of the best shallow learner, chosen by validation; rel of the deep one; whether all ran.

    A missing shallow learner might have been the best, so without it there is no best.
    """
    shallow = [row for row in rows if row["group"] == "shallow"]
    ours = next(row for row in rows if row["learner"] == deep)
    ran = all(row["state"] in ("succeeded", "diverged") for row in shallow)
    known = [row for row in shallow if row["validation_error"] is not None]
    best = min(known, key=lambda row: row["validation_error"])["relative_test_error"] if known else DIVERGED
    error = DIVERGED if ours["state"] == "diverged" else ours["relative_test_error"]
    return (best if ran else None), error, ran and ours["state"] in ("succeeded", "diverged")


def _crossings(rows: Sequence[Mapping[str, Any]], spec: specs.DuelSpec) -> Table:
    return table(CROSSINGS, (_crossing(part, spec) for part in _learners(rows)))


def _learners(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The rows of every learner on every input."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["learner"], row["inputs_as"]), []).append(row)
    yield from found.values()


def _crossing(rows: Sequence[Mapping[str, Any]], spec: specs.DuelSpec) -> dict[str, Any]:
    """N* of one learner: median and interval over seeds; a null end lies beyond the largest N, or n < 6."""
    at = {(row["samples"], row["index"]): row["relative_test_error"] for row in rows}
    indices = sorted({row["index"] for row in rows})
    stars = [crossing(spec.samples, [at.get((count, index)) for count in spec.samples]) for index in indices]
    median, (low, high) = intervals.median(stars), intervals.order_interval(stars)
    first = rows[0]
    return {
        **{name: first[name] for name in ("learner", "group", "inputs_as")},
        "seeds": len(stars),
        "crossed": sum(math.isfinite(star) for star in stars),
        "crossing": _number(median),
        "low": _number(low),
        "high": _number(high),
        "censored": "above" if median == math.inf else "below" if median <= spec.samples[0] else "none",
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
