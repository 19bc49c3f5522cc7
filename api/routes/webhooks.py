"""Webhooks: subscriptions, their deliveries, a test, a redelivery."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from sqlalchemy import Connection
from starlette.responses import Response

from api.auth import Reader, Submitter
from api.documented import answers
from api.lab import TheLab
from api.models import DeliveryReply, NewWebhookReply, Page, WebhookBody, WebhookReply
from api.once import IdempotencyKey, Made, once
from api.postman import refusal_of
from api.problems import Fault, NotHere, Refused, nearest
from api.replies import Cursor, Id, Limit, dumps, json_reply, page
from api.routing import router
from store import webhooks
from store.ids import new_id
from store.states import STATES

routes = router("webhooks")
WORDS = (
    "state",
    "progress",
    "metric",
    "log",
    "rewound",
    *(f"{webhooks.STATES_PREFIX}{state}" for state in STATES),
)
DeliveryId = Annotated[str, Path(max_length=60)]


@routes.post(
    "/v1/webhooks",
    **answers(
        409, body=True, model=NewWebhookReply, status=201, says="The subscription, with its secret this once."
    ),
)
async def create_webhook(
    lab: TheLab, who: Submitter, body: WebhookBody, key: IdempotencyKey = None
) -> Response:
    """Subscribe a URL to the project's events from now on.

    Deliveries are signed as Standard Webhooks has it: header `webhook-signature` is `v1,` and the base64
    HMAC-SHA256, keyed by the base64 part of the secret, of `{webhook-id}.{webhook-timestamp}.{body}`.
    They are tried nine times over twelve hours, never follow a redirect, and never go to a private address.
    """
    _check(body, lab.settings.allow_private_webhooks)

    def work(connection: Connection) -> Made:
        made, secret = webhooks.create(connection, who.project, body.url, list(dict.fromkeys(body.events)))
        found = webhooks.get(connection, who.project, made)
        assert found is not None
        return Made(201, {"Location": f"/v1/webhooks/{made}"}, dumps(dict(found) | {"secret": secret}))

    said = body.model_dump()
    return await lab.write(once, who.project, key, "POST /v1/webhooks", said, work)


@routes.get("/v1/webhooks", **answers(model=Page[WebhookReply], says="One page, newest first."))
async def list_webhooks(lab: TheLab, who: Reader, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List the project's subscriptions."""
    rows = await lab.read(webhooks.of_project, who.project, cursor, limit + 1)
    return page([dict(row) for row in rows], limit)


@routes.get("/v1/webhooks/{webhook_id}", **answers(404, model=WebhookReply))
async def show_webhook(lab: TheLab, who: Reader, webhook_id: Id) -> Response:
    """Show a subscription."""
    return json_reply(dict(await lab.read(_found, who.project, webhook_id)))


@routes.delete("/v1/webhooks/{webhook_id}", **answers(404, status=204))
async def delete_webhook(lab: TheLab, who: Submitter, webhook_id: Id) -> Response:
    """End a subscription; what is still to be delivered is not."""
    if not await lab.write(webhooks.remove, who.project, webhook_id):
        raise NotHere("webhook", webhook_id)
    return Response(status_code=204)


@routes.get(
    "/v1/webhooks/{webhook_id}/deliveries",
    **answers(404, model=Page[DeliveryReply], says="One page, newest first."),
)
async def list_deliveries(
    lab: TheLab, who: Reader, webhook_id: Id, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List the deliveries of a subscription, each with its attempts."""

    def read(connection: Connection) -> list[dict[str, Any]]:
        _found(connection, who.project, webhook_id)
        return [_shown(row) for row in webhooks.deliveries_of(connection, webhook_id, cursor, limit + 1)]

    return page(await lab.read(read), limit)


@routes.post(
    "/v1/webhooks/{webhook_id}/test",
    **answers(404, 409, model=DeliveryReply, status=202, says="The delivery, about to be made."),
)
async def test_webhook(
    lab: TheLab, who: Submitter, webhook_id: Id, key: IdempotencyKey = None  # noqa: PT028 - no test
) -> Response:
    """Deliver a test message: its `type` is `test`."""

    def work(connection: Connection) -> Made:
        _found(connection, who.project, webhook_id)
        event = new_id("test")
        made = webhooks.add(
            connection, webhook_id, event, {"type": "test", "id": event, "webhook": webhook_id}
        )
        return Made(202, {}, dumps(_shown(webhooks.delivery(connection, webhook_id, made))))

    return await lab.write(once, who.project, key, f"POST /v1/webhooks/{webhook_id}/test", None, work)


@routes.post(
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    **answers(404, 409, model=DeliveryReply, status=202, says="The new delivery, about to be made."),
)
async def redeliver(
    lab: TheLab, who: Submitter, webhook_id: Id, delivery_id: DeliveryId, key: IdempotencyKey = None
) -> Response:
    """Deliver the same payload again, as a delivery of its own."""

    def work(connection: Connection) -> Made:
        _found(connection, who.project, webhook_id)
        made = webhooks.redeliver(connection, webhook_id, delivery_id)
        if made is None:
            raise NotHere("delivery", delivery_id)
        return Made(202, {}, dumps(_shown(webhooks.delivery(connection, webhook_id, made))))

    route = f"POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
    return await lab.write(once, who.project, key, route, None, work)


def _check(body: WebhookBody, allow_private: bool) -> None:
    refusal = refusal_of(body.url, allow_private)
    faults = [] if refusal is None else [Fault("/url", refusal)]
    for place, word in enumerate(body.events):
        if word not in WORDS:
            faults.append(Fault(f"/events/{place}", f"unknown event {word[:80]!r}; {nearest(word, WORDS)}"))
    if faults:
        raise Refused(faults)


def _found(connection: Connection, project: str, id_: str) -> Any:
    found = webhooks.get(connection, project, id_)
    if found is None:
        raise NotHere("webhook", id_)
    return found


def _shown(row: Any) -> dict[str, Any]:
    shown = {name: row[name] for name in DeliveryReply.model_fields if name in row}
    shown["log"] = row["log"].get("attempts", [])
    shown["next_at"] = row["next_at"] if row["state"] == "pending" else None
    return shown
