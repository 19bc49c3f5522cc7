"""One worker: bound to one device, it takes work from the ledger whenever a bell rings, one claim at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from store import claims, conclusions, endings, outbox, schema, snapshots, workers
from store.bell import Bell, BellError
from store.config import Config
from store.engine import is_outage, transact
from store.errors import NotFound
from store.ids import new_id
from worker import briefing, memory
from worker.attempt import Attempt
from worker.conclude import conclude
from worker.devices import Device, hardware
from worker.spawn import Nursery, Terms, environment
from worker.version import code_version

log = logging.getLogger(__name__)

# The next child is loaded when this one is well under way, so as not to slow its start.
RESERVE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this worker is in the ledger. A restarted worker is a new one."""

    id: str
    name: str
    device: Device


class Node:
    """The worker's state, shared by Celery's thread and the pulse."""

    def __init__(
        self, config: Config, engine: Engine, bell: Bell, identity: Identity, terms: Terms | None = None
    ) -> None:
        self.config = config
        self.engine = engine
        self.bell = bell
        self.identity = identity
        self.draining = threading.Event()
        self.busy = threading.Lock()
        self._disk_full = False
        self.nursery = Nursery(terms or Terms(environment=environment(identity.device.name)))

    def register(self) -> None:
        """Enters the ledger, and has a child loaded. `SchemaError` for a ledger of another version."""
        device = self.identity.device
        standing = workers.Standing(
            id=self.identity.id,
            name=self.identity.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            device_class=device.device_class,
            device=device.name,
            version=code_version(),
            memory_bytes=memory.total_bytes(),
            device_memory_bytes=device.memory_bytes,
            hardware=hardware(device),
        )
        with self.engine.begin() as connection:
            schema.check(connection)
            workers.register(connection, standing)
        self.nursery.prepare()

    def drain(self) -> None:
        """Gives jobs back at their next checkpoint, and takes no more."""
        self.draining.set()

    def close(self) -> None:
        """Leaves the ledger in good order."""
        self.drain()
        self.nursery.close()
        with contextlib.suppress(Exception):
            transact(self.engine, lambda connection: workers.leave(connection, self.identity.id))

    @property
    def state(self) -> str:
        if self.draining.is_set():
            return "draining"
        return "busy" if self.busy.locked() else "idle"

    def work(self) -> int:
        """Takes work until there is none for this device; how many claims. At once when it is at work already."""
        if not self.busy.acquire(blocking=False):
            return 0
        done = 0
        try:
            while not self.draining.is_set() and self.has_disk() and self._work_once():
                done += 1
        except DBAPIError as error:
            if not is_outage(error):
                raise
            log.warning("no work while the database is away: %s", str(error.orig).strip())
        finally:
            self.busy.release()
        return done

    def has_disk(self) -> bool:
        """False while the data folder's disk is nearly full: then new jobs wait."""
        folder, full = self.config.data, False
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(folder if folder.exists() else ".")
            full = usage.free < self.config.free_disk_fraction * usage.total
        if full != self._disk_full:
            said = "is nearly full; new jobs wait" if full else "has room again"
            log.warning("the disk of %s %s", folder, said)
            self._disk_full = full
        return not full

    def relay(self) -> None:
        """Publishes what has been written to the outbox; a broker that is away hears it later."""
        try:
            outbox.relay(self.engine, self.bell.ring)
        except BellError as error:
            log.warning("the broker is away: %s", error)

    def _work_once(self) -> bool:
        study = transact(
            self.engine,
            lambda connection: conclusions.claim(connection, self.identity.id, self.config.lease_seconds),
        )
        if study is not None:
            conclude(self.engine, self.config, study)
            self.relay()
            return True
        jobs = transact(self.engine, self._claim)
        if not jobs:
            return False
        self._run(jobs)
        self.relay()
        return True

    def _claim(self, connection: Connection) -> list[claims.Claimed]:
        device = self.identity.device
        free = memory.free_bytes()
        if self.config.max_job_memory_bytes is not None:
            free = min(free, self.config.max_job_memory_bytes)
        room = claims.Room(self.identity.id, device.device_class, device.name, free, device.free_bytes())
        return claims.claim(connection, room, self.config.lease_seconds)

    def _run(self, jobs: Sequence[claims.Claimed]) -> None:
        log.info("claimed %s", ", ".join(f"{job.id} (attempt {job.attempt})" for job in jobs))
        try:
            with self.engine.begin() as connection:
                marks, resume = briefing.marks_and_checkpoints(connection, jobs)
                stored = {job.slot or 0: snapshots.stored_bytes(connection, job.id) for job in jobs}
                told = briefing.frames(connection, jobs, resume, self.identity.device.torch_name)
        except (briefing.MissingInput, NotFound) as error:
            self._refuse(jobs, str(error))
            return
        child = self.nursery.take()
        for frame, parts in told:
            child.send(frame, parts)
        attempt = Attempt(self.engine, self.config, child, jobs, marks, stored, self.draining)
        attempt.on_first_record = self._prepare_later
        parent = jobs[0].parent_id
        if parent is not None:
            self._tell_study(parent)
        try:
            attempt.run()
        except Exception as error:
            # A fault of ours, or a database that refuses: the leases would stand for nothing until they lapse.
            log.exception("the attempt broke off")
            self._give_up(
                list(attempt.live.values()), f"its worker failed: {type(error).__name__}: {error}"[:500]
            )
        self.nursery.prepare()

    def _tell_study(self, study_id: str) -> None:
        """A study that does not hear of its member now is told by the next sweep."""
        try:
            transact(self.engine, lambda connection: claims.started(connection, study_id))
        except DBAPIError as error:
            log.warning("the study %s was not told: %s", study_id, error.orig)

    def _give_up(self, jobs: Sequence[claims.Claimed], reason: str) -> None:
        ends = [
            endings.Ending(job.id, job.epoch, "killed", reason=reason, detail={"reason": reason})
            for job in jobs
        ]
        transact(self.engine, lambda connection: endings.end(connection, ends))

    def _prepare_later(self) -> None:
        timer = threading.Timer(RESERVE_SECONDS, self.nursery.prepare)
        timer.daemon = True
        timer.start()

    def _refuse(self, jobs: Sequence[claims.Claimed], message: str) -> None:
        error = {"code": "missing_input", "message": message}
        ends = [endings.Ending(job.id, job.epoch, "failed", error=error) for job in jobs]
        transact(self.engine, lambda connection: endings.end(connection, ends))


def identity(device: Device, name: str | None) -> Identity:
    """A new identity; the name says host and device unless it is given."""
    return Identity(new_id("wk"), name or f"{socket.gethostname()}-{device.name.replace(':', '-')}", device)
