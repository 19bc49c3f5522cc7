"""The OpenAPI 3.1 document: what FastAPI derives from the routes, completed with what it cannot see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from api.models import DryRunReply, ProblemReply
from api.routing import Route
from api.submission import VERSION
from bfc_core import specs
from bfc_core.specs.job import JobBody

_PAGE = re.compile(r"Page_(?P<one>\w+)Reply_$")
_REPLY = re.compile(r"(?P<one>\w)Reply$")
_REF = "#/components/schemas/{model}"
_ABOUT = """Studies of deep learning as jobs over HTTP.

Everything a lab does is a **job** of a `kind`, told by a typed JSON **spec**; `GET /v1/catalog` lists every word of
that language. Errors are `application/problem+json` with a JSON pointer to each invalid field. Lists are pages:
send `next` back as `cursor`. `POST` that creates takes `Idempotency-Key`. Scopes nest: `admin` may submit, `submit`
may read. Unknown fields and unknown query parameters are refused.
"""
_TAGS = {
    "jobs": "One resource for all work: train, probe, baseline, study, sweep.",
    "events": "What happens, in order, as pages or as Server-Sent Events.",
    "metrics": "Series of numbers over steps.",
    "results": "Summaries, tables and figures of finished jobs.",
    "snapshots": "Stored weights, features and checkpoints.",
    "compare": "Similarity and probes between stored snapshots.",
    "archives": "Studies as files: export and import.",
    "datasets": "Uploaded data.",
    "webhooks": "Signed messages to other services.",
    "catalog": "The language of specs.",
    "access": "Projects, keys, quotas.",
    "server": "Workers, queues, usage.",
    "health": "For whoever watches the process.",
}
#: what `bfc_core.specs` takes an object without a kind for
DEFAULT_KINDS = ("hierarchical", "quadratic_densenet", "adam", "joint")
_HEADERS = {
    "X-Request-ID": {"schema": {"type": "string"}, "description": "names this request in the server's logs"},
    "RateLimit": {
        "schema": {"type": "string"},
        "description": '`"requests";r=left;t=seconds until full again`',
    },
    "RateLimit-Policy": {
        "schema": {"type": "string"},
        "description": '`"requests";q=limit;w=window in seconds`',
    },
}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "path of what was made"}}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "strong; send it as `If-None-Match`"}}


def document(routes: Iterable[BaseRoute], keyless: bool) -> dict[str, Any]:
    """The document of these routes; `keyless` says that a caller may do without a key."""
    found = list(routes)
    told = get_openapi(
        title="BFC Lab",
        version=VERSION,
        openapi_version="3.1.0",
        description=_ABOUT,
        routes=found,
        tags=[{"name": name, "description": says} for name, says in _TAGS.items()],
    )
    told["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "a key of a project: `bfc key create`"}
    }
    told["security"] = [{}, {"bearer": []}] if keyless else [{"bearer": []}]
    told["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    _add_schemas(told["components"].setdefault("schemas", {}))
    for route in found:
        if isinstance(route, Route) and route.include_in_schema:
            for method in route.methods or ():
                _complete(told["paths"][route.path_format][method.lower()], route)
    named: dict[str, Any] = _renamed(told)
    return _told_apart(named)


def _told_apart(document: dict[str, Any]) -> dict[str, Any]:
    """A model named as one of its own fields (`Stages.stages`) is `StagesWord`: generated code would mix them up."""
    schemas = document["components"]["schemas"]
    for name in [name for name, schema in schemas.items() if name.lower() in schema.get("properties", {})]:
        schemas[f"{name}Word"] = schemas.pop(name)
        spelt_ = json.dumps(document)
        for end in ('"', "/"):
            spelt_ = spelt_.replace(f"{_REF.format(model=name)}{end}", f"{_REF.format(model=name)}Word{end}")
        document = json.loads(spelt_)
        schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        # Generators name classes by titles.
        schema["title"] = name
    return document


def _media_in_order(told: dict[str, Any]) -> dict[str, Any]:
    """Without the JSON that FastAPI adds to every reply; bytes first: generated clients read all as the first they know."""
    found = {media: one for media, one in told.items() if (media, one) != ("application/json", {"schema": {}})}
    first = {media: one for media, one in found.items() if media == "application/octet-stream"}
    return first | found


def _complete(operation: dict[str, Any], route: Route) -> None:
    operation["operationId"] = route.name
    if route.scope is None:
        operation["security"] = []
    else:
        operation["x-scope"] = route.scope
        operation["description"] = (
            f"{operation.get('description', '')}\n\nNeeds scope `{route.scope}`.".strip()
        )
    taken = operation.pop("x-body", None)
    if taken == "file":
        binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "description": "the file itself", "content": binary}
    if taken == "Job":
        operation["requestBody"] = _job_body()
        schema = operation["responses"]["201"]["content"]["application/json"]["schema"]
        operation["responses"]["200"] = {
            "description": "With `dry_run`: what would be done. With `reuse`: the job that already answers.",
            "content": {"application/json": {"schema": {"anyOf": [_ref("DryRun"), schema]}}},
        }
    for status, reply in operation["responses"].items():
        if status.startswith("2") and len(reply.get("content", {})) > 1:
            reply["content"] = _media_in_order(reply["content"])
        more = dict(_HEADERS) if route.scope else {"X-Request-ID": _HEADERS["X-Request-ID"]}
        if status == "201":
            more |= _LOCATION
        if status in ("200", "304") and "304" in operation["responses"]:
            more |= _ETAG
        reply["headers"] = reply.get("headers", {}) | more


def _job_body() -> dict[str, Any]:
    examples = {
        kind: {"summary": f"a {kind} job", "value": word.example()} for kind, word in specs.JOBS.items()
    }
    media = {"schema": _ref("JobBody"), "examples": examples}
    return {"required": True, "content": {"application/json": media}}


def _add_schemas(schemas: dict[str, Any]) -> None:
    """The models that no route names to FastAPI, with their own definitions beside them."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    models: tuple[tuple[str, Any], ...] = (
        ("Problem", ProblemReply),
        ("DryRun", DryRunReply),
        ("JobBody", JobBody),
    )
    for name, model in models:
        schema = TypeAdapter(model).json_schema(ref_template=_REF, mode="validation")
        for inner, definition in schema.pop("$defs", {}).items():
            schemas.setdefault(inner, definition)
        schemas[name] = schema
    _require_kinds(dict(schemas), schemas)
    for schema in schemas.values():
        _tell_defaults(schema)


def _tell_defaults(value: Any) -> None:
    """Objects as defaults are told in words: generators of clients know no model that is a default."""
    if isinstance(value, list):
        for inner in value:
            _tell_defaults(inner)
    elif isinstance(value, dict):
        if isinstance(value.get("default"), dict) and "properties" not in value:
            left_out = json.dumps(value.pop("default"), ensure_ascii=False)
            said = f"When left out: `{left_out}`"
            value["description"] = f"{value['description']}\n\n{said}" if "description" in value else said
        for inner in value.values():
            _tell_defaults(inner)


def _renamed(value: Any) -> Any:
    """Schemas under the names people use: `Job`, `JobPage`; our classes say `JobReply`, `Page[JobReply]`."""
    if isinstance(value, dict):
        return {_public(name): _renamed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner) for inner in value]
    return _public(value) if isinstance(value, str) and value.startswith("#/") else value


def _public(name: str) -> str:
    return _REPLY.sub(r"\g<one>", _PAGE.sub(r"\g<one>Page", name))


def _require_kinds(value: Any, schemas: dict[str, Any]) -> None:
    """`kind` tells the words of a union apart, so it is required; only the default word may leave it out."""
    if isinstance(value, list):
        for inner in value:
            _require_kinds(inner, schemas)
    elif isinstance(value, dict):
        if "discriminator" in value and "oneOf" in value:
            for reference in value["oneOf"]:
                word = schemas[reference["$ref"].rpartition("/")[2]]
                if word["properties"]["kind"].get("const") not in DEFAULT_KINDS:
                    word["required"] = sorted({*word.get("required", ()), "kind"})
        for inner in value.values():
            _require_kinds(inner, schemas)


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}


def spelt(document: dict[str, Any]) -> bytes:
    """The document as it is sent."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
