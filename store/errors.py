"""What can go wrong between a question and the ledger.

StoreError
├── NotFound            no such thing in this project
├── Conflict            the step does not apply in the job's present state
├── UnknownDependency   `after` names jobs this project does not have
├── QueueFull           the project may not queue more
└── Fenced              the writer's lease is no longer its own
"""

from collections.abc import Sequence


class StoreError(Exception):
    """Base of this family."""


class NotFound(StoreError):
    """`noun` with `name` is not in this project."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(f"no {noun} {name}")
        self.noun = noun
        self.name = name


class Conflict(StoreError):
    """`action` does not apply to a job in `state`; the message says why and what would."""

    def __init__(self, action: str, state: str, why: str) -> None:
        super().__init__(f"cannot {action} a job that is {state}: {why}")
        self.action = action
        self.state = state


class UnknownDependency(StoreError):
    """The jobs named at `positions` of `after` are not in this project."""

    def __init__(self, positions: Sequence[int], ids: Sequence[str]) -> None:
        super().__init__(f"no job {', '.join(ids)}")
        self.positions = tuple(positions)
        self.ids = tuple(ids)


class QueueFull(StoreError):
    """The project has `queued` jobs of at most `limit` in its queue."""

    def __init__(self, queued: int, adding: int, limit: int) -> None:
        super().__init__(f"{queued} jobs are queued and {adding} more would pass the limit of {limit}")
        self.queued = queued
        self.limit = limit


class Fenced(StoreError):
    """The job's epoch has moved on: another attempt, or a revocation, has taken the lease."""

    def __init__(self, job_id: str, epoch: int) -> None:
        super().__init__(f"epoch {epoch} of job {job_id} is over")
        self.job_id = job_id
        self.epoch = epoch
