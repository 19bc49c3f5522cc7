"""From a body to a job in the ledger: all that can be checked is checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from pydantic import ValidationError
from sqlalchemy import Connection, text

from api.problems import Conflicting, Fault, Problem, Refused, TooMany
from bfc_core import specs, studies
from bfc_core.specs import uploaded
from bfc_core.specs.data import UPLOADED
from store import datasets, jobs
from store.config import Config
from store.errors import Conflict, NotFound, QueueFull, UnknownDependency

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Plan:
    """A parsed job, its members if it is a study, and what it will take."""

    job: specs.Job
    members: tuple[Any, ...]
    estimate: specs.Estimate
    #: the member that takes most memory
    largest: int = 0

    @property
    def is_study(self) -> bool:
        return self.job.kind in jobs.STUDIES

    def shown(self) -> dict[str, Any]:
        """What a dry run replies."""
        envelope = specs.dump(self.job)
        power = studies.power(self.job.spec) if self.job.kind == "study" else None
        return envelope | {
            "spec_hash": specs.spec_hash(self.job.spec),
            "estimate": self.estimate.json() | {"largest": self.pointer},
            "members": len(self.members),
            "power": power,
        }

    @property
    def pointer(self) -> str:
        """The field of the body that memory hangs on most."""
        largest = self.estimate.largest
        return self.place_of(self.largest, largest.removeprefix("/spec")) if self.members else largest

    def place_of(self, member: int, pointer: str) -> str:
        """The pointer into the body to what says the field at `pointer` of a member's spec."""
        spec = self.job.spec
        if isinstance(spec, specs.SweepSpec):
            return "/spec" + spec.place_of(member, pointer)
        if isinstance(spec, specs.DuelSpec) and pointer == "/data/samples":
            return f"/spec/samples/{spec.samples.index(self.members[member].spec.data.samples)}"
        return f"/spec/base{pointer}"


def plan(body: Any) -> Plan:
    """The plan of a body. Raises 422 with a pointer to every fault."""
    try:
        job = specs.parse_job(body)
    except specs.SpecError as fault:
        raise Refused(Fault(one.pointer, one.detail) for one in fault.faults) from None
    if not isinstance(job, specs.StudyJob | specs.SweepJob):
        return Plan(job, (), specs.estimate(job.spec))
    size = studies.size(job.spec)
    if size > specs.MAX_MEMBERS:
        pointer = "/spec/seeds" if hasattr(job.spec, "seeds") else "/spec/grid"
        says = f"{size:,} members with these seeds; accepted: up to {specs.MAX_MEMBERS:,}"
        raise Refused([Fault(pointer, says)])
    try:
        members = tuple(studies.members(job.spec))
    except ValidationError as fault:
        raise Refused(_of_a_member(fault)) from None
    estimates = [specs.estimate(member.spec) for member in members]
    largest = max(range(len(members)), key=lambda place: estimates[place].memory_bytes, default=0)
    return Plan(job, members, specs.combined(estimates, [member.pack for member in members]), largest)


def _of_a_member(fault: ValidationError) -> Iterator[Fault]:
    """What is wrong with a member that each part of the study allows by itself; its fields are those of the base."""
    for error in fault.errors(include_url=False, include_context=False, include_input=False)[:1]:
        says = f"a member of this would not be valid: {'.'.join(map(str, error['loc']))}: {error['msg']}"
        yield Fault(f"/spec/base/{error['loc'][0]}" if error["loc"] else "/spec", says)


def check(connection: Connection, config: Config, project: str, planned: Plan) -> None:
    """What only the ledger knows: that all it names exists, and that some worker could hold it.

    Raises 422 with pointers.
    """
    faults = [*_unknown(connection, project, planned)]
    faults = faults or [*_misfits(connection, project, planned)]
    if faults:
        raise Refused(faults)
    _check_memory(connection, config, planned)


def submit(connection: Connection, project: str, planned: Plan, placing: jobs.Placing) -> str:
    """Writes the job; its id. Raises 422 for a dependency that is not there, 429 over the quota."""
    try:
        return jobs.submit(connection, project, planned.job, planned.members, placing)
    except UnknownDependency as fault:
        raise Refused(_missing(planned.job, id_) for id_ in fault.ids) from None
    except QueueFull as fault:
        raise TooMany(str(fault), 30, "quota", limit=fault.limit, queued=fault.queued) from None


def translated(fault: Exception) -> Problem | None:
    """A store's refusal as a reply."""
    if isinstance(fault, NotFound):
        return Problem(404, "not_found", f"no {fault.noun} {fault.name[:80]!r} in this project")
    if isinstance(fault, Conflict):
        return Conflicting(str(fault), state=fault.state)
    return None


def _missing(job: specs.Job, id_: str) -> Fault:
    where = f"/after/{job.after.index(id_)}" if id_ in job.after else "/spec/of/job"
    return Fault(where, f"no job {id_!r} in this project")


def _unknown(connection: Connection, project: str, planned: Plan) -> Iterator[Fault]:
    """Jobs, data sets and snapshots that the body names and this project does not have."""
    job = planned.job
    after = [(f"/after/{place}", "jobs", id_) for place, id_ in enumerate(job.after)]
    swept = [
        (planned.place_of(place, "/data/dataset"), "datasets", spec.data.dataset)
        for place, spec in _uploaded(planned)
    ]
    named = swept if isinstance(job.spec, specs.SweepSpec) else _named(specs.dump(job.spec), "/spec")
    for pointer, table, id_ in (*after, *named):
        query = text(f"SELECT 1 FROM {table} WHERE id = :id AND project_id = :project")  # noqa: S608 - three constants
        if connection.execute(query, {"id": id_, "project": project}).first() is None:
            yield Fault(pointer, f"no {table.rstrip('s')} {id_!r} in this project")


def _named(value: Any, pointer: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _named(inner, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _named(inner, f"{pointer}/{index}")
    elif isinstance(value, str):
        if value.startswith("ds_") and pointer.endswith("/dataset"):
            yield pointer, "datasets", value
        elif value.startswith("snap_") and "/snapshots/" in pointer:
            yield pointer, "snapshots", value
        elif value.startswith("job_") and pointer == "/spec/of/job":
            yield pointer, "jobs", value


def _misfits(connection: Connection, project: str, planned: Plan) -> Iterator[Fault]:
    """Where an uploaded data set is not what the body makes of it."""
    told = set()
    for place, spec in _uploaded(planned):
        facts = datasets.get(connection, project, spec.data.dataset)["meta"]
        below = [(f"/data{at}", says) for at, says in uploaded.data_faults(spec.data, facts)]
        below += [(f"/model{at}", says) for at, says in uploaded.model_faults(getattr(spec, "model", None), facts)]
        for at, says in below:
            pointer = planned.place_of(place, at) if planned.is_study else f"/spec{at}"
            if pointer not in told:
                told.add(pointer)
                yield Fault(pointer, says)


def _uploaded(planned: Plan) -> list[tuple[int, Any]]:
    """The specs that train on uploaded data: the job's own, its base, or those of a sweep that differ in data or model."""
    spec = planned.job.spec
    if not isinstance(spec, specs.SweepSpec):
        found = [(0, getattr(spec, "base", spec))]
    else:
        different = {
            repr((member.spec.data, member.spec.model)): (place, member.spec)
            for place, member in reversed(list(enumerate(planned.members)))
            if isinstance(member.spec.data, UPLOADED)
        }
        found = sorted(different.values(), key=lambda one: one[0])
    return [(place, one) for place, one in found if isinstance(getattr(one, "data", None), UPLOADED)]


def _check_memory(connection: Connection, config: Config, planned: Plan) -> None:
    most, whose = _largest(connection, config, getattr(planned.job.spec, "device", "auto"))
    needed = planned.estimate.memory_bytes
    if needed > most:
        says = (
            f"about {needed:,} bytes of memory are needed and {whose} has {most:,}; "
            "the estimate hangs most on this field"
        )
        raise Refused([Fault(planned.pointer, says)], estimate=planned.shown()["estimate"])


def _largest(connection: Connection, config: Config, device: str) -> tuple[int, str]:
    """The memory of the largest place a job could run in, and whose it is."""
    if config.max_job_memory_bytes is not None:
        return config.max_job_memory_bytes, "BFC_MAX_JOB_MEMORY_BYTES"
    query = text("""
        SELECT max(memory_bytes) FROM workers
         WHERE state <> 'gone' AND (:device = 'auto' OR device_class = :device)""")
    most = connection.execute(query, {"device": device}).scalar()
    if most:
        return int(most), "the largest worker of its class"
    return psutil.virtual_memory().total, "this host"


def filled(value: Sequence[str] | None) -> tuple[str, ...]:
    """The parts of `?x=a,b&x=c`."""
    return tuple(part for item in value or () for part in item.split(",") if part)
