"""The synchronous client.

with Client() as lab:
    job = lab.wait(lab.submit({"kind": "train", "spec": {...}}))
    print(lab.results(job).tables["runs"].pandas())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from bfc_client import calls
from bfc_client.calls import Call, JobLike, Submission
from bfc_client.errors import JobFailed, ServerFault, TimedOut, Unreachable, problem_of
from bfc_client.events import EventStream, ends, pauses
from bfc_client.figures import Figure
from bfc_client.files import Partial, chunks
from bfc_client.notebook import live
from bfc_client.replies import (
    Audit,
    Dataset,
    DryRun,
    Event,
    FigureEntry,
    Job,
    Key,
    Page,
    Queue,
    Results,
    Series,
    Snapshot,
    Webhook,
    Why,
    Word,
    Worker,
)
from bfc_client.tensors import Tensors
from bfc_client.transport import Address, Outcome, Retries, conclude
from bfc_client.version import AGENT

T = TypeVar("T")
SILENCE_SECONDS = 60.0  # a live stream sends a comment more often than this; else it is dead


class Client:
    """A connection to a lab. `url` and `key` default to BFC_URL and BFC_KEY."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._address = Address.of(url, key)
        self._retries = retries or Retries()
        self._http = httpx.Client(
            base_url=self._address.url,
            headers=self._address.headers(AGENT),
            timeout=timeout_seconds,
            transport=transport,
        )

    @property
    def url(self) -> str:
        """Where the lab is."""
        return self._address.url

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send any call, again where that is safe. Raises a Problem, Unreachable or BadReply."""
        tries = 0
        while True:
            outcome = self._try(call)
            pause = self._retries.pause(call, tries, outcome)
            if pause is None:
                return conclude(call, outcome, self.url)
            time.sleep(pause)
            tries += 1

    def _try(self, call: Call[T]) -> Outcome:
        content = chunks(call.upload) if call.upload is not None else None
        try:
            return self._http.request(
                call.method,
                call.path,
                params=call.params,
                json=call.json,
                content=content,
                headers=call.headers,
            )
        except httpx.TransportError as fault:
            return fault

    # ---- jobs

    def submit(self, job: Submission, *, idempotency_key: str | None = None, reuse: bool = False) -> Job:
        """Queue a job. The same idempotency key and body give the first reply again.

        `reuse`: where a job of the same spec has succeeded in this project, that one, and nothing is queued.
        """
        return self.send(calls.submit(job, idempotency_key, reuse=reuse))

    def dry_run(self, job: Submission) -> DryRun:
        """The spec after defaults and what it would cost; nothing is queued."""
        return self.send(calls.dry_run(job))

    def job(self, job: JobLike) -> Job:
        """The job as it is now."""
        return self.send(calls.job(job))

    def jobs(self, *, most: int | None = None, **filters: Any) -> Iterator[Job]:
        """Jobs, newest first, page by page as they are asked for. Filters: state, kind, parent, label, …"""
        return self._paged(lambda cursor: calls.jobs(cursor=cursor, **filters), most)

    def children(self, job: JobLike, *, most: int | None = None) -> Iterator[Job]:
        """The members of a study or a sweep."""
        return self._paged(lambda cursor: calls.children(job, cursor=cursor, limit=200), most)

    def why(self, job: JobLike) -> Why:
        """Why the job is in its present state and what happens next."""
        return self.send(calls.why(job))

    def audit(self, job: JobLike) -> Audit:
        """Each attempt, and the one whose results count."""
        return self.send(calls.audit(job))

    def cancel(self, job: JobLike) -> Job:
        return self.send(calls.change_state(job, "cancel"))

    def pause(self, job: JobLike) -> Job:
        return self.send(calls.change_state(job, "pause"))

    def resume(self, job: JobLike) -> Job:
        return self.send(calls.change_state(job, "resume"))

    def retry(self, job: JobLike) -> Job:
        return self.send(calls.change_state(job, "retry"))

    def fork(
        self,
        job: JobLike,
        snapshot: Snapshot | str,
        patch: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """A new job from a checkpoint; `patch` is a JSON merge patch to the spec."""
        return self.send(calls.fork(job, snapshot, patch, idempotency_key))

    def delete(self, job: JobLike) -> None:
        """Delete a finished job and all that it owns."""
        self.send(calls.delete_job(job))

    def wait(
        self,
        job: JobLike,
        *,
        timeout_seconds: float | None = None,
        check: bool = True,
        on_change: Callable[[Job], object] | None = None,
        patience_seconds: float = 300.0,
    ) -> Job:
        """The job once it is final. A server that restarts meanwhile is waited for, up to the patience.

        Raises JobFailed unless it succeeded (or `check` is false), TimedOut after `timeout_seconds`.
        """
        deadline = time.monotonic() + (timeout_seconds if timeout_seconds is not None else float("inf"))
        pause = 0.05
        lost_at: float | None = None
        while True:
            try:
                current, lost_at = self.job(job), None
            except (Unreachable, ServerFault):
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > patience_seconds:
                    raise
            else:
                if on_change is not None:
                    on_change(current)
                if current.final:
                    return checked(current) if check else current
            if time.monotonic() + pause > deadline:
                raise TimedOut(f"{calls.id_of(job)} was not final after {timeout_seconds:g} seconds")
            time.sleep(pause)
            pause = min(1.0, pause * 1.3)

    def watch(self, job: JobLike, **waiting: Any) -> Job:
        """Wait, showing live progress in the notebook."""
        return self.wait(job, on_change=live(), **waiting)

    def events(
        self,
        job: JobLike | None = None,
        *,
        after: str | None = None,
        members: bool = True,
        patience_seconds: float = 300.0,
    ) -> Iterator[Event]:
        """Events as they happen, none lost or repeated though connection or server break.

        Of one job: until it is final, and of a study with its members' unless `members` is false. Of the
        project (no job given): for ever. `after` is the id of the last event already seen, or `now`.
        Raises Unreachable when the server stays away for longer than the patience.
        """
        stream, reason = EventStream(last_id=after, members=members or job is None), "the stream ended"
        waiting = pauses(patience_seconds)
        while True:
            try:
                for event in self._connected(calls.events_path(job), stream):
                    yield event
                    if job is not None and ends(event, calls.id_of(job)):
                        return
                if job is not None and self._over(job):
                    return
            except httpx.TransportError as fault:
                reason = str(fault) or type(fault).__name__
            if stream.broken():
                waiting = pauses(patience_seconds)
            pause = next(waiting, None)
            if pause is None:
                raise Unreachable(self.url, reason)
            time.sleep(stream.retry_seconds or pause)

    def _over(self, job: JobLike) -> bool:
        """True when the job is final; a server that is away just now cannot say so."""
        try:
            return self.job(job).final
        except (Unreachable, ServerFault):
            return False

    def _connected(self, path: str, stream: EventStream) -> Iterator[Event]:
        """The events of one connection, until the server ends it. A 503 counts as a broken connection."""
        timeout = httpx.Timeout(10.0, read=SILENCE_SECONDS)
        with self._http.stream(
            "GET", path, params=stream.params(), headers=stream.headers(), timeout=timeout
        ) as response:
            if response.is_error:
                response.read()
                if response.status_code >= 500:
                    raise httpx.RemoteProtocolError(f"answered {response.status_code}")
                raise problem_of(response)
            for line in response.iter_lines():
                event = stream.feed(line)
                if event is not None:
                    yield event

    # ---- what came out

    def metrics(
        self,
        job: JobLike,
        keys: Iterable[str] | None = None,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
        max_points: int | None = None,
    ) -> list[Series]:
        """A job's series, down-sampled to `max_points` each with the extremes kept."""
        return self.send(calls.metrics(job, keys, from_step, to_step, max_points))

    def metrics_of(
        self, jobs: Iterable[JobLike], keys: Iterable[str] | None = None, *, max_points: int | None = None
    ) -> list[Series]:
        """The series of several jobs in one call."""
        return self.send(calls.metrics_of(jobs, keys, max_points))

    def results(self, job: JobLike) -> Results:
        """Summary and tables."""
        return self.send(calls.results(job))

    def table_csv(self, job: JobLike, table: str) -> str:
        """One table as the server's CSV."""
        return self.send(calls.table_csv(job, table))

    def figures(self, job: JobLike) -> list[FigureEntry]:
        """The figures that the job can draw."""
        return self.send(calls.figure_names(job))

    def figure(self, job: JobLike, name: str, *, theme: str | None = None, png: bool = True) -> Figure:
        """One figure as Vega-Lite, with its picture for front ends that cannot draw it."""
        figure = self.send(calls.figure(job, name, theme))
        return Figure(name, figure.spec, self.figure_file(job, name, "png", theme=theme)) if png else figure

    def figure_file(
        self, job: JobLike, name: str, format_: str = "png", *, theme: str | None = None
    ) -> bytes:
        """One figure as png, svg, pdf or vega-lite."""
        return self.send(calls.figure_file(job, name, format_, theme))

    def export(self, job: JobLike, path: str | Path) -> Path:
        """A self-contained archive of a finished study, streamed into `path`."""
        return self._fetch(calls.export_path(job), Path(path))

    def import_archive(self, path: str | Path) -> Job:
        """Import an archive made by `export` (needs `admin`)."""
        return self.send(calls.import_archive(Path(path)))

    # ---- snapshots

    def snapshots(self, job: JobLike, *, most: int | None = None) -> Iterator[Snapshot]:
        """The snapshots of a job."""
        return self._paged(lambda cursor: calls.snapshots(job, cursor=cursor), most)

    def snapshot(self, snapshot: Snapshot | str) -> Snapshot:
        """One snapshot's tensors by name, dtype, shape and hash."""
        return self.send(calls.snapshot(snapshot))

    def tensors(self, snapshot: Snapshot | str) -> Tensors:
        """A snapshot's content in memory; `.numpy()` and `.torch()` give arrays."""
        return self.send(calls.download(snapshot))

    def tensor(self, snapshot: Snapshot | str, name: str, *, rows: str | None = None) -> Tensors:
        """One tensor, or the rows `a:b` of it."""
        return self.send(calls.tensor(snapshot, name, rows))

    def download(self, snapshot: Snapshot | str, path: str | Path) -> Path:
        """A snapshot as a safetensors file, streamed; a broken download goes on where it was."""
        return self._fetch(calls.download_path(snapshot), Path(path))

    def compare(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Similarity or a probe between stored snapshots."""
        return self.send(calls.compare(body))

    # ---- data sets, keys, webhooks, workers

    def catalog(self) -> list[Word]:
        """Every kind of every part, with schema, documentation and example."""
        return self.send(calls.catalog())

    def datasets(self, *, most: int | None = None) -> Iterator[Dataset]:
        return self._paged(lambda cursor: calls.datasets(cursor=cursor), most)

    def upload_dataset(
        self, path: str | Path, *, name: str | None = None, format_: str | None = None
    ) -> Dataset:
        """Upload a data set; its format is told from its content unless given."""
        return self.send(calls.upload_dataset(Path(path), name, format_))

    def dataset(self, dataset: Dataset | str) -> Dataset:
        return self.send(calls.dataset(dataset))

    def delete_dataset(self, dataset: Dataset | str) -> None:
        self.send(calls.delete_dataset(dataset))

    def keys(self) -> Iterator[Key]:
        return self._paged(lambda cursor: calls.keys(cursor=cursor), None)

    def create_key(self, **body: Any) -> Key:
        """A new key; its secret is in this reply and nowhere else."""
        return self.send(calls.create_key(body))

    def delete_key(self, key: Key | str) -> None:
        self.send(calls.delete_key(key))

    def projects(self) -> Iterator[dict[str, Any]]:
        return self._paged(lambda cursor: calls.projects(cursor=cursor), None)

    def create_project(self, **body: Any) -> dict[str, Any]:
        return self.send(calls.create_project(body))

    def webhooks(self) -> Iterator[Webhook]:
        return self._paged(lambda cursor: calls.webhooks(cursor=cursor), None)

    def create_webhook(self, url: str, events: Iterable[str] | None = None) -> Webhook:
        """Subscribe an https address; the reply alone holds the secret that signs deliveries."""
        return self.send(calls.create_webhook(url, events))

    def delete_webhook(self, hook: Webhook | str) -> None:
        self.send(calls.delete_webhook(hook))

    def deliveries(self, hook: Webhook | str) -> Iterator[dict[str, Any]]:
        return self._paged(lambda cursor: calls.deliveries(hook, cursor=cursor), None)

    def test_webhook(self, hook: Webhook | str) -> Any:
        return self.send(calls.test_webhook(hook))

    def redeliver(self, hook: Webhook | str, delivery: str) -> Any:
        return self.send(calls.redeliver(hook, delivery))

    def workers(self) -> list[Worker]:
        return self.send(calls.workers())

    def queues(self) -> list[Queue]:
        return self.send(calls.queues())

    def set_quotas(self, project: str, **quotas: int | None) -> dict[str, Any]:
        """Set limits of a project, None to take one away (needs an admin of the project `default`); what it uses now."""
        return self.send(calls.set_quotas(project, quotas))

    def usage(self) -> dict[str, Any]:
        return self.send(calls.usage())

    def healthy(self) -> dict[str, Any]:
        """The API process answers."""
        return self.send(calls.healthy())

    def ready(self) -> dict[str, Any]:
        """Database, broker and schema are there. Raises ServerFault while they are not."""
        return self.send(calls.ready())

    # ---- within

    def _paged(self, page: Callable[[str | None], Call[Page[T]]], most: int | None) -> Iterator[T]:
        cursor, given = None, 0
        while True:
            reply = self.send(page(cursor))
            for item in reply.items:
                if most is not None and given >= most:
                    return
                given += 1
                yield item
            cursor = reply.next
            if cursor is None:
                return

    def _fetch(self, path: str, target: Path) -> Path:
        partial = Partial(target)
        tries = 0
        while True:
            outcome: Outcome
            try:
                with self._http.stream("GET", path, headers=partial.headers()) as response:
                    if response.is_error:
                        response.read()
                        outcome = response
                    else:
                        partial.begin(response)
                        for chunk in response.iter_bytes():
                            partial.write(chunk)
                        return partial.finish()
            except httpx.TransportError as fault:
                outcome = fault
            call: Call[Path] = calls.get(path, lambda _: target)
            pause = self._retries.pause(call, tries, outcome)
            if pause is None:
                partial.drop()
                return conclude(call, outcome, self.url)
            time.sleep(pause)
            tries += 1


def checked(job: Job) -> Job:
    """The job itself if it succeeded; raises JobFailed if not."""
    if job.state != "succeeded":
        raise JobFailed(job)
    return job
