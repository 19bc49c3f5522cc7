"""The Celery application of one worker: one task, one thread, JSON only, no results."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, signals

from store.bell import TASK, settings
from store.config import Config
from worker.node import Node

log = logging.getLogger(__name__)


def make_app(config: Config, node: Node) -> Celery:
    """The application whose only task lets `node` work. The message is a hint: the ledger says what is next."""
    app = Celery("bfc-worker", set_as_current=True)
    app.conf.update(settings(config.redis_url))
    app.conf.update(
        # Acknowledged when it starts: should the worker die, the ledger rings again, sooner than Redis would.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        # A busy worker must not sit on a bell that an idle one could answer.
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_default_queue=f"bfc.{node.identity.device.device_class}",
    )

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def run_job(job_id: str) -> None:
        """Somebody has work, perhaps `job_id`."""
        log.debug("rung for %s", job_id)
        node.work()

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def _drain(**_: Any) -> None:
        node.drain()

    return app


def serve(app: Celery, node: Node) -> None:
    """Answers bells until the process is told to stop."""
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=threads",
            "--concurrency=1",
            f"--queues=bfc.{node.identity.device.device_class}",
            f"--hostname={node.identity.id}@{node.identity.name}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )
