"""The asynchronous client: the same calls as `Client`, awaited.

async with AsyncClient() as lab:
    job = await lab.wait(await lab.submit({"kind": "train", "spec": {...}}))
    async for event in lab.events(job):
        ...
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from bfc_client import calls
from bfc_client.calls import Call, JobLike, Submission
from bfc_client.client import SILENCE_SECONDS, checked
from bfc_client.errors import ServerFault, TimedOut, Unreachable, problem_of
from bfc_client.events import EventStream, ends, pauses
from bfc_client.figures import Figure
from bfc_client.files import Partial, achunks
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


class AsyncClient:
    """A connection to a lab. `url` and `key` default to BFC_URL and BFC_KEY."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = Address.of(url, key)
        self._retries = retries or Retries()
        self._http = httpx.AsyncClient(
            base_url=self._address.url,
            headers=self._address.headers(AGENT),
            timeout=timeout_seconds,
            transport=transport,
        )

    @property
    def url(self) -> str:
        """Where the lab is."""
        return self._address.url

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send any call, again where that is safe. Raises a Problem, Unreachable or BadReply."""
        tries = 0
        while True:
            outcome = await self._try(call)
            pause = self._retries.pause(call, tries, outcome)
            if pause is None:
                return conclude(call, outcome, self.url)
            await asyncio.sleep(pause)
            tries += 1

    async def _try(self, call: Call[T]) -> Outcome:
        content = achunks(call.upload) if call.upload is not None else None
        try:
            return await self._http.request(
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

    async def submit(self, job: Submission, *, idempotency_key: str | None = None, reuse: bool = False) -> Job:
        """Queue a job. The same idempotency key and body give the first reply again.

        `reuse`: where a job of the same spec has succeeded in this project, that one, and nothing is queued.
        """
        return await self.send(calls.submit(job, idempotency_key, reuse=reuse))

    async def dry_run(self, job: Submission) -> DryRun:
        """The spec after defaults and what it would cost; nothing is queued."""
        return await self.send(calls.dry_run(job))

    async def job(self, job: JobLike) -> Job:
        """The job as it is now."""
        return await self.send(calls.job(job))

    def jobs(self, *, most: int | None = None, **filters: Any) -> AsyncIterator[Job]:
        """Jobs, newest first, page by page as they are asked for. Filters: state, kind, parent, label, …"""
        return self._paged(lambda cursor: calls.jobs(cursor=cursor, **filters), most)

    def children(self, job: JobLike, *, most: int | None = None) -> AsyncIterator[Job]:
        """The members of a study or a sweep."""
        return self._paged(lambda cursor: calls.children(job, cursor=cursor, limit=200), most)

    async def why(self, job: JobLike) -> Why:
        """Why the job is in its present state and what happens next."""
        return await self.send(calls.why(job))

    async def audit(self, job: JobLike) -> Audit:
        """Each attempt, and the one whose results count."""
        return await self.send(calls.audit(job))

    async def cancel(self, job: JobLike) -> Job:
        return await self.send(calls.change_state(job, "cancel"))

    async def pause(self, job: JobLike) -> Job:
        return await self.send(calls.change_state(job, "pause"))

    async def resume(self, job: JobLike) -> Job:
        return await self.send(calls.change_state(job, "resume"))

    async def retry(self, job: JobLike) -> Job:
        return await self.send(calls.change_state(job, "retry"))

    async def fork(
        self,
        job: JobLike,
        snapshot: Snapshot | str,
        patch: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """A new job from a checkpoint; `patch` is a JSON merge patch to the spec."""
        return await self.send(calls.fork(job, snapshot, patch, idempotency_key))

    async def delete(self, job: JobLike) -> None:
        """Delete a finished job and all that it owns."""
        await self.send(calls.delete_job(job))

    async def wait(
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
                current, lost_at = await self.job(job), None
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
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 1.3)

    async def watch(self, job: JobLike, **waiting: Any) -> Job:
        """Wait, showing live progress in the notebook."""
        return await self.wait(job, on_change=live(), **waiting)

    async def events(
        self,
        job: JobLike | None = None,
        *,
        after: str | None = None,
        members: bool = True,
        patience_seconds: float = 300.0,
    ) -> AsyncIterator[Event]:
        """Events as they happen, none lost or repeated though connection or server break.

        Of one job: until it is final, and of a study with its members' unless `members` is false. Of the
        project (no job given): for ever. `after` is the id of the last event already seen, or `now`.
        Raises Unreachable when the server stays away for longer than the patience.
        """
        stream, reason = EventStream(last_id=after, members=members or job is None), "the stream ended"
        waiting = pauses(patience_seconds)
        while True:
            try:
                async for event in self._connected(calls.events_path(job), stream):
                    yield event
                    if job is not None and ends(event, calls.id_of(job)):
                        return
                if job is not None and await self._over(job):
                    return
            except httpx.TransportError as fault:
                reason = str(fault) or type(fault).__name__
            if stream.broken():
                waiting = pauses(patience_seconds)
            pause = next(waiting, None)
            if pause is None:
                raise Unreachable(self.url, reason)
            await asyncio.sleep(stream.retry_seconds or pause)

    async def _over(self, job: JobLike) -> bool:
        """True when the job is final; a server that is away just now cannot say so."""
        try:
            return (await self.job(job)).final
        except (Unreachable, ServerFault):
            return False

    async def _connected(self, path: str, stream: EventStream) -> AsyncIterator[Event]:
        """The events of one connection, until the server ends it. A 503 counts as a broken connection."""
        timeout = httpx.Timeout(10.0, read=SILENCE_SECONDS)
        async with self._http.stream(
            "GET", path, params=stream.params(), headers=stream.headers(), timeout=timeout
        ) as response:
            if response.is_error:
                await response.aread()
                if response.status_code >= 500:
                    raise httpx.RemoteProtocolError(f"answered {response.status_code}")
                raise problem_of(response)
            async for line in response.aiter_lines():
                event = stream.feed(line)
                if event is not None:
                    yield event

    # ---- what came out

    async def metrics(
        self,
        job: JobLike,
        keys: Iterable[str] | None = None,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
        max_points: int | None = None,
    ) -> list[Series]:
        """A job's series, down-sampled to `max_points` each with the extremes kept."""
        return await self.send(calls.metrics(job, keys, from_step, to_step, max_points))

    async def metrics_of(
        self, jobs: Iterable[JobLike], keys: Iterable[str] | None = None, *, max_points: int | None = None
    ) -> list[Series]:
        """The series of several jobs in one call."""
        return await self.send(calls.metrics_of(jobs, keys, max_points))

    async def results(self, job: JobLike) -> Results:
        """Summary and tables."""
        return await self.send(calls.results(job))

    async def table_csv(self, job: JobLike, table: str) -> str:
        """One table as the server's CSV."""
        return await self.send(calls.table_csv(job, table))

    async def figures(self, job: JobLike) -> list[FigureEntry]:
        """The figures that the job can draw."""
        return await self.send(calls.figure_names(job))

    async def figure(self, job: JobLike, name: str, *, theme: str | None = None, png: bool = True) -> Figure:
        """One figure as Vega-Lite, with its picture for front ends that cannot draw it."""
        figure = await self.send(calls.figure(job, name, theme))
        return (
            Figure(name, figure.spec, await self.figure_file(job, name, "png", theme=theme))
            if png
            else figure
        )

    async def figure_file(
        self, job: JobLike, name: str, format_: str = "png", *, theme: str | None = None
    ) -> bytes:
        """One figure as png, svg, pdf or vega-lite."""
        return await self.send(calls.figure_file(job, name, format_, theme))

    async def export(self, job: JobLike, path: str | Path) -> Path:
        """A self-contained archive of a finished study, streamed into `path`."""
        return await self._fetch(calls.export_path(job), Path(path))

    async def import_archive(self, path: str | Path) -> Job:
        """Import an archive made by `export` (needs `admin`)."""
        return await self.send(calls.import_archive(Path(path)))

    # ---- snapshots

    def snapshots(self, job: JobLike, *, most: int | None = None) -> AsyncIterator[Snapshot]:
        """The snapshots of a job."""
        return self._paged(lambda cursor: calls.snapshots(job, cursor=cursor), most)

    async def snapshot(self, snapshot: Snapshot | str) -> Snapshot:
        """One snapshot's tensors by name, dtype, shape and hash."""
        return await self.send(calls.snapshot(snapshot))

    async def tensors(self, snapshot: Snapshot | str) -> Tensors:
        """A snapshot's content in memory; `.numpy()` and `.torch()` give arrays."""
        return await self.send(calls.download(snapshot))

    async def tensor(self, snapshot: Snapshot | str, name: str, *, rows: str | None = None) -> Tensors:
        """One tensor, or the rows `a:b` of it."""
        return await self.send(calls.tensor(snapshot, name, rows))

    async def download(self, snapshot: Snapshot | str, path: str | Path) -> Path:
        """A snapshot as a safetensors file, streamed; a broken download goes on where it was."""
        return await self._fetch(calls.download_path(snapshot), Path(path))

    async def compare(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Similarity or a probe between stored snapshots."""
        return await self.send(calls.compare(body))

    # ---- data sets, keys, webhooks, workers

    async def catalog(self) -> list[Word]:
        """Every kind of every part, with schema, documentation and example."""
        return await self.send(calls.catalog())

    def datasets(self, *, most: int | None = None) -> AsyncIterator[Dataset]:
        return self._paged(lambda cursor: calls.datasets(cursor=cursor), most)

    async def upload_dataset(
        self, path: str | Path, *, name: str | None = None, format_: str | None = None
    ) -> Dataset:
        """Upload a data set; its format is told from its content unless given."""
        return await self.send(calls.upload_dataset(Path(path), name, format_))

    async def dataset(self, dataset: Dataset | str) -> Dataset:
        return await self.send(calls.dataset(dataset))

    async def delete_dataset(self, dataset: Dataset | str) -> None:
        await self.send(calls.delete_dataset(dataset))

    def keys(self) -> AsyncIterator[Key]:
        return self._paged(lambda cursor: calls.keys(cursor=cursor), None)

    async def create_key(self, **body: Any) -> Key:
        """A new key; its secret is in this reply and nowhere else."""
        return await self.send(calls.create_key(body))

    async def delete_key(self, key: Key | str) -> None:
        await self.send(calls.delete_key(key))

    def projects(self) -> AsyncIterator[dict[str, Any]]:
        return self._paged(lambda cursor: calls.projects(cursor=cursor), None)

    async def create_project(self, **body: Any) -> dict[str, Any]:
        return await self.send(calls.create_project(body))

    def webhooks(self) -> AsyncIterator[Webhook]:
        return self._paged(lambda cursor: calls.webhooks(cursor=cursor), None)

    async def create_webhook(self, url: str, events: Iterable[str] | None = None) -> Webhook:
        """Subscribe an https address; the reply alone holds the secret that signs deliveries."""
        return await self.send(calls.create_webhook(url, events))

    async def delete_webhook(self, hook: Webhook | str) -> None:
        await self.send(calls.delete_webhook(hook))

    def deliveries(self, hook: Webhook | str) -> AsyncIterator[dict[str, Any]]:
        return self._paged(lambda cursor: calls.deliveries(hook, cursor=cursor), None)

    async def test_webhook(self, hook: Webhook | str) -> Any:
        return await self.send(calls.test_webhook(hook))

    async def redeliver(self, hook: Webhook | str, delivery: str) -> Any:
        return await self.send(calls.redeliver(hook, delivery))

    async def workers(self) -> list[Worker]:
        return await self.send(calls.workers())

    async def queues(self) -> list[Queue]:
        return await self.send(calls.queues())

    async def set_quotas(self, project: str, **quotas: int | None) -> dict[str, Any]:
        """Set limits of a project, None to take one away (needs an admin of the project `default`); what it uses now."""
        return await self.send(calls.set_quotas(project, quotas))

    async def usage(self) -> dict[str, Any]:
        return await self.send(calls.usage())

    async def healthy(self) -> dict[str, Any]:
        """The API process answers."""
        return await self.send(calls.healthy())

    async def ready(self) -> dict[str, Any]:
        """Database, broker and schema are there. Raises ServerFault while they are not."""
        return await self.send(calls.ready())

    # ---- within

    async def _paged(self, page: Callable[[str | None], Call[Page[T]]], most: int | None) -> AsyncIterator[T]:
        cursor, given = None, 0
        while True:
            reply = await self.send(page(cursor))
            for item in reply.items:
                if most is not None and given >= most:
                    return
                given += 1
                yield item
            cursor = reply.next
            if cursor is None:
                return

    async def _fetch(self, path: str, target: Path) -> Path:
        partial = Partial(target)
        tries = 0
        while True:
            outcome: Outcome
            try:
                async with self._http.stream("GET", path, headers=partial.headers()) as response:
                    if response.is_error:
                        await response.aread()
                        outcome = response
                    else:
                        partial.begin(response)
                        async for chunk in response.aiter_bytes():
                            partial.write(chunk)
                        return partial.finish()
            except httpx.TransportError as fault:
                outcome = fault
            call: Call[Path] = calls.get(path, lambda _: target)
            pause = self._retries.pause(call, tries, outcome)
            if pause is None:
                partial.drop()
                return conclude(call, outcome, self.url)
            await asyncio.sleep(pause)
            tries += 1
