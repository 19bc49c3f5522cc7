"""The worker as a process: `python -m worker`, Celery and signals included; its children are the fake ones."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from store import outbox
from store.bell import bell
from tests.worker.conftest import FAKE, PATIENCE, Shop

ROOT = Path(__file__).parents[2]


def start(shop: Shop, **env: str) -> "subprocess.Popen[str]":
    config = shop.config
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.worker", "--device", "cpu", "--name", "w1"],
        env={
            **os.environ,
            "BFC_DATABASE_URL": config.database_url,
            "BFC_REDIS_URL": config.redis_url,
            "BFC_DATA": str(config.data),
            "BFC_HEARTBEAT_SECONDS": "0.2",
            "BFC_CHAOS_CHILD": FAKE[1],
            "FAKE_STEP_SECONDS": "0.01",
            **env,
        },
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def process(shop: Shop) -> "Iterator[subprocess.Popen[str]]":
    started = start(shop)
    yield started
    started.kill()
    started.communicate()


def running(shop: Shop) -> str:
    job = shop.submit(1, 100_000)
    with bell(shop.config.redis_url) as rung:
        outbox.relay(shop.ledger.engine, rung.ring)
    shop.wait(job, "running")
    shop.progress(job, 5)
    return job


def test_sigterm_gives_the_job_back_and_ends_well(shop: Shop, process: "subprocess.Popen[str]") -> None:
    job = running(shop)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    row = shop.row(job)
    assert (row.state, row.lost_attempts) == ("queued", 0)
    assert shop.ledger.one("SELECT step FROM checkpoints").step > 0
    assert shop.ledger.one("SELECT state FROM workers").state == "gone"


def test_a_killed_worker_takes_its_child_along_and_is_noticed_within_three_beats(
    shop: Shop, process: "subprocess.Popen[str]"
) -> None:
    job = running(shop)
    children = psutil.Process(process.pid).children()
    assert children
    process.kill()
    process.wait()
    shop.until(
        lambda: not any(child.is_running() and child.status() != "zombie" for child in children),
        "a child lives",
    )
    shop.worker(answers=False)
    shop.wait(job, "queued")
    assert "connection was lost" in shop.row(job).reason


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"BFC_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "database: "),
        ({"BFC_LEASE_SECONDS": "soon"}, "BFC_LEASE_SECONDS is 'soon'"),
    ],
)
def test_what_keeps_it_from_starting_is_one_clear_line(shop: Shop, env: dict[str, str], words: str) -> None:
    started = start(shop, **env)
    _, said = started.communicate(timeout=PATIENCE)
    assert started.returncode == 1
    assert words in said.strip().splitlines()[-1]
    assert "Traceback" not in said


def test_its_log_ties_a_jobs_lines_to_the_request_that_submitted_it(shop: Shop) -> None:
    job, trace = shop.submit(1, 5), "0af7651916cd43dd8448eb211c80319c"
    with shop.ledger.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET trace_id = :trace WHERE id = :id"), {"trace": trace, "id": job})
    started = start(shop, BFC_LOG="json")
    try:
        with bell(shop.config.redis_url) as rung:
            outbox.relay(shop.ledger.engine, rung.ring)
        shop.wait(job, "succeeded", seconds=30)
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=30)
    finally:
        started.kill()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    about = [line for line in lines if line.get("job_id") == job]
    assert {line["trace_id"] for line in about} == {trace}, said
    assert {(line["attempt"], line["level"]) for line in about} == {(1, "info")}
    assert any("succeeded" in line["message"] for line in about)
    assert any("in process" in line["message"] for line in about)
