"""What a worker does beside its jobs: shows that it lives, reaps the lost, and keeps the bells ringing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from store import outbox, reaper, upkeep, workers
from store.bell import BellError
from store.engine import is_outage, transact
from worker import memory
from worker.node import Node

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Duty:
    """Something done every so often."""

    every_seconds: float
    do: Callable[[], None]
    due: float = field(default=0.0)


class Pulse:
    """One thread, started with the worker and ended with it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._stop = threading.Event()
        self._presence: Connection | None = None
        beat = node.config.heartbeat_seconds
        self._judge = reaper.Judge(node.config.lease_seconds, beat)
        self._duties = [
            Duty(beat, self._hear),
            Duty(max(beat, 1.0), node.relay),
            Duty(reaper.period(beat), self._reap),
            Duty(max(2 * beat, 1.0), self._ring_again),
            Duty(10.0, self._mend),
            Duty(60.0, self._keep_house),
        ]
        self._thread = threading.Thread(target=self._work, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)
        if self._presence is not None:
            self._presence.close()

    def _work(self) -> None:
        while not self._stop.wait(self._pause()):
            now = time.monotonic()
            for duty in self._duties:
                if now >= duty.due and not self._stop.is_set():
                    duty.due = now + duty.every_seconds
                    self._try(duty.do)

    def _pause(self) -> float:
        return max(0.02, min(duty.due for duty in self._duties) - time.monotonic())

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except SQLAlchemyError as error:
            self._presence_lost()
            outage = isinstance(error, DBAPIError) and is_outage(error)
            log.warning(
                "%s: %s", "the database is away" if outage else "a duty failed", str(error).splitlines()[0]
            )
        except Exception:
            # The pulse is what others judge the worker by: one failed duty must not end it.
            log.exception("a duty failed")

    def _hear(self) -> None:
        if self._presence is None:
            self._presence = self.node.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            workers.present(self._presence, self.node.identity.id)
        asked = workers.hear(
            self._presence,
            self.node.identity.id,
            self.node.state,
            memory.free_bytes(),
            self.node.identity.device.free_bytes(),
            disk_full=not self.node.has_disk(),
        )
        self._judge.heard()
        if asked and not self.node.draining.is_set():
            log.info("asked to drain")
            self.node.drain()

    def _presence_lost(self) -> None:
        if self._presence is not None:
            try:
                self._presence.close()
            except SQLAlchemyError:
                log.debug("the lost connection could not be closed")
            self._presence = None

    def _reap(self) -> None:
        if self._presence is None or not self._judge.may:
            return
        config = self.node.config
        states = transact(
            self.node.engine,
            lambda connection: reaper.reap(connection, config.lease_seconds, config.heartbeat_seconds),
        )
        for job, state in states.items():
            log.warning("%s: its worker fell silent → %s", job, state)
        if states:
            self.node.relay()

    def _ring_again(self) -> None:
        """Bells that were lost, with the broker or on the way, ring again from the ledger."""
        node = self.node
        if node.state != "idle":
            return
        with node.engine.begin() as connection:
            bells = outbox.unheard(connection)
        mine = [job for device_class, job in bells if device_class == node.identity.device.device_class]
        if not mine:
            return
        try:
            node.bell.ring(node.identity.device.device_class, mine[0])
        except BellError:
            # Without a broker there is nobody to ring for us.
            threading.Thread(target=node.work, name="unrung", daemon=True).start()

    def _mend(self) -> None:
        config = self.node.config
        transact(self.node.engine, reaper.mend)
        transact(self.node.engine, lambda connection: workers.bury(connection, 4 * config.lease_seconds))

    def _keep_house(self) -> None:
        upkeep.all_of_it(self.node.engine)
