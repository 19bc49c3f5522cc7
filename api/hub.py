"""Event streams: one reader of the ledger a process, however many clients listen.

A client first reads its history up to its topic's place, then what the reader hands out from there, so it
gets each event once and in order, whenever it joins. It keeps a bounded queue; one that falls behind by more
is cut off, and goes on with `Last-Event-ID` when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio import to_thread
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api import observe
from api.problems import Problem
from api.sse import BEAT, Frame, frames_of
from store import tail
from store.tail import Place, Scope, Told

LOG = logging.getLogger("bfc.hub")
TICK_SECONDS = 0.1
IDLE_SECONDS = 0.25
OUTAGE_SECONDS = 1.0
BATCH = 2_000
BEAT_SECONDS = 15.0
QUEUE_BYTES = 2 << 20
#: what is sent to a client at once
PIECE_BYTES = 16 << 10


@dataclass(eq=False, slots=True)
class Listener:
    """One client of a topic. `skip_to` is set while the topic has not reached where the client already is."""

    skip_to: Place | None
    cut: anyio.CancelScope
    queue: list[bytes] = field(default_factory=list)
    queued_bytes: int = 0
    last: bool = False
    #: done when something is queued for a client that waits: an Event would take ten times as much
    _some: asyncio.Future[None] | None = None

    def hand(self, content: bytes, last: bool = False) -> None:
        """Queue what is to be sent; cut the client off if it is too far behind. `last`: nothing comes after."""
        self.queue.append(content)
        self.queued_bytes += len(content)
        self.last = last
        if self.queued_bytes > QUEUE_BYTES:
            observe.STREAMS_DROPPED.inc()
            self.cut.cancel()
        if self._some is not None and not self._some.done():
            self._some.set_result(None)

    async def more(self) -> None:
        """Returns when something is queued."""
        if not self.queue:
            self._some = asyncio.get_running_loop().create_future()
            await self._some

    def take(self) -> tuple[bytes, bool]:
        """What is queued, of much only the first, and whether it was the last. What is queued is shared with others."""
        count, size = 1, len(self.queue[0])
        while count < len(self.queue) and size + len(self.queue[count]) <= PIECE_BYTES:
            size += len(self.queue[count])
            count += 1
        content = self.queue[0] if count == 1 else b"".join(self.queue[:count])
        del self.queue[:count]
        self.queued_bytes -= size
        return content, self.last and not self.queue


@dataclass(eq=False, slots=True)
class Topic:
    """What some clients listen to, and how far the reader has read it."""

    scope: Scope
    of: str
    place: Place
    listeners: set[Listener] = field(default_factory=set)

    def hand_out(self, events: list[Told]) -> None:
        """Move on, and give the events to everyone: spelt once, the same bytes for all."""
        frames = frames_of(events, self.of)
        self.place = frames[-1].place
        content, last = b"".join(frame.content for frame in frames), frames[-1].last
        observe.EVENTS_SENT.inc(len(frames) * len(self.listeners))
        for listener in self.listeners:
            if listener.skip_to is None:
                listener.hand(content, last)
            else:
                self._hand_rest(listener, frames)

    def _hand_rest(self, listener: Listener, frames: list[Frame]) -> None:
        """To a client that came from a process that had read further than this one."""
        assert listener.skip_to is not None
        fresh = [frame.content for frame in frames if frame.place > listener.skip_to]
        if fresh:
            listener.hand(b"".join(fresh), frames[-1].last)
        if self.place >= listener.skip_to:
            listener.skip_to = None

    def beat(self) -> None:
        """Something on every wire, so that proxies keep it open and the dead are noticed."""
        for listener in self.listeners:
            if not listener.queue:
                listener.hand(BEAT)


@dataclass(slots=True)
class Hub:
    """All topics of this process, and their reader."""

    engine: Engine
    max_streams: int
    topics: dict[tuple[Scope, str], Topic] = field(default_factory=dict)
    streams: int = 0
    _beaten: float = 0.0
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Read for ever. An unreachable database only delays the streams."""
        while True:
            await self._some.wait()
            started = time.monotonic()
            self._beat_when_due(started)
            try:
                found = await to_thread.run_sync(self._read, list(self.topics.values()))
            except (SQLAlchemyError, OSError) as fault:
                LOG.warning("events cannot be read, will try again: %s", fault)
                await asyncio.sleep(OUTAGE_SECONDS)
                continue
            for topic, events in found:
                topic.hand_out(events)
            pause = TICK_SECONDS if found else IDLE_SECONDS
            full = any(len(events) >= BATCH for _, events in found)
            await asyncio.sleep(0 if full else max(0.01, pause - (time.monotonic() - started)))

    def _beat_when_due(self, now: float) -> None:
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            for topic in self.topics.values():
                topic.beat()

    @asynccontextmanager
    async def listen(self, scope: Scope, of: str, place: Place) -> AsyncIterator[tuple[Listener, Place]]:
        """A listener from now on, and the place up to which its history must be read first."""
        if self.streams >= self.max_streams:
            says = f"{self.max_streams} event streams are open, as many as this process serves"
            raise Problem(503, "streams", says, headers={"Retry-After": "10", "Connection": "close"})
        self.streams += 1
        observe.STREAMS.set(self.streams)
        try:
            topic = await self._topic(scope, of)
            with anyio.CancelScope() as cut:
                listener = Listener(place if place > topic.place else None, cut)
                topic.listeners.add(listener)
                try:
                    yield listener, topic.place
                finally:
                    self._leave(topic, listener)
        finally:
            self.streams -= 1
            observe.STREAMS.set(self.streams)

    async def history(self, scope: Scope, of: str, place: Place, until: Place) -> AsyncIterator[tuple[bytes, bool]]:
        """What was told past `place` up to `until`, and whether its job tells no more.

        In pages of few bytes: whoever does not read keeps no more than one.
        """
        count = 16
        while place < until:
            page = await to_thread.run_sync(self._page, scope, of, place, count)
            place, whole = (page[-1].place if page else until), len(page) < count
            frames = frames_of([event for event in page if event.place <= until], of)
            content, last = b"".join(frame.content for frame in frames), bool(frames) and frames[-1].last
            del page, frames  # not kept while the client is waited for
            if content:
                count = max(1, min(BATCH, 2 * count, count * PIECE_BYTES // len(content)))
                yield content, last
            if whole:
                return

    async def _topic(self, scope: Scope, of: str) -> Topic:
        topic = self.topics.get((scope, of))
        if topic is None:
            place = await to_thread.run_sync(self._present, scope, of)
            topic = self.topics.setdefault((scope, of), Topic(scope, of, place))
            self._some.set()
        return topic

    def _leave(self, topic: Topic, listener: Listener) -> None:
        topic.listeners.discard(listener)
        if not topic.listeners:
            self.topics.pop((topic.scope, topic.of), None)
        if not self.topics:
            self._some.clear()

    def _present(self, scope: Scope, of: str) -> Place:
        with self.engine.connect() as connection:
            return tail.present(connection, scope, of)

    def _page(self, scope: Scope, of: str, place: Place, count: int) -> list[Told]:
        with self.engine.connect() as connection:
            return tail.after(connection, scope, of, place, count)

    def _read(self, topics: list[Topic]) -> list[tuple[Topic, list[Told]]]:
        """What is new for each topic: one statement for all jobs, one for each study or project."""
        found: list[tuple[Topic, list[Told]]] = []
        jobs = {topic.of: topic for topic in topics if topic.scope == "job"}
        with self.engine.connect() as connection:
            if jobs:
                places = {of: topic.place[0] for of, topic in jobs.items()}
                by_job: dict[str, list[Told]] = {}
                for event in tail.tails(connection, places, BATCH):
                    by_job.setdefault(event.job, []).append(event)
                found += [(jobs[of], events) for of, events in by_job.items()]
            for topic in topics:
                if topic.scope != "job":
                    events = tail.after(connection, topic.scope, topic.of, topic.place, BATCH)
                    found += [(topic, events)] if events else []
        return found
