"""Webhooks: subscriptions, the deliveries that events turn into, and each attempt at them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, delete, insert, select, text

from store import tail
from store.ids import new_id
from store.tables import deliveries, webhooks

#: Seconds before each next attempt; after the last one a delivery has failed.
PAUSES_SECONDS = (5, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600)
LEASE_SECONDS = 60
GATHERED = 500
STATES_PREFIX = "job."

_SHOWN = (webhooks.c.id, webhooks.c.url, webhooks.c.events, webhooks.c.created_at, webhooks.c.disabled_at)


class Due(NamedTuple):
    """A delivery that is to be attempted now."""

    id: str
    webhook_id: str
    url: str
    secret: str
    payload: dict[str, Any]
    attempt: int


def create(connection: Connection, project_id: str, url: str, events: Sequence[str]) -> tuple[str, str]:
    """A new subscription to what happens from now on: its id and its secret."""
    hook, secret = new_id("hook"), "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    row = {"id": hook, "project_id": project_id, "url": url, "secret": secret, "events": list(events)}
    connection.execute(insert(webhooks), row)
    return hook, secret


def get(connection: Connection, project_id: str, hook_id: str) -> RowMapping | None:
    """One subscription, without its secret."""
    query = select(*_SHOWN).where(webhooks.c.id == hook_id, webhooks.c.project_id == project_id)
    return connection.execute(query).mappings().one_or_none()


def of_project(
    connection: Connection, project_id: str, before_id: str | None, limit: int
) -> Sequence[RowMapping]:
    """A project's subscriptions, newest first."""
    query = select(*_SHOWN).where(webhooks.c.project_id == project_id)
    if before_id is not None:
        query = query.where(webhooks.c.id < before_id)
    return connection.execute(query.order_by(webhooks.c.id.desc()).limit(limit)).mappings().all()


def remove(connection: Connection, project_id: str, hook_id: str) -> bool:
    """Ends a subscription with its deliveries; False where there is none."""
    gone = delete(webhooks).where(webhooks.c.id == hook_id, webhooks.c.project_id == project_id)
    return connection.execute(gone).rowcount > 0


_BEHIND = text("""
    SELECT w.id, w.project_id, w.events, w.seen_txid::text AS txid, w.seen_id AS id_seen FROM webhooks w
     WHERE w.disabled_at IS NULL AND EXISTS (
           SELECT 1 FROM events e WHERE e.project_id = w.project_id
              AND (e.txid, e.id) > (w.seen_txid, w.seen_id) AND e.txid < pg_snapshot_xmin(pg_current_snapshot()))
     ORDER BY w.id LIMIT 20 FOR UPDATE OF w SKIP LOCKED""")
_ADD = text("""
    INSERT INTO deliveries (id, webhook_id, event, payload)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:hooks AS text[]), CAST(:events AS text[]), CAST(:payloads AS jsonb[]))
    ON CONFLICT (webhook_id, event) DO NOTHING""")
_SEEN = text("UPDATE webhooks SET seen_txid = CAST(:txid AS xid8), seen_id = :id WHERE id = :hook")


def gather(connection: Connection) -> int:
    """Turns new events into deliveries; how many subscriptions were behind.

    Several processes may do so at once: each takes the subscriptions that no other holds.
    """
    behind = connection.execute(_BEHIND).all()
    for hook in behind:
        place = (int(hook.txid), hook.id_seen)
        events = tail.after(connection, "project", hook.project_id, place, GATHERED)
        wanted = [event for event in events if _wants(hook.events, event)]
        if wanted:
            rows = {
                "ids": [new_id("dlv") for _ in wanted],
                "hooks": [hook.id] * len(wanted),
                "events": ["-".join(map(str, event.place)) for event in wanted],
                "payloads": [_payload(event) for event in wanted],
            }
            connection.execute(_ADD, rows)
        txid, last = events[-1].place
        connection.execute(_SEEN, {"hook": hook.id, "txid": str(txid), "id": last})
    return len(behind)


def add(connection: Connection, hook_id: str, event: str, payload: dict[str, Any]) -> str:
    """One delivery made by hand; its id."""
    made = new_id("dlv")
    connection.execute(
        insert(deliveries), {"id": made, "webhook_id": hook_id, "event": event, "payload": payload}
    )
    return made


def redeliver(connection: Connection, hook_id: str, delivery_id: str) -> str | None:
    """A new delivery of the same payload; None where there is no such delivery."""
    found = delivery(connection, hook_id, delivery_id)
    if found is None:
        return None
    return add(connection, hook_id, f"{found['event']} again {new_id('again')}", found["payload"])


_CLAIM = text("""
    UPDATE deliveries d SET attempt = d.attempt + 1, next_at = now() + make_interval(secs => :lease)
      FROM webhooks w
     WHERE w.id = d.webhook_id AND d.id IN (
           SELECT id FROM deliveries WHERE state = 'pending' AND next_at <= now()
            ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING d.id, d.webhook_id, w.url, w.secret, d.payload, d.attempt""")


def claim(connection: Connection, limit: int) -> list[Due]:
    """Deliveries that are due, each held for a while: if this process dies another attempt follows."""
    rows = connection.execute(_CLAIM, {"limit": limit, "lease": LEASE_SECONDS})
    return [Due(*row) for row in rows]


_RECORD = text("""
    UPDATE deliveries
       SET state = :state, status = :status, error = :error,
           next_at = now() + make_interval(secs => :pause),
           delivered_at = CASE WHEN :state = 'delivered' THEN now() END,
           log = jsonb_set(log, '{attempts}', coalesce(log -> 'attempts', '[]'::jsonb) || CAST(:line AS jsonb))
     WHERE id = :id AND state = 'pending'""")


def record(
    connection: Connection, due: Due, status: int | None, error: str | None, line: dict[str, Any]
) -> None:
    """Keeps how an attempt ended, and when the next one is due."""
    last = due.attempt > len(PAUSES_SECONDS)
    state = "delivered" if error is None else "failed" if last else "pending"
    pause = 0 if state != "pending" else PAUSES_SECONDS[due.attempt - 1]
    connection.execute(
        _RECORD,
        {
            "id": due.id,
            "state": state,
            "status": status,
            "error": error,
            "pause": pause,
            "line": json.dumps([line]),
        },
    )


def delivery(connection: Connection, hook_id: str, delivery_id: str) -> RowMapping | None:
    """One delivery with its log."""
    query = select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.webhook_id == hook_id)
    return connection.execute(query).mappings().one_or_none()


def deliveries_of(
    connection: Connection, hook_id: str, before_id: str | None, limit: int
) -> Sequence[RowMapping]:
    """A subscription's deliveries, newest first."""
    query = select(deliveries).where(deliveries.c.webhook_id == hook_id)
    if before_id is not None:
        query = query.where(deliveries.c.id < before_id)
    return connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit)).mappings().all()


def _wants(words: Sequence[str], event: tail.Told) -> bool:
    if event.kind in words:
        return True
    return event.kind == "state" and STATES_PREFIX + str(json.loads(event.data).get("state")) in words


def _payload(event: tail.Told) -> str:
    told = {"type": event.kind, "id": "-".join(map(str, event.place)), "job": event.job, "at": event.at}
    return json.dumps(told | {"data": json.loads(event.data)})
