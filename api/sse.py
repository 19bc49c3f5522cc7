"""Server-Sent Events: the wire form of an event, and of its place in a stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from store.states import TERMINAL
from store.tail import Place, Told

#: what a client waits before it comes back, in milliseconds
RETRY = b"retry: 1000\n\n"
BEAT = b": beat\n\n"


def id_of(place: Place) -> str:
    """The id of an event in its stream: `seq` of a job, `txid-id` of a study or a project."""
    return "-".join(map(str, place))


def place_of(id_: str, parts: int) -> Place | None:
    """The place that an id names; None if it is not one of this kind of stream."""
    pieces = id_.split("-")
    if len(pieces) != parts or not all(
        piece.isascii() and piece.isdigit() and len(piece) < 19 for piece in pieces
    ):
        return None
    return tuple(int(piece) for piece in pieces)


def event_json(event: Told) -> str:
    """The event as JSON; `data` is JSON text already and is put in as it is."""
    return (
        f'{{"id":"{id_of(event.place)}","type":"{event.kind}","job":"{event.job}",'
        f'"at":"{event.at}","data":{event.data}}}'
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """An event on the wire, spelt once for all who listen; `last` is true behind which a job tells no more."""

    place: Place
    content: bytes
    last: bool


def frames_of(events: Sequence[Told], of: str) -> list[Frame]:
    """The frames of a stream of `of`. JSON text from Postgres holds no line ends, so one `data:` line carries it."""
    return [Frame(event.place, _wire(event), event.job == of and _ends(event)) for event in events]


def _wire(event: Told) -> bytes:
    return f"id: {id_of(event.place)}\nevent: {event.kind}\ndata: {event_json(event)}\n\n".encode()


def _ends(event: Told) -> bool:
    return event.kind == "state" and json.loads(event.data).get("state") in TERMINAL
