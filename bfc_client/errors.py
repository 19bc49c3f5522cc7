"""What can go wrong between a caller and the lab.

BfcError
├── Unreachable        no server answered at the address
├── Problem            the server refused (problem+json), by status:
│   ├── Invalid        400, 413, 415, 422: the request itself is at fault
│   ├── Unauthorised   401, 403: no key, or a key without the scope
│   ├── NotFound       404
│   ├── Conflict       409: does not apply in this state
│   ├── TooMany        429: over a limit, see `retry_after_seconds`
│   └── ServerFault    5xx
├── JobFailed          a job that was waited for did not succeed
├── TimedOut           a wait ended before its job
├── BadReply           the reply is not what the contract says
└── MissingLibrary     an optional library (pandas, polars, numpy, torch) is not installed
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from bfc_client.replies import Job


class BfcError(Exception):
    """Any fault that the client reports."""


class Unreachable(BfcError):
    """No server answered."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"no lab answers at {url} ({reason}). "
            "Start one with `bfc serve`, or point BFC_URL at a running one."
        )


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One invalid field: where it is in the body, and what is accepted there."""

    pointer: str
    detail: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.detail}"


class Problem(BfcError):
    """The server's refusal, as RFC 9457 problem+json."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        faults: tuple[FieldFault, ...] = (),
        type_: str = "about:blank",
        retry_after_seconds: float | None = None,
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.faults = faults
        self.type = type_
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self._message())

    def _message(self) -> str:
        said = self.detail if self.detail not in [fault.detail for fault in self.faults] else ""
        lines = [f"{self.title} ({self.status})" + (f": {said}" if said else "")]
        lines += [f"  {fault}" for fault in self.faults]
        return "\n".join(lines)


class Invalid(Problem):
    """The request is at fault; `faults` points at each field."""


class Unauthorised(Problem):
    """The key is missing, unknown, or lacks the scope."""


class NotFound(Problem):
    """There is no such thing in this project."""


class Conflict(Problem):
    """The call does not apply in the present state."""


class TooMany(Problem):
    """Over a rate or a quota."""


class ServerFault(Problem):
    """The server failed or is not ready."""


class JobFailed(BfcError):
    """A job that was waited for ended as failed or cancelled."""

    def __init__(self, job: Job) -> None:
        self.job = job
        error = job.error or {}
        said = error.get("detail") or error.get("message") or error.get("title") or "no reason was recorded"
        super().__init__(f"{job.id} {job.state}: {said}. `bfc why {job.id}` says more.")


class TimedOut(BfcError, TimeoutError):
    """A wait ended before its job did."""


class BadReply(BfcError):
    """The reply does not follow the contract; perhaps something else listens at the address."""


class MissingLibrary(BfcError, ImportError):
    """An optional library is needed for this form of the data."""

    def __init__(self, library: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}: pip install {library}")


_BY_STATUS: dict[int, type[Problem]] = {
    400: Invalid, 413: Invalid, 415: Invalid, 422: Invalid,
    401: Unauthorised, 403: Unauthorised,
    404: NotFound, 409: Conflict, 429: TooMany,
}  # fmt: skip


def problem_of(response: httpx.Response) -> Problem:
    """The exception that a reply of 4xx or 5xx stands for. The body must have been read."""
    body = _body(response)
    status = response.status_code
    kind = _BY_STATUS.get(status, ServerFault if status >= 500 else Problem)
    faults = tuple(
        FieldFault(str(fault.get("pointer", "")), str(fault.get("detail", "")))
        for fault in body.get("errors") or []
        if isinstance(fault, dict)
    )
    return kind(
        status,
        str(body.get("title") or response.reason_phrase or "refused"),
        str(body.get("detail") or ""),
        faults,
        str(body.get("type") or "about:blank"),
        retry_after(response),
    )


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, if it says so in seconds."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {"detail": response.text[:300]}
    return body if isinstance(body, dict) else {"detail": str(body)[:300]}
