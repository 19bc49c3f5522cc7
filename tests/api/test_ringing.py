"""The bells of committed jobs ring as soon as the broker can be reached, without another request."""

import asyncio
import contextlib

import pytest
import redis

from api import ringing
from tests.ledger import Ledger
from tests.proxy import Proxy


def test_a_bell_that_could_not_ring_is_tried_again(
    ledger: Ledger, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ringing, "RETRY_SECONDS", 0.05)
    proxy = Proxy(broker)
    proxy.cut()
    ledger.submit()

    async def ring_through_an_outage() -> None:
        ringer = ringing.Ringer(ledger.engine, proxy.url)
        task = asyncio.create_task(ringer.run())
        ringer.soon()
        await asyncio.sleep(0.5)
        assert ledger.all("SELECT 1 FROM outbox") != []
        proxy.mend()
        for _ in range(400):
            if not ledger.all("SELECT 1 FROM outbox"):
                break
            await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        asyncio.run(ring_through_an_outage())
    finally:
        proxy.close()
    with redis.Redis.from_url(broker) as client:
        assert client.llen("bfc.cpu") == 1
    assert ledger.all("SELECT 1 FROM outbox") == []
