"""A seeded storm of faults over a running load, and what must hold when it has passed."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DBAPIError

from store import results, series, steps, tensors
from store.errors import Conflict
from store.states import TRANSITIONS
from tests.chaos import faults
from tests.chaos.city import City

LEASED = ("running", "pausing", "cancelling")
# In a body: the job that its first training became in peace.
PEACE = "job_" + 20 * "0"


@dataclass
class Report:
    """What the storm did, and what it broke. Everything below `faults` must be 0."""

    seed: int
    jobs: int = 0
    hosts: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    seconds: float = 0.0
    lost: int = 0
    stuck: int = 0
    doubled: int = 0
    gaps: int = 0
    leases_left: int = 0
    children_left: int = 0
    odd_steps: int = 0
    corrupt: int = 0
    different: int = 0
    failed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> int:
        names = (
            "lost",
            "stuck",
            "doubled",
            "gaps",
            "leases_left",
            "children_left",
            "odd_steps",
            "corrupt",
            "different",
            "failed",
        )
        return sum(getattr(self, name) for name in names)

    def table(self) -> str:
        harm = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        rows = [
            ("seed", self.seed),
            ("jobs, members included", self.jobs),
            ("attempts", self.attempts),
            ("hosts", self.hosts),
            ("faults", f"{self.faults.total()}: {harm}"),
            ("seconds", f"{self.seconds:.0f}"),
            ("jobs lost", self.lost),
            ("jobs stuck", self.stuck),
            ("rows doubled", self.doubled),
            ("gaps in events", self.gaps),
            ("leases left", self.leases_left),
            ("children left at work", self.children_left),
            ("steps outside the table", self.odd_steps),
            ("tensors whose bytes are not their hash", self.corrupt),
            ("results that differ from peace", self.different),
            ("jobs that failed", self.failed),
        ]
        return "\n".join(f"{name:<40} {value}" for name, value in rows) + "".join(
            f"\n! {note}" for note in self.notes
        )


@dataclass
class Storm:
    """One run: a load in peace, the same load in the storm, and the comparison."""

    city: City
    seed: int
    faults: int
    bodies: list[dict[str, Any]]
    copies: int
    calm_seconds: float = 120.0
    pause_seconds: float = 0.6

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.report = Report(self.seed)
        self.submitted: list[tuple[str, str]] = []

    def run(self) -> Report:
        """Peace, storm, calm, and the reckoning."""
        peace = self._peace()
        started = time.monotonic()
        faults.SINGLES[:] = [body for body in self.bodies if body["kind"] == "train"]
        faults.SUBMITTED.clear()
        names = list(faults.FAULTS)
        weights = [faults.FAULTS[name][1] for name in names]
        due = [body for body in self.bodies for _ in range(self.copies)]
        self.dice.shuffle(due)
        while (number := self.report.faults.total()) < self.faults:
            # The load arrives all through the storm.
            while due and len(self.submitted) < self._wanted(number, len(due)):
                self._submit(due.pop())
            name = self.dice.choices(names, weights)[0]
            # One that had to ask the database while it was away has done no harm, and does not count.
            with contextlib.suppress(DBAPIError):
                faults.FAULTS[name][0](self.city, self.dice)
                self.report.faults[name] += 1
            time.sleep(self.dice.uniform(0.0, 2 * self.pause_seconds))
        for body in due:
            self._submit(body)
        self.submitted += faults.SUBMITTED
        self._calm()
        self.report.seconds = time.monotonic() - started
        self._reckon(peace)
        return self.report

    def _peace(self) -> dict[str, str]:
        """Runs each body once and undisturbed; the jobs by body."""
        first = self.city.submit(self.bodies[0])
        self.bodies = [json.loads(json.dumps(body).replace(PEACE, first)) for body in self.bodies]
        made = {json.dumps(self.bodies[0]): first}
        made |= {json.dumps(body): self.city.submit(body) for body in self.bodies[1:]}
        self._await(list(made.values()))
        return made

    def _wanted(self, number: int, left: int) -> int:
        total = left + len(self.submitted)
        return int(total * (number + 1) / max(1, self.faults)) + 1

    def _submit(self, body: dict[str, Any]) -> None:
        while True:
            # A client tries again while the database is away. What it cannot know is whether a commit
            # whose answer was lost took place; then there is one job more than it knows, and no harm.
            try:
                self.submitted.append(
                    (self.city.submit(body, ring=self.dice.random() < 0.8), json.dumps(body))
                )
                return
            except DBAPIError:
                time.sleep(0.2)

    def _await(self, ids: list[str]) -> None:
        for _ in self._patiently():
            with contextlib.suppress(DBAPIError):
                rows = self.city.rows(
                    "SELECT count(*) AS open FROM jobs WHERE id = ANY(:ids) AND state <> 'succeeded'", ids=ids
                )
                if rows[0].open == 0:
                    return
        raise AssertionError(self._open())

    def _calm(self) -> None:
        """No more harm: whoever was paused or cancelled is let go on, and all must end."""
        for _ in self._patiently():
            with contextlib.suppress(DBAPIError):
                rows = self.city.rows("SELECT id, state FROM jobs WHERE state <> 'succeeded' ORDER BY id")
                if not rows:
                    return
                for row in rows:
                    step = {"paused": steps.resume, "cancelled": steps.retry, "failed": steps.retry}.get(
                        row.state
                    )
                    if step is not None:
                        with contextlib.suppress(Conflict):
                            self.city.ask(step, row.id)

    def _patiently(self) -> Iterator[None]:
        """Looks again and again, until for `calm_seconds` no job has ended: how fast the machine is does not matter."""
        ended, deadline = -1, time.monotonic() + self.calm_seconds
        while time.monotonic() < deadline:
            yield
            with contextlib.suppress(DBAPIError):
                now = self.city.rows("SELECT count(*) AS n FROM jobs WHERE state = 'succeeded'")[0].n
                if now > ended:
                    ended, deadline = now, time.monotonic() + self.calm_seconds
            time.sleep(0.3)

    def _open(self) -> str:
        rows = self.city.rows(
            """SELECT id, kind, state, reason, attempt, error::text AS error, not_before FROM jobs
                WHERE state <> 'succeeded' ORDER BY id LIMIT 20"""
        )
        return "; ".join(
            f"{row.id} {row.kind} {row.state} attempt {row.attempt}: {row.reason} {row.error}" for row in rows
        )

    def _reckon(self, peace: dict[str, str]) -> None:
        report, city = self.report, self.city
        report.jobs = city.rows("SELECT count(*) AS n FROM jobs")[0].n
        report.hosts = f"{len(city.hosts)} network namespaces" if city.hosts else f"this one alone: {city.no_hosts}"
        # What is tried again in the calm has failed all the same: no fault here is a reason to.
        report.failed = city.rows("SELECT count(*) AS n FROM audit WHERE target = 'failed'")[0].n
        report.attempts = city.rows("SELECT count(*) AS n FROM attempts")[0].n
        states = {row.id: row.state for row in city.rows("SELECT id, state FROM jobs")}
        report.lost = sum(job_id not in states for job_id, _ in self.submitted)
        report.stuck = sum(state != "succeeded" for state in states.values())
        if report.stuck:
            report.notes.append(self._open())
        report.leases_left = city.rows(
            "SELECT count(*) AS n FROM jobs WHERE state = ANY(:s) OR lease_until IS NOT NULL", s=list(LEASED)
        )[0].n
        # One child in reserve a worker, and none at work.
        deadline = time.monotonic() + 10
        while (left := len(city.children()) - len(city.names)) > 0 and time.monotonic() < deadline:
            time.sleep(0.2)
        report.children_left = max(0, left)
        report.doubled = self._doubled()
        report.gaps = city.rows(
            """SELECT count(*) AS n FROM (SELECT e.job_id FROM events e JOIN jobs j ON j.id = e.job_id
                GROUP BY e.job_id, j.event_seq HAVING count(*) <> j.event_seq OR max(e.seq) <> j.event_seq) AS odd"""
        )[0].n
        report.odd_steps = self._odd_steps()
        report.corrupt = self._corrupt()
        self._compare(peace)

    def _doubled(self) -> int:
        """Points, told points, results and counting attempts that are there twice."""
        twice = 0
        ids = [row.id for row in self.city.rows("SELECT id FROM jobs")]
        with self.city.engine.connect() as connection:
            for job_id in ids:
                for _, one in series.read(connection, [job_id]):
                    twice += len(one.steps) - len(set(one.steps.tolist()))
        told: Counter[tuple[Any, ...]] = Counter()
        for row in self.city.rows("SELECT job_id, data FROM events WHERE kind = 'metric'"):
            for one in row.data["series"]:
                told.update((row.job_id, one["key"], one.get("layer"), step) for step in one["steps"])
        twice += sum(count - 1 for count in told.values())
        twice += self.city.rows(
            """SELECT count(*) AS n FROM (SELECT job_id FROM attempts WHERE counts GROUP BY job_id
                HAVING count(*) > 1) AS odd"""
        )[0].n
        return twice

    def _odd_steps(self) -> int:
        odd, last = 0, {}
        for row in self.city.rows("SELECT job_id, source, target FROM audit ORDER BY id"):
            if row.source is None:
                odd += row.job_id in last
            else:
                odd += row.source != last.get(row.job_id) or row.target not in TRANSITIONS[row.source]
            last[row.job_id] = row.target
        return odd

    def _corrupt(self) -> int:
        odd = 0
        with self.city.engine.connect() as connection:
            for row in self.city.rows("SELECT id, hash, dtype, shape FROM tensors"):
                data = b"".join(tensors.read(connection, row.id))
                odd += tensors.content_hash(row.dtype, row.shape, data) != bytes(row.hash)
        return odd

    def _compare(self, peace: dict[str, str]) -> None:
        for job_id, body in self.submitted:
            ours, theirs = self._numbers(job_id), self._numbers(peace[json.dumps(json.loads(body))])
            if ours != theirs:
                self.report.different += 1
                self.report.notes.append(f"{job_id}: {_first_difference(ours, theirs)}")

    def _numbers(self, job_id: str) -> dict[str, Any]:
        """All that a job and its members have told, without ids and seconds."""
        found: dict[str, Any] = {}
        rows = self.city.rows(
            "SELECT id, coalesce(member_key, '') AS key FROM jobs WHERE id = :id OR parent_id = :id ORDER BY id",
            id=job_id,
        )
        with self.city.engine.connect() as connection:
            for row in rows:
                result = results.get(connection, row.id)
                found[row.key, "result"] = _timeless(result)
                for _, one in series.read(connection, [row.id]):
                    if not one.key.endswith("_seconds"):
                        found[row.key, one.key, one.layer] = (one.steps.tolist(), one.values.tobytes().hex())
                kept = self.city.rows(
                    """SELECT kind, step, hash FROM snapshots WHERE job_id = :id AND kind <> 'checkpoint'""",
                    id=row.id,
                )
                found[row.key, "snapshots"] = sorted(
                    (one.kind, one.step, bytes(one.hash).hex()) for one in kept
                )
        return found


def _timeless(result: dict[str, Any] | None) -> Any:
    if result is None:
        return None
    summary = {name: value for name, value in result["summary"].items() if not name.endswith("_seconds")}
    tables = {}
    for name, table in result["tables"].items():
        kept = [
            place for place, column in enumerate(table["columns"]) if not column["name"].endswith("_seconds")
        ]
        tables[name] = [[row[place] for place in kept] for row in table["rows"]]
    return json.dumps([summary, tables])


def _first_difference(ours: dict[Any, Any], theirs: dict[Any, Any]) -> str:
    for key in sorted(set(ours) | set(theirs), key=str):
        if ours.get(key) != theirs.get(key):
            return f"{key}: {str(ours.get(key))[:200]} against {str(theirs.get(key))[:200]}"
    return "no difference"
