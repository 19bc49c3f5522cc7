"""A worker inside the test's process, with the fake child: everything real but Celery's loop and torch."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from store.bell import Bell
from store.config import Config
from store.engine import connect
from tests.ledger import Ledger
from worker.devices import Device
from worker.node import Node, identity
from worker.pulse import Pulse
from worker.spawn import Terms

# Nobody waits so long but on a machine with much else to do.
PATIENCE = 60.0

FAKE = (sys.executable, str(Path(__file__).parents[1] / "fake_child.py"))


class Shop:
    """Workers of one test, and what it asks of the ledger."""

    def __init__(self, ledger: Ledger, config: Config) -> None:
        self.ledger = ledger
        self.config = config
        self._nodes: list[tuple[Node, Pulse, Engine, threading.Thread]] = []

    def worker(
        self,
        *,
        program: tuple[str, ...] = FAKE,
        env: dict[str, str] | None = None,
        answers: bool = True,
        **settings: Any,
    ) -> Node:
        """A worker at work until the test ends; its bell is a loop, if it `answers`."""
        config = replace(self.config, **settings)
        engine = connect(config, pool_size=4)
        terms = Terms(program, env, Path(__file__).parents[2])
        node = Node(config, engine, Bell(config.redis_url), identity(Device("cpu", "cpu", 0), "test"), terms)
        node.register()
        pulse = Pulse(node)
        pulse.start()

        def answer() -> None:
            while not node.draining.wait(0.02):
                if answers:
                    node.work()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        self._nodes.append((node, pulse, engine, thread))
        return node

    def submit(self, seed: int = 0, steps: int = 100, every: float = 30.0, **body: Any) -> str:
        return self.ledger.submit(spec=spec(seed, steps, every), **body)

    def wait(self, job_id: str, *states: str, seconds: float = PATIENCE) -> Any:
        """The job's row, once it is in one of `states`."""
        states = states or ("succeeded", "failed", "cancelled")
        return self.until(lambda: self._row(job_id, states), f"{job_id} never was {states}", seconds)

    def progress(self, job_id: str, at_least: int) -> Any:
        return self.until(
            lambda: row if (row := self.row(job_id)).progress_done >= at_least else None, "no progress"
        )

    def until(self, look: Callable[[], Any], fault: str, seconds: float = PATIENCE) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.02)
        raise AssertionError(f"{fault}; {self.ledger.all('SELECT id, state, reason, error FROM jobs')}")

    def row(self, job_id: str) -> Any:
        return self.ledger.one("SELECT * FROM jobs WHERE id = :id", id=job_id)

    def step(self, function: Callable[..., Any], job_id: str) -> None:
        self.ledger.run(function, self.ledger.project, job_id)

    def undisturbed(self, seed: int, steps: int) -> dict[str, Any]:
        """The summary of the same spec run alone and in peace."""
        job_id = self.submit(seed, steps)
        self.wait(job_id)
        return dict(self.row(job_id).summary)

    def stop(self) -> None:
        for node, pulse, engine, thread in self._nodes:
            node.drain()
            thread.join(PATIENCE)
            # Work begun without a bell runs on a thread of its own.
            assert node.busy.acquire(timeout=PATIENCE)
            node.close()
            pulse.stop()
            node.bell.close()
            engine.dispose()
        self._nodes.clear()

    def _row(self, job_id: str, states: tuple[str, ...]) -> Any:
        row = self.row(job_id)
        return row if row.state in states else None


def spec(seed: int, steps: int = 100, every: float = 30.0) -> dict[str, Any]:
    return {
        "seed": seed,
        "budget": {"steps": steps},
        "snapshots": {"checkpoint": {"every_seconds": every}},
    }


@pytest.fixture
def shop(ledger: Ledger, config: Config) -> Iterator[Shop]:
    quick = replace(config, heartbeat_seconds=0.1, cancel_grace_seconds=PATIENCE)
    made = Shop(ledger, quick)
    yield made
    made.stop()
