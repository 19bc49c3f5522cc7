"""Every call of the HTTP contract as a value: method, path, what is sent, and how its reply is read.

The sync and the async client send the same calls; nothing here touches the network.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from bfc_client.errors import BadReply
from bfc_client.figures import ACCEPT, Figure
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

if TYPE_CHECKING:
    from bfc_core import specs

T = TypeVar("T")
JobLike = Job | str
Submission: TypeAlias = "Mapping[str, Any] | specs.Job"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the reader of its reply. `repeatable`: sent twice, it does no more than once."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: dict[str, Any] = field(default_factory=dict)
    json: Any = None
    upload: Path | None = None  # a file, streamed as the body
    headers: dict[str, str] = field(default_factory=dict)
    repeatable: bool = True


# ---- readers


def reads(type_: Any) -> Callable[[httpx.Response], Any]:
    """A reader of JSON as the given type; anything else is a BadReply."""
    adapter: TypeAdapter[Any] = TypeAdapter(type_)

    def read(response: httpx.Response) -> Any:
        try:
            return adapter.validate_json(response.content)
        except ValidationError as fault:
            raise BadReply(f"{response.request.url.path} answered something else: {fault}") from fault

    return read


def _items(type_: Any) -> Callable[[httpx.Response], Any]:
    page = reads(Page[type_])
    return lambda response: page(response).items


_json = reads(Any)
_dict = reads(dict[str, Any])
_job = reads(Job)


def _nothing(_: httpx.Response) -> None:
    return None


# ---- senders


def get(
    path: str, read: Callable[[httpx.Response], T], accept: str = "application/json", **params: Any
) -> Call[T]:
    """A read; parameters that are None are left out."""
    return Call("GET", path, read, _given(params), headers={"Accept": accept})


def create(
    path: str, read: Callable[[httpx.Response], T], body: Any = None, key: str | None = None, **params: Any
) -> Call[T]:
    """A POST that makes something; its Idempotency-Key makes it safe to send again."""
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    return Call("POST", path, read, _given(params), json=body, headers=headers)


def change(path: str, read: Callable[[httpx.Response], T]) -> Call[T]:
    """A POST that changes a state: sent again only if the first never reached the server."""
    return Call("POST", path, read, repeatable=False)


def remove(path: str) -> Call[None]:
    """A DELETE."""
    return Call("DELETE", path, _nothing)


def id_of(thing: Job | Snapshot | Dataset | Key | Webhook | str) -> str:
    """The id of a reply, or the id itself, safe inside a path."""
    return quote(thing if isinstance(thing, str) else thing.id, safe="")


def _upload(call: Call[T], path: Path) -> Call[T]:
    headers = {**call.headers, "Content-Type": "application/octet-stream"}
    return replace(call, upload=path, headers=headers)


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


# ---- jobs


def body_of(job: Submission) -> dict[str, Any]:
    """A submission as JSON: a parsed spec with all its defaults, or a mapping as it is."""
    if isinstance(job, Mapping):
        return dict(job)
    from bfc_core import specs  # the whole language: loaded only by whoever speaks it

    return specs.dump(job)


def submit(job: Submission, key: str | None = None, *, reuse: bool = False) -> Call[Job]:
    return create("/v1/jobs", _job, body_of(job), key, reuse="true" if reuse else None)


def dry_run(job: Submission) -> Call[DryRun]:
    return Call("POST", "/v1/jobs", reads(DryRun), {"dry_run": "true"}, json=body_of(job))


def jobs(**filters: Any) -> Call[Page[Job]]:
    """One page of jobs; `label` may be a mapping or a list of `k:v`."""
    label = filters.pop("label", None)
    if isinstance(label, Mapping):
        label = [f"{name}:{value}" for name, value in label.items()]
    return get("/v1/jobs", reads(Page[Job]), label=label, **filters)


def job(job: JobLike) -> Call[Job]:
    return get(f"/v1/jobs/{id_of(job)}", _job)


def children(job: JobLike, **paging: Any) -> Call[Page[Job]]:
    return get(f"/v1/jobs/{id_of(job)}/children", reads(Page[Job]), **paging)


def why(job: JobLike) -> Call[Why]:
    return get(f"/v1/jobs/{id_of(job)}/why", reads(Why))


def audit(job: JobLike) -> Call[Audit]:
    return get(f"/v1/jobs/{id_of(job)}/audit", reads(Audit))


def change_state(job: JobLike, verb: str) -> Call[Job]:
    """`verb` is cancel, pause, resume or retry."""
    return change(f"/v1/jobs/{id_of(job)}/{verb}", _job)


def fork(
    job: JobLike, snapshot: Snapshot | str, patch: Mapping[str, Any] | None, key: str | None
) -> Call[Job]:
    body = {"snapshot": snapshot if isinstance(snapshot, str) else snapshot.id, "spec": dict(patch or {})}
    return create(f"/v1/jobs/{id_of(job)}/fork", _job, body, key)


def delete_job(job: JobLike) -> Call[None]:
    return remove(f"/v1/jobs/{id_of(job)}")


def events_path(job: JobLike | None) -> str:
    return "/v1/events" if job is None else f"/v1/jobs/{id_of(job)}/events"


def events(job: JobLike | None, **paging: Any) -> Call[Page[Event]]:
    """One page of events, oldest first."""
    return get(events_path(job), reads(Page[Event]), **paging)


def metrics(
    job: JobLike,
    keys: Iterable[str] | None,
    from_step: int | None,
    to_step: int | None,
    max_points: int | None,
) -> Call[list[Series]]:
    return _series(
        f"/v1/jobs/{id_of(job)}/metrics",
        None,
        keys,
        from_step=from_step,
        to_step=to_step,
        max_points=max_points,
    )


def metrics_of(
    jobs: Iterable[JobLike], keys: Iterable[str] | None, max_points: int | None
) -> Call[list[Series]]:
    return _series("/v1/metrics", ",".join(id_of(job) for job in jobs), keys, max_points=max_points)


def _series(path: str, jobs: str | None, keys: Iterable[str] | None, **bounds: Any) -> Call[list[Series]]:
    read = reads(dict[str, list[Series]])
    joined = ",".join(keys) if keys is not None else None
    return get(path, lambda response: read(response)["series"], jobs=jobs, keys=joined, **bounds)


def results(job: JobLike) -> Call[Results]:
    return get(f"/v1/jobs/{id_of(job)}/results", reads(Results))


def table_csv(job: JobLike, table: str) -> Call[str]:
    return get(f"/v1/jobs/{id_of(job)}/results", lambda response: response.text, "text/csv", table=table)


def figure_names(job: JobLike) -> Call[list[FigureEntry]]:
    return get(f"/v1/jobs/{id_of(job)}/figures", _items(FigureEntry))


def figure(job: JobLike, name: str, theme: str | None = None) -> Call[Figure]:
    path = f"/v1/jobs/{id_of(job)}/figures/{quote(name, safe='')}"
    return get(path, lambda response: Figure(name, _dict(response)), ACCEPT["vega-lite"], theme=theme)


def figure_file(job: JobLike, name: str, format_: str, theme: str | None = None) -> Call[bytes]:
    """A figure drawn by the server. Raises ValueError for a format that it does not draw."""
    if format_ not in ACCEPT:
        raise ValueError(f"no figure format {format_!r}; there are {', '.join(ACCEPT)}")
    path = f"/v1/jobs/{id_of(job)}/figures/{quote(name, safe='')}"
    return get(path, lambda response: response.content, ACCEPT[format_], theme=theme)


# ---- snapshots


def snapshots(job: JobLike, **paging: Any) -> Call[Page[Snapshot]]:
    return get(f"/v1/jobs/{id_of(job)}/snapshots", reads(Page[Snapshot]), **paging)


def snapshot(snapshot: Snapshot | str) -> Call[Snapshot]:
    return get(f"/v1/snapshots/{id_of(snapshot)}", reads(Snapshot))


def download_path(snapshot: Snapshot | str) -> str:
    return f"/v1/snapshots/{id_of(snapshot)}/download"


def download(snapshot: Snapshot | str) -> Call[Tensors]:
    return get(download_path(snapshot), lambda response: Tensors(response.content), "*/*")


def tensor(snapshot: Snapshot | str, name: str, rows: str | None = None) -> Call[Tensors]:
    path = f"/v1/snapshots/{id_of(snapshot)}/tensors/{quote(name, safe='')}"
    return get(path, lambda response: Tensors(response.content), "application/vnd.safetensors", rows=rows)


def compare(body: Mapping[str, Any]) -> Call[dict[str, Any]]:
    return Call("POST", "/v1/compare", _dict, json=dict(body))


def export_path(job: JobLike) -> str:
    return f"/v1/jobs/{id_of(job)}/export"


def import_archive(path: Path, key: str | None = None) -> Call[Job]:
    return _upload(create("/v1/imports", reads(Job), key=key), path)


# ---- the rest


def catalog() -> Call[list[Word]]:
    return get("/v1/catalog", _items(Word))


def datasets(**paging: Any) -> Call[Page[Dataset]]:
    return get("/v1/datasets", reads(Page[Dataset]), **paging)


def upload_dataset(path: Path, name: str | None, format_: str | None) -> Call[Dataset]:
    """The server tells the format from the content unless it is given."""
    return _upload(create("/v1/datasets", reads(Dataset), name=name or path.stem, format=format_), path)


def dataset(dataset: Dataset | str) -> Call[Dataset]:
    return get(f"/v1/datasets/{id_of(dataset)}", reads(Dataset))


def delete_dataset(dataset: Dataset | str) -> Call[None]:
    return remove(f"/v1/datasets/{id_of(dataset)}")


def keys(**paging: Any) -> Call[Page[Key]]:
    return get("/v1/keys", reads(Page[Key]), **paging)


def create_key(body: Mapping[str, Any]) -> Call[Key]:
    return create("/v1/keys", reads(Key), dict(body))


def delete_key(key: Key | str) -> Call[None]:
    return remove(f"/v1/keys/{id_of(key)}")


def projects(**paging: Any) -> Call[Page[dict[str, Any]]]:
    return get("/v1/projects", reads(Page[dict[str, Any]]), **paging)


def create_project(body: Mapping[str, Any]) -> Call[dict[str, Any]]:
    return create("/v1/projects", _dict, dict(body))


def webhooks(**paging: Any) -> Call[Page[Webhook]]:
    return get("/v1/webhooks", reads(Page[Webhook]), **paging)


def create_webhook(url: str, events: Iterable[str] | None) -> Call[Webhook]:
    body: dict[str, Any] = {"url": url}
    if events is not None:
        body["events"] = list(events)
    return create("/v1/webhooks", reads(Webhook), body)


def delete_webhook(hook: Webhook | str) -> Call[None]:
    return remove(f"/v1/webhooks/{id_of(hook)}")


def deliveries(hook: Webhook | str, **paging: Any) -> Call[Page[dict[str, Any]]]:
    return get(f"/v1/webhooks/{id_of(hook)}/deliveries", reads(Page[dict[str, Any]]), **paging)


def test_webhook(hook: Webhook | str) -> Call[Any]:
    return change(f"/v1/webhooks/{id_of(hook)}/test", _json)


def redeliver(hook: Webhook | str, delivery: str) -> Call[Any]:
    return change(f"/v1/webhooks/{id_of(hook)}/deliveries/{quote(delivery, safe='')}/redeliver", _json)


def workers() -> Call[list[Worker]]:
    return get("/v1/workers", _items(Worker))


def queues() -> Call[list[Queue]]:
    return get("/v1/queues", _items(Queue))


def set_quotas(project: str, quotas: Mapping[str, int | None]) -> Call[dict[str, Any]]:
    return Call("PATCH", f"/v1/projects/{project}/quotas", _dict, json=dict(quotas))


def usage() -> Call[dict[str, Any]]:
    return get("/v1/usage", _dict)


def healthy() -> Call[dict[str, Any]]:
    return get("/healthz", _dict)


def ready() -> Call[dict[str, Any]]:
    return get("/readyz", _dict)
