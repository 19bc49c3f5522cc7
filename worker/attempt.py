"""One attempt at one job, or at one pack: a child, its sink, its heartbeat, its requests, its end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from store import claims, endings
from store.config import Config
from store.engine import is_outage, transact
from store.settle import lock_parents
from worker import memory, wire
from worker.logs import of_job
from worker.sink import Held, Sink
from worker.spawn import Child
from worker.spool import Spool
from worker.version import code_version

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stopping:
    """The child has been told to stop: why, when, and when it will be killed."""

    why: endings.Outcome
    deadline: float
    killed: bool = False
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Attempt:
    """Runs the claimed jobs in one child until each has its end in the ledger."""

    engine: Engine
    config: Config
    child: Child
    jobs: Sequence[claims.Claimed]
    marks: dict[int, int]
    stored_bytes: dict[int, int]
    draining: threading.Event
    sink: Sink = field(init=False)
    spool: Spool = field(init=False)
    live: dict[int, claims.Claimed] = field(init=False)
    stopping: Stopping | None = None
    pauses: dict[int, int] = field(default_factory=dict)
    on_first_record: Callable[[], None] | None = None
    _woken: threading.Event = field(default_factory=threading.Event)
    _read_all: threading.Event = field(default_factory=threading.Event)
    _kills_before: int = field(default_factory=memory.oom_kills)
    _over_memory: int | None = None
    _begun: bool = False
    _started: float = field(default_factory=time.monotonic)
    _outage_since: float | None = None

    def __post_init__(self) -> None:
        self.live = {job.slot or 0: job for job in self.jobs}
        self.spool = Spool(self.config.spool, self.config.spool_bytes, self.config.spool_memory_bytes)
        held = {
            slot: Held(
                job,
                self.marks[slot],
                done=job.progress_done,
                total=job.progress_total,
                unit=job.progress_unit,
                snapshot_bytes=self.stored_bytes[slot],
            )
            for slot, job in self.live.items()
        }
        self.sink = Sink(self.engine, self.spool, held, self._woken.set)
        threading.Thread(target=self._read, name="records", daemon=True).start()

    def run(self) -> None:
        """Watches until the child has ended and every job has been given back or finished."""
        for job in self.jobs:
            log.info("%s: attempt %d in process %d", job.id, job.attempt, self.child.pid, **of_job(job))
        try:
            beaten = 0.0
            while not self._over():
                self._woken.wait(self._until_next(beaten))
                self._woken.clear()
                now = time.monotonic()
                if now - beaten >= self.config.heartbeat_seconds:
                    self._beat()
                    self._watch(now)
                    beaten = now
                self._end_concluded()
                self._end_paused()
                self._press(now)
            self._settle()
        finally:
            self.sink.abandon()
            self.child.close()
            for line in self.child.said.splitlines():
                log.info("process %d said: %s", self.child.pid, line, **of_job(self.jobs[0]))

    # what the child says

    def _read(self) -> None:
        try:
            while (frame := wire.read(self.child.records)) is not None:
                self._begun = self._begun or frame.kind != "ready"
                if self.on_first_record is not None and frame.kind != "ready":
                    self.on_first_record()
                    self.on_first_record = None
                if frame.kind == "ready":
                    self.child.facts = frame.head["facts"]
                else:
                    self.spool.put(frame)
        except (wire.WireError, OSError, ValueError) as error:
            log.info("the child's line broke: %s", error)
        finally:
            self.spool.end()
            self._read_all.set()
            self._woken.set()

    def _over(self) -> bool:
        return (self._read_all.is_set() and self.sink.finished) or not self.live

    def _until_next(self, beaten: float) -> float:
        return max(0.01, beaten + self.config.heartbeat_seconds - time.monotonic())

    # the lease

    def _beat(self) -> None:
        """Renews the leases and hears what is asked of the jobs."""
        try:
            rows = transact(self.engine, lambda connection: self._sign(connection, list(self.live)))
        except DBAPIError as error:
            if not is_outage(error):
                raise
            self._bear_outage()
            return
        self._outage_since = None
        lost = [slot for slot, job in self.live.items() if job.id not in rows]
        if lost:
            self._let_go(lost)
        cancelled = [slot for slot, job in self.live.items() if rows[job.id].state == "cancelling"]
        pausing = [slot for slot, job in self.live.items() if rows[job.id].state == "pausing"]
        if cancelled:
            self._cancel(cancelled)
        if pausing:
            self._pause(pausing)

    def _sign(self, connection: Connection, slots: Sequence[int]) -> Mapping[str, Any]:
        """Signs of life of these slots, with their progress."""
        signs = []
        for slot in slots:
            job, held = self.live[slot], self.sink.held[slot]
            signs.append(claims.Beat(job.id, job.epoch, held.done, held.total, held.unit))
        return claims.beat(connection, signs, self.config.lease_seconds)

    def _bear_outage(self) -> None:
        """Unreachable is not dead: the training goes on, until the outage is too long."""
        now = time.monotonic()
        if self._outage_since is None:
            self._outage_since = now
            log.warning("the database is away; the training goes on")
        elif now - self._outage_since > self.config.outage_seconds:
            self._stop("outage", self.config.cancel_grace_seconds)

    def _let_go(self, slots: Sequence[int]) -> None:
        """These leases are another's now: nothing of theirs is written any more."""
        for slot in slots:
            log.warning("the lease of %s is lost", self.live[slot].id)
            self.sink.held[slot].fenced = True
            del self.live[slot]
        self.child.send(wire.Frame({"t": "gone", "slots": list(slots)}))
        if not self.live:
            self.child.kill()

    # what is asked

    def _cancel(self, slots: Sequence[int]) -> None:
        if len(slots) == len(self.live):
            self._stop("cancelled", self.config.cancel_grace_seconds)
            return
        # The others of the pack go on; these slots compute unread.
        self.child.send(wire.Frame({"t": "gone", "slots": list(slots)}))
        self._end([self._ending(slot, "cancelled") for slot in slots])

    def _pause(self, slots: Sequence[int]) -> None:
        if len(slots) == len(self.live):
            self._stop("paused", self.config.cancel_grace_seconds)
            return
        fresh = [slot for slot in slots if slot not in self.pauses]
        if fresh:
            self.pauses |= {slot: self.sink.held[slot].checkpoints for slot in fresh}
            self.child.send(wire.Frame({"t": "checkpoint"}))

    def _end_paused(self) -> None:
        """Members of a pack that were asked to pause leave it when their checkpoint is written."""
        kept = [
            slot for slot, before in self.pauses.items()
            if slot in self.live and self.sink.held[slot].checkpoints > before
        ]  # fmt: skip
        if kept and self.stopping is None:
            self.child.send(wire.Frame({"t": "gone", "slots": kept}))
            self._end([self._ending(slot, "paused") for slot in kept])

    def _watch(self, now: float) -> None:
        """Limits, and the worker's own end."""
        if self.draining.is_set():
            self._stop("drained", self.config.cancel_grace_seconds)
            if self._read_all.is_set() and self.sink.outage_since is not None:
                # Nobody can say when the database comes back: the next attempt makes these records again.
                self.sink.abandon()
        resident = memory.resident_bytes(self.child.pid)
        allowed = self._allowed_bytes()
        if allowed is not None and resident > allowed and self._over_memory is None:
            self._over_memory = resident
            self.child.kill()
        for slot, job in self.live.items():
            wall = job.limits.get("wall_seconds")
            if wall is not None and job.run_seconds + now - self._started > wall:
                self._expire(slot, "wall_time", f"it ran longer than limits.wall_seconds, {wall} s")
            most = job.limits.get("snapshot_bytes")
            stored = self.sink.held[slot].snapshot_bytes
            if most is not None and stored > most:
                self._expire(
                    slot,
                    "snapshot_bytes",
                    f"its snapshots take {stored} bytes, limits.snapshot_bytes is {most}",
                )

    def _expire(self, slot: int, code: str, message: str) -> None:
        held = self.sink.held[slot]
        if held.concluded:
            return
        held.error = {"code": code, "message": message, "hint": "raise the limit, then POST …/retry"}
        if len(self.live) == 1:
            self._stop("wall_time", self.config.cancel_grace_seconds, held.error)
        else:
            self.child.send(wire.Frame({"t": "gone", "slots": [slot]}))

    def _allowed_bytes(self) -> int | None:
        limits = [job.limits["memory_bytes"] for job in self.live.values() if job.limits.get("memory_bytes")]
        own = sum(limits) if len(limits) == len(self.live) and limits else None
        most = self.config.max_job_memory_bytes
        return min((limit for limit in (own, most) if limit is not None), default=None)

    def _stop(self, why: endings.Outcome, grace_seconds: float, error: dict[str, Any] | None = None) -> None:
        if self.stopping is None:
            # A child that still loads is deaf, and has made nothing that could be lost.
            grace = grace_seconds if self._begun else 0.0
            self.stopping = Stopping(why, time.monotonic() + grace, error=error)
            self.child.send(wire.Frame({"t": "stop"}))
        elif why == "cancelled":
            self.stopping.why = why

    def _press(self, now: float) -> None:
        """A child that ignores the request is killed after its grace."""
        if self.stopping is not None and now > self.stopping.deadline and not self.stopping.killed:
            self.stopping.killed = True
            self.child.kill()

    # ends

    def _end_concluded(self) -> None:
        ready = [slot for slot in self.live if self.sink.held[slot].concluded]
        if ready and (self.stopping is None or self.stopping.why != "wall_time"):
            self._end([self._conclusion(slot) for slot in ready])

    def _conclusion(self, slot: int) -> endings.Ending:
        held = self.sink.held[slot]
        if held.result is not None:
            return self._ending(slot, "succeeded", result=held.result)
        return self._ending(slot, "failed", error=held.error)

    def _settle(self) -> None:
        """The child is gone: what has not ended by itself ends as the child did."""
        self.child.kill()
        status = self.child.process.wait()
        if not self.live:
            return
        outcome, options = self._verdict(status)
        concluded = [self._conclusion(slot) for slot in self.live if self.sink.held[slot].concluded]
        rest = [
            self._ending(slot, outcome, **options) for slot in self.live if not self.sink.held[slot].concluded
        ]
        self._end(concluded + rest)

    def _verdict(self, status: int) -> tuple[endings.Outcome, dict[str, Any]]:
        """How the attempt ended, from what the child said last and how its process ended."""
        said = self.sink.end or {}
        how = said.get("how")
        if self.stopping is not None and how in ("stopped", "done", None):
            return self.stopping.why, {}
        if self._over_memory is not None:
            return "memory", {"reason": f"its process took {self._over_memory} bytes, more than it may"}
        if how == "sink":
            return "killed", {"reason": "its records could not be written"}
        if how == "memory":
            return "memory", {
                "reason": f"it could not get the memory it asked for: {said.get('message', '')[:300]}"
            }
        if how == "error":
            error = {"code": "crashed", "message": f"{said['type']}: {said['message']}"}
            return "failed", {"error": error, "detail": {"trace": said["trace"]}}
        if status == -signal.SIGKILL and memory.oom_kills() > self._kills_before:
            return "memory", {"reason": "the kernel killed its process for want of memory"}
        detail = {"status": status, "said": self.child.said[-2000:]}
        if status < 0:
            return "killed", {"reason": f"its process was killed by signal {-status}", "detail": detail}
        return "killed", {"reason": f"its process ended early with status {status}", "detail": detail}

    def _ending(self, slot: int, outcome: endings.Outcome, **options: Any) -> endings.Ending:
        job = self.live[slot]
        detail = {"seconds": round(time.monotonic() - self._started, 3)} | options.pop("detail", {})
        facts = {
            "environment": self.child.facts,
            "code_version": code_version(),
            "device": job.device_class,
            "dtype": job.dtype,
            "threads": job.threads,
        }
        return endings.Ending(job.id, job.epoch, outcome, detail=detail, provenance=facts, **options)

    def _end(self, ends: Sequence[endings.Ending]) -> None:
        """Writes the ends; waits for the database as long as it takes, or until the worker must go itself."""
        pause = 0.1
        while True:
            try:
                states = transact(self.engine, lambda connection: self._write_ends(connection, ends))
                break
            except DBAPIError as error:
                if not is_outage(error):
                    raise
                if self.draining.is_set():
                    # The leases will lapse; the next attempts go on from the last checkpoints.
                    states = {}
                    break
                time.sleep(pause)
                pause = min(2.0, 2 * pause)
        of = {job.id: job for job in self.jobs}
        for ending in ends:
            state = states.get(ending.job_id, "not ours any more")
            log.info("%s: %s → %s", ending.job_id, ending.outcome, state, **of_job(of[ending.job_id]))
        ended = {ending.job_id for ending in ends}
        for slot in [slot for slot, job in self.live.items() if job.id in ended]:
            del self.live[slot]
            self.pauses.pop(slot, None)

    def _write_ends(self, connection: Connection, ends: Sequence[endings.Ending]) -> dict[str, str]:
        over = {ending.job_id for ending in ends}
        lock_parents(connection, sorted(over))
        # The last progress belongs to the same transaction: nobody sees a job succeed at 1,990 of 2,000 steps.
        self._sign(connection, [slot for slot, job in self.live.items() if job.id in over])
        return endings.end(connection, ends)
