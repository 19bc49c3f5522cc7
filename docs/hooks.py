"""mkdocs hooks: the reference is written from the specs and the OpenAPI document, so that it cannot fall behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

TITLES = {
    "job": "Jobs",
    "data": "Data",
    "model": "Models",
    "schedule": "Schedules",
    "optimizer": "Optimisers",
    "probe": "Probes",
    "baseline": "Baselines",
    "study": "Studies",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {
        "reference/specs.md": specs_page(),
        "reference/learners.md": learners_page(),
        "reference/results.md": results_page(),
        "reference/http.md": http_page(),
        "reference/errors.md": errors_page(),
        "reference/command.md": command_page(),
        "reference/client.md": client_page(),
        "decisions/index.md": decisions_page(Path(config["docs_dir"]) / "decisions"),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def specs_page() -> str:
    """Every part, kind and field of the language."""
    from bfc_core import specs

    lines = [
        "# The language of specs",
        "",
        "Every kind and field, written from the specs themselves. Unknown fields are refused.",
        "",
    ]
    lines += ["## Envelope", "", "Every job carries these beside its `kind` and `spec`.", ""]
    lines += [*fields_table(specs.Envelope.model_json_schema(), specs.Envelope)]
    part_now = ""
    for part, kind, word in specs.words():
        if part != part_now:
            lines += ["", f"## {TITLES[part]}", ""]
            part_now = part
        doc = (word.__doc__ or "").strip()
        lines += [f"### {kind} {{#{part}-{kind}}}", "", doc, "", f"*Source:* {word.source}.", ""]
        lines += fields_table(word.model_json_schema(), word)
        lines += ["", "```json", json.dumps(word.example(), ensure_ascii=False), "```", ""]
    lines += ["## Objects inside", ""]
    for name, schema in inner_objects().items():
        doc = (schema.get("description") or "").strip()
        lines += [f"### {name} {{#object-{name.lower()}}}", "", doc, "", *fields_table(schema), ""]
    return "\n".join(lines)


def inner_objects() -> dict[str, dict[str, Any]]:
    """Objects that appear as values of fields, beside the kinds: name → schema with all that it refers to."""
    from bfc_core import specs

    kinds = {word.__name__ for _, _, word in specs.words()}
    found: dict[str, dict[str, Any]] = {}
    for word in (specs.Envelope, *(word for _, _, word in specs.words())):
        inner = word.model_json_schema().get("$defs", {})
        objects = {name: one for name, one in inner.items() if "properties" in one and name not in kinds}
        found |= {name: one | {"$defs": inner} for name, one in objects.items()}
    return dict(sorted(found.items()))


def fields_table(schema: dict[str, Any], word: Any = None) -> list[str]:
    """Name, type, default and meaning of each field; `word`, where given, knows the defaults that a factory makes."""
    rows = ["| field | accepts | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in schema.get("properties", {}).items():
        default = (
            "required"
            if name in schema.get("required", [])
            else code(field["default"] if "default" in field else word_default(word, name))
        )
        rows.append(
            f"| `{name}` | {accepts(field, schema)} | {default} | {cell(field.get('description', ''))} |"
        )
    return rows


def word_default(word: Any, name: str) -> Any:
    """The default that a factory makes."""
    try:
        return json.loads(word.model_construct().model_dump_json()).get(name)
    except Exception:  # noqa: BLE001 - a default that hangs on other fields is described in words
        return None


def accepts(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """The accepted values in words."""
    if "$ref" in field:
        return target(field["$ref"], schema)
    if "const" in field:
        return code(field["const"])
    if "enum" in field:
        return " · ".join(code(value) for value in field["enum"])
    for union in ("anyOf", "oneOf", "allOf"):
        if union in field:
            kinds = [accepts(part, schema) for part in field[union]]
            return " · ".join(kinds) if len(kinds) < 6 else f"one of {len(kinds)} kinds, by `kind`"
    if field.get("type") == "array":
        inner = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of {accepts(inner, schema)}"
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    words = {
        "integer": "integer",
        "number": "number",
        "string": "text",
        "boolean": "true · false",
        "null": "null",
        "object": "object",
    }
    text = words.get(field.get("type", ""), "any")
    if low is not None or high is not None:
        text += f" {'from ' if 'minimum' in field else 'above '}{low}" if low is not None else ""
        text += f" {'to ' if 'maximum' in field else 'below '}{high}" if high is not None else ""
    return text


def target(reference: str, schema: dict[str, Any]) -> str:
    name = reference.rsplit("/", 1)[-1]
    found = schema.get("$defs", {}).get(name, {})
    if "properties" not in found:  # an alias for a scalar or a union
        return accepts(found, schema) if found else name
    kind = found["properties"].get("kind", {}).get("const")
    return code(kind) if kind else name


def code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 120 else f"`{text[:117]}…`"


def cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def learners_page() -> str:
    """Names that studies and duels accept."""
    from bfc_core import specs

    lines = ["# Learners", "", "Names accepted in `baselines.learners` and in a duel's `against`.", ""]
    lines += ["| name | group | what it is |", "| --- | --- | --- |"]
    for name, (group, word) in specs.LEARNERS.items():
        lines.append(f"| `{name}` | {group} | {cell((word.__doc__ or '').strip())} |")
    return "\n".join(lines)


def http_page() -> str:
    """Every operation of the OpenAPI document with its parameters and replies."""
    from api.app import app

    document = app.openapi()
    lines = ["# HTTP", "", "Written from `/openapi.json`, which is the full contract.", ""]
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            if method not in ("get", "post", "put", "patch", "delete"):
                continue
            lines += [
                f"## `{method.upper()} {path}`",
                "",
                operation.get("summary", ""),
                "",
                operation.get("description", ""),
                "",
            ]
            if operation.get("parameters"):
                lines += ["| parameter | in | meaning |", "| --- | --- | --- |"]
                for one in operation["parameters"]:
                    lines.append(f"| `{one['name']}` | {one['in']} | {cell(one.get('description', ''))} |")
                lines.append("")
            if body := operation.get("requestBody"):
                kinds = ", ".join(
                    f"`{kind}` {shown_type(media)}".rstrip() for kind, media in body["content"].items()
                )
                lines += [f"Body: {kinds}.", ""]
            lines += ["| status | meaning | reply |", "| --- | --- | --- |"]
            for status, reply in sorted(operation["responses"].items()):
                kinds = ", ".join(
                    f"`{kind}` {shown_type(media)}".rstrip()
                    for kind, media in reply.get("content", {}).items()
                )
                lines.append(f"| {status} | {cell(reply.get('description', ''))} | {kinds} |")
            lines.append("")
    lines += [
        "## Objects",
        "",
        "Bodies and replies by name. The specs are [a page of their own](specs.md).",
        "",
    ]
    for name, schema in sorted(reply_objects(document).items()):
        lines += [f"### {name}", "", cell(schema.get("description", "")), ""]
        lines += ["| field | holds | meaning |", "| --- | --- | --- |"]
        for field, inner in schema["properties"].items():
            lines.append(f"| `{field}` | {accepts(inner, schema)} | {cell(inner.get('description', ''))} |")
        lines.append("")
    return "\n".join(lines)


def reply_objects(document: dict[str, Any]) -> dict[str, Any]:
    """Objects of bodies and replies that are no words of the language, whose page is another."""
    from bfc_core import specs

    words = {word.__name__ for _, _, word in specs.words()} | set(inner_objects())
    found = document["components"]["schemas"].items()
    return {name: schema for name, schema in found if "properties" in schema and name not in words}


def shown_type(media: dict[str, Any]) -> str:
    """What a body of this media type is, where it has a name."""
    schema = media.get("schema", {})
    names = [one["$ref"].rsplit("/", 1)[-1] for one in (schema, *schema.get("anyOf", [])) if "$ref" in one]
    return " or ".join(names)


def errors_page() -> str:
    """Every problem that the API answers with, every error of a job, and the command's exit statuses."""
    from api.problems import CODES, TITLES
    from bfc_client import command
    from bfc_core.records import FAILURES

    lines = [
        "# Errors",
        "",
        "## Of the API",
        "",
        "Every refusal is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, and `errors`, a list of",
        "`{pointer, detail}` with a JSON pointer into the body for every invalid field; `in` says `query`, `path` or `header` where",
        "it is not the body. Programs tell cases apart by `type`: `urn:bfc-lab:problem:` and one of these codes.",
        "",
        "| code | status | title | when |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{code}` | {status} | {TITLES[status]} | {cell(when)} |" for code, (status, when) in CODES.items()
    ]
    lines += [
        "",
        "## Of a job",
        "",
        "A job that `failed` or was cancelled for another's sake has an `error` with a `code`, a `message`, and often a",
        "`hint`, a `step` and a `layer`.",
        "",
    ]
    lines += ["| code | when, and what to do |", "| --- | --- |"]
    lines += [f"| `{name}` | {cell(when)} |" for name, when in FAILURES.items()]
    lines += [
        "",
        "## Of the command",
        "",
        "`bfc` says what went wrong on standard error, with `--json` as one JSON object, and ends with one of these statuses.",
        "",
    ]
    lines += ["| status | meaning |", "| --- | --- |"]
    lines += [f"| {status} | {meaning} |" for status, meaning in command.EXIT_STATUSES.items()]
    return "\n".join(lines)


def results_page() -> str:
    """Every series by name and unit, and every unit."""
    from bfc_core.specs.series import UNITS
    from bfc_core.specs.vocabulary import series

    lines = [
        "# Series and units",
        "",
        "What `/v1/jobs/{id}/metrics` reads: a key, of a `layer` where it has layers, with its `unit`. A series appears when the",
        "spec asks for its probe; a value that is undefined is left out, and the reason stands in the summary's `undefined`.",
        "The formulas are in [the science](../science.md).",
        "",
        "| key | unit | probe | what it says |",
        "| --- | --- | --- | --- |",
    ]
    for kind, one in series():
        probe = f"[`{kind}`](specs.md#probe-{kind})" if kind else "always"
        name = f"{one.stem}/{one.after}" if one.after else one.stem
        lines.append(f"| `{name}` | {one.unit or 'by the data'} | {probe} | {cell(one.says)} |")
    lines += ["", "## Units", "", "| unit | what it stands for |", "| --- | --- |"]
    lines += [f"| `{unit}` | {cell(says)} |" for unit, says in UNITS.items()]
    return "\n".join(lines)


def command_page() -> str:
    """Every command with its arguments and options."""
    import typer

    from bfc_client.command import app

    lines = ["# The command", "", "What `bfc COMMAND --help` says. [From Python and the shell](../guides/python-and-shell.md) shows it at work.", ""]
    for path, command in commands(typer.main.get_command(app), "bfc"):
        lines += [f"## `{path}`", "", command.help or "", ""]
        rows = [one for one in command.params if one.name != "help"]
        if rows:
            lines += ["| argument | meaning |", "| --- | --- |"]
            lines += [f"| {parameter(one)} | {cell(getattr(one, 'help', None) or '')} |" for one in rows]
            lines.append("")
    return "\n".join(lines)


def commands(command: Any, path: str) -> list[tuple[str, Any]]:
    """Every command below one, with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(path, command)]
    return [found for name, one in sorted(inner.items()) for found in commands(one, f"{path} {name}")]


def parameter(one: Any) -> str:
    """An argument or an option as it is written."""
    names = [name for name in one.opts if name.startswith("-")]
    return " ".join(code(name) for name in names) if names else code(one.metavar or (one.name or "").upper())


def client_page() -> str:
    """Every method of the client with its signature."""
    import inspect

    from bfc_client import Client

    lines = ["# The client", "", "`Client` and `AsyncClient` have these methods. A job, a snapshot or a data set is named by its id or by the reply that holds it.", ""]
    for name, method in vars(Client).items():
        if name.startswith("_") or not callable(method):
            continue
        signature = str(inspect.signature(method)).replace("self, ", "").replace("(self)", "()").replace("'", "")
        lines += [f"## {name}", "", "```text", f"{name}{signature}", "```", "", inspect.getdoc(method) or "", ""]
    return "\n".join(lines)


def decisions_page(folder: Path) -> str:
    """The decisions, by number."""
    lines = [
        "# Decisions",
        "",
        "Why the house is as it is; each short, none rewritten: a later one replaces an earlier one.",
        "",
    ]
    for path in sorted(folder.glob("[0-9]*.md")):
        title = next(
            (line.lstrip("# ").strip() for line in path.read_text().splitlines() if line.startswith("#")),
            path.stem,
        )
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines)
