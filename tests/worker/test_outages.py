import gc
import time
from collections.abc import Iterator

import psutil
import pytest
import redis
from sqlalchemy import text

from store import series
from tests.processes import child_at_work
from tests.proxy import Proxy
from tests.worker.conftest import Shop

SLOW = {"FAKE_STEP_SECONDS": "0.01"}


@pytest.fixture
def proxy(shop: Shop) -> Iterator[Proxy]:
    made = Proxy(shop.config.database_url)
    yield made
    made.mend()
    shop.stop()
    made.close()
    gc.collect()


def test_a_short_outage_costs_nothing(shop: Shop, proxy: Proxy) -> None:
    shop.worker(env=SLOW, database_url=proxy.url)
    job = shop.submit(1, 300)
    shop.progress(job, 50)
    proxy.cut()
    before = shop.row(job)
    lapse(shop, job)
    time.sleep(1.5)
    assert shop.row(job).state == "running"
    proxy.mend()
    row = shop.wait(job)
    assert (row.state, row.attempt, row.lost_attempts) == ("succeeded", 1, 0)
    with shop.ledger.engine.connect() as connection:
        found = {one.key: one for _, one in series.read(connection, [job])}
    assert found["loss"].steps.tolist() == list(range(5, 301, 5)), "what was made meanwhile was kept"
    assert before.progress_done < 300


def test_a_long_outage_ends_in_a_checkpoint_and_a_clean_requeue(shop: Shop, proxy: Proxy) -> None:
    shop.worker(env=SLOW, database_url=proxy.url, outage_seconds=0.5)
    job = shop.submit(1, 500)
    shop.progress(job, 50)
    child = child_at_work("fake_child")
    proxy.cut()
    shop.until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child went on")
    proxy.mend()
    row = shop.wait(job)
    assert (row.state, row.lost_attempts) == ("succeeded", 0)
    first, second = shop.ledger.all("SELECT outcome, from_step FROM attempts ORDER BY epoch")
    assert (first.outcome, second.outcome) == ("outage", "succeeded")
    assert second.from_step > 50, "the checkpoint made during the outage was written after it"


def test_a_worker_that_lost_its_lease_meanwhile_writes_nothing(shop: Shop, proxy: Proxy) -> None:
    shop.worker(env=SLOW, database_url=proxy.url)
    job = shop.submit(1, 300)
    shop.progress(job, 50)
    proxy.cut()
    lapse(shop, job)
    shop.worker(env=SLOW)
    row = shop.until(lambda: one if (one := shop.row(job)).attempt == 2 else None, "never taken over")
    assert row.state == "running"
    proxy.mend()
    row = shop.wait(job)
    assert (row.state, row.attempt) == ("succeeded", 2)
    assert row.summary == shop.undisturbed(1, 300)
    with shop.ledger.engine.connect() as connection:
        found = {one.key: one for _, one in series.read(connection, [job])}
    assert found["loss"].steps.tolist() == list(range(5, 301, 5))


def test_work_goes_on_without_a_broker(shop: Shop) -> None:
    shop.worker(redis_url="redis://127.0.0.1:1/0")
    assert shop.wait(shop.submit(1, 50)).state == "succeeded"


def test_a_flushed_broker_is_rung_again_from_the_ledger(shop: Shop) -> None:
    shop.worker(answers=False)
    with redis.Redis.from_url(shop.config.redis_url) as client:
        job = shop.submit(1, 50)
        shop.until(lambda: client.llen("bfc.cpu"), "never rung")
        client.flushdb()
        shop.until(lambda: client.llen("bfc.cpu"), "never rung again")
    assert shop.row(job).state == "queued"


def lapse(shop: Shop, job: str) -> None:
    """The lease is over, as if the outage had been long."""
    with shop.ledger.engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": job}
        )
