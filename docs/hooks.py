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
        "reference/http.md": http_page(),
        "reference/errors.md": errors_page(),
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
    lines += [*fields_table(specs.Envelope), "", "### limits", "", *fields_table(specs.Limits)]
    part_now = ""
    for part, kind, word in specs.words():
        if part != part_now:
            lines += ["", f"## {TITLES[part]}", ""]
            part_now = part
        doc = (word.__doc__ or "").strip()
        lines += [f"### {kind} {{#{part}-{kind}}}", "", doc, "", f"*Source:* {word.source}.", ""]
        lines += fields_table(word)
        lines += ["", "```json", json.dumps(word.example(), ensure_ascii=False), "```", ""]
    lines += ["## Objects inside", ""]
    for name, word in inner_objects().items():
        lines += [f"### {name}", "", (word.__doc__ or "").strip(), "", *fields_table(word), ""]
    return "\n".join(lines)


def inner_objects() -> dict[str, Any]:
    """Objects that appear as values of fields, beside the kinds."""
    from bfc_core.specs import study, train
    from bfc_core.specs.optimizer import Budget
    from bfc_core.specs.schedule import StageSpec

    found = [
        train.Seeds,
        train.WeightSnapshots,
        train.FeatureSnapshots,
        train.Checkpoints,
        train.Snapshots,
        Budget,
        StageSpec,
    ]
    found += [train.StudyBase, train.OfJob, train.OfSnapshots, study.ClaimSpec, study.Beside]
    return {word.__name__: word for word in found}


def fields_table(word: Any) -> list[str]:
    """Name, type, default and meaning of each field."""
    schema = word.model_json_schema()
    rows = ["| field | accepts | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in schema.get("properties", {}).items():
        default = (
            "required"
            if name in schema.get("required", [])
            else code(field.get("default", word_default(word, name)))
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
    kind = schema.get("$defs", {}).get(name, {}).get("properties", {}).get("kind", {}).get("const")
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
            lines += ["| status | meaning |", "| --- | --- |"]
            lines += [
                f"| {status} | {cell(reply.get('description', ''))} |"
                for status, reply in sorted(operation["responses"].items())
            ]
            lines.append("")
    return "\n".join(lines)


def errors_page() -> str:
    """Every problem type that the API answers with."""
    from api import errors

    lines = [
        "# Errors",
        "",
        "Every error is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, and `errors`,",
    ]
    lines += ["a list of `{pointer, detail}` with a JSON pointer into the body for every invalid field.", ""]
    lines += ["| type | status | when |", "| --- | --- | --- |"]
    for problem in errors.catalog():
        lines.append(f"| `{problem['type']}` | {problem['status']} | {cell(problem['title'])} |")
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
