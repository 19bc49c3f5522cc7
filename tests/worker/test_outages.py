import gc
import time
from collections.abc import Iterator

import pytest
import redis

from store import series
from tests.worker.conftest import Shop
from tests.worker.proxy import Proxy

# SQLAlchemy leaves a connection that was cut while it was being prepared to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

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
    shop.worker(env=SLOW, database_url=proxy.url, lease_seconds=1.0)
    job = shop.submit(1, 300)
    shop.progress(job, 50)
    proxy.cut()
    time.sleep(1.5)
    assert shop.row(job).state == "running"
    before = shop.row(job).progress_done
    proxy.mend()
    row = shop.wait(job)
    assert (row.state, row.attempt, row.lost_attempts) == ("succeeded", 1, 0)
    with shop.ledger.engine.connect() as connection:
        found = {one.key: one for _, one in series.read(connection, [job])}
    assert found["loss"].steps.tolist() == list(range(5, 301, 5)), "what was made meanwhile was kept"
    assert before < 300


def test_a_long_outage_ends_in_a_checkpoint_and_a_clean_requeue(shop: Shop, proxy: Proxy) -> None:
    shop.worker(env=SLOW, database_url=proxy.url, outage_seconds=0.5)
    job = shop.submit(1, 500)
    shop.progress(job, 50)
    proxy.cut()
    time.sleep(2.5)
    proxy.mend()
    row = shop.wait(job)
    assert (row.state, row.lost_attempts) == ("succeeded", 0)
    outcomes = [one.outcome for one in shop.ledger.all("SELECT outcome FROM attempts ORDER BY epoch")]
    assert outcomes == ["outage", "succeeded"]
    attempt = shop.ledger.all("SELECT from_step FROM attempts ORDER BY epoch")[1]
    assert attempt.from_step > 50, "the checkpoint made during the outage was written after it"


def test_a_worker_that_lost_its_lease_meanwhile_writes_nothing(shop: Shop, proxy: Proxy) -> None:
    shop.worker(env=SLOW, database_url=proxy.url, lease_seconds=0.6)
    peace = None
    job = shop.submit(1, 300)
    shop.progress(job, 50)
    proxy.cut()
    shop.worker(env=SLOW, lease_seconds=0.6)
    row = shop.until(lambda: one if (one := shop.row(job)).attempt == 2 else None, "never taken over")
    assert row.state == "running"
    proxy.mend()
    row = shop.wait(job)
    assert (row.state, row.attempt) == ("succeeded", 2)
    peace = shop.undisturbed(1, 300)
    assert row.summary == peace
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
