"""Python client of the lab: `Client`, `AsyncClient`, and the replies and errors that they give.

Needs pydantic and httpx alone; numpy, torch, pandas, polars and IPython are used where they are installed.
"""

from bfc_client.aio import AsyncClient
from bfc_client.client import Client
from bfc_client.errors import (
    BadReply,
    BfcError,
    Conflict,
    Invalid,
    JobFailed,
    MissingLibrary,
    NotFound,
    Problem,
    ServerFault,
    TimedOut,
    TooMany,
    Unauthorised,
    Unreachable,
)
from bfc_client.figures import Figure
from bfc_client.replies import Claim, Event, Job, Results, Series, Snapshot
from bfc_client.tables import Table
from bfc_client.tensors import Tensors
from bfc_client.transport import Retries
from bfc_client.version import __version__

__all__ = [
    "AsyncClient",
    "BadReply",
    "BfcError",
    "Claim",
    "Client",
    "Conflict",
    "Event",
    "Figure",
    "Invalid",
    "Job",
    "JobFailed",
    "MissingLibrary",
    "NotFound",
    "Problem",
    "Results",
    "Retries",
    "Series",
    "ServerFault",
    "Snapshot",
    "Table",
    "Tensors",
    "TimedOut",
    "TooMany",
    "Unauthorised",
    "Unreachable",
    "__version__",
]
