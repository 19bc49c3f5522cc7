"""A lab's ledger in a test: a project, workers on paper and small jobs, through the functions of the store."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, text

from bfc_core import specs
from store import claims, endings, jobs, workers
from store.engine import transact
from store.ids import new_id
from store.tables import projects

LEASE = 15.0
GIB = 1 << 30


@dataclass(frozen=True)
class Member:
    """As `bfc_core.studies.members` makes them."""

    key: str
    spec: Any
    after: tuple[str, ...] = ()
    pack: str | None = None
    kind: str = "train"
    name: str = ""
    labels: dict[str, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.labels or {})


class Ledger:
    """One database with a project, seen through the functions of the store."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.project = self.new_project("p")

    def new_project(self, name: str) -> str:
        project = new_id("proj")
        with self.engine.begin() as connection:
            connection.execute(insert(projects), {"id": project, "name": name})
        return project

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """One function of the store in one transaction."""
        return transact(self.engine, lambda connection: function(connection, *arguments, **options))

    def submit(self, project: str | None = None, **body: Any) -> str:
        job = specs.parse_job({"kind": "train", "spec": {}, **body})
        return str(self.run(jobs.submit, project or self.project, job))

    def study(self, *members: Member, **body: Any) -> str:
        job = specs.parse_job({"kind": "study", "spec": {"kind": "correction"}, **body})
        return str(self.run(jobs.submit, self.project, job, members))

    def member_ids(self, study: str) -> dict[str, str]:
        rows = self.all("SELECT member_key, id FROM jobs WHERE parent_id = :id ORDER BY id", id=study)
        return {row.member_key: row.id for row in rows}

    def worker(self, **options: Any) -> claims.Room:
        standing = workers.Standing(
            **{"id": new_id("wk"), "name": "w", "host": "h", "pid": 1, "device_class": "cpu", "device": "cpu",
               "version": "0", "memory_bytes": 8 * GIB} | options
        )  # fmt: skip
        self.run(workers.register, standing)
        return claims.Room(standing.id, standing.device_class, standing.device, standing.memory_bytes)

    def claim(self, room: claims.Room | None = None, lease: float = LEASE) -> list[claims.Claimed]:
        room = room or self.worker()

        def work(connection: Connection) -> list[claims.Claimed]:
            return claims.claim(connection, room, lease)

        claimed = transact(self.engine, work)
        for parent in {one.parent_id for one in claimed if one.parent_id}:
            self.run(claims.started, parent)
        return claimed

    def end(self, one: claims.Claimed, outcome: Any, **options: Any) -> dict[str, str]:
        ending = endings.Ending(one.id, one.epoch, outcome, **options)
        return dict(self.run(endings.end, [ending]))

    def state(self, job_id: str) -> str:
        return str(self.one("SELECT state FROM jobs WHERE id = :id", id=job_id).state)

    def one(self, query: str, **values: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(query), values).one()

    def all(self, query: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), values))
