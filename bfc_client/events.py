"""Server-Sent Events: the wire format, and where to go on after a break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from bfc_client.errors import BadReply
from bfc_client.replies import FINAL, Event

NOW = "now"  # in place of an event's id: only what is yet to come


@dataclass(slots=True)
class EventStream:
    """Decodes lines of `text/event-stream` into events, and remembers the last id for `Last-Event-ID`.

    One stream outlives many connections: `broken()` drops a half-received event, the id stays.
    """

    last_id: str | None = None
    members: bool = True
    retry_seconds: float | None = None
    _heard: bool = False
    _id: str | None = None
    _type: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """One line without its line end. Returns an event when the line completes one."""
        self._heard = True
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry_seconds = int(value) / 1000
        return None

    def broken(self) -> bool:
        """The connection ended: an unfinished event is dropped. True if it had been alive."""
        heard, self._heard = self._heard, False
        self._begin()
        return heard

    def headers(self) -> dict[str, str]:
        """What a new connection sends to go on after the last event."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_id not in (None, NOW):
            headers["Last-Event-ID"] = str(self.last_id)
        return headers

    def params(self) -> dict[str, str]:
        """The query of a new connection."""
        params = {"after": NOW} if self.last_id == NOW else {}
        return params if self.members else {**params, "members": "false"}

    def _begin(self) -> None:
        self._id, self._type, self._data = None, "", []

    def _complete(self) -> Event | None:
        id_, type_, data = self._id, self._type, "\n".join(self._data)
        self._begin()
        if not data:
            return None
        self.last_id = id_ if id_ is not None else self.last_id
        return event_of(data, id_ or "", type_)


def event_of(data: str, id_: str, type_: str) -> Event:
    """The event of one message; its body may or may not repeat the id and the type."""
    try:
        body = json.loads(data)
    except json.JSONDecodeError as fault:
        raise BadReply(f"an event's data is not JSON: {fault}") from fault
    if not isinstance(body, dict):
        raise BadReply(f"an event's data is not an object: {data[:80]}")
    return Event.model_validate({"id": id_, "type": type_ or "message", **body})


def ends(event: Event, job: str) -> bool:
    """True for the event after which nothing more happens to the job by itself; its members' events are not it."""
    return event.type == "state" and event.job in (None, job) and event.data.get("state") in FINAL


def pauses(patience_seconds: float) -> Iterator[float]:
    """Seconds to wait before each new connection, doubling to 5, until the patience is spent."""
    spent, pause = 0.0, 0.2
    while spent < patience_seconds:
        yield pause
        spent += pause
        pause = min(5.0, pause * 2)
