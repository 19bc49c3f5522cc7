"""How replies look in a notebook: small HTML fragments, safe for any content, fit for light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bfc_client.replies import Claim, Job, Results
    from bfc_client.tables import Table

SHOWN_ROWS = 20
_COLOURS = {
    "succeeded": "#1a7f5a", "failed": "#c0392b", "cancelled": "#7a7f87",
    "running": "#2563c9", "queued": "#8a6d1a",
    "supported": "#1a7f5a", "not_supported": "#c0392b", "underpowered": "#8a6d1a",
}  # fmt: skip
_SHELL = (
    "font:13px/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:8px;padding:10px 14px;"
    "max-width:46em"
)


def job_html(job: Job) -> str:
    """A job's name, state and progress bar."""
    progress = job.progress
    title = escape(job.name or job.id)
    counted = f"{progress.done:g} / {progress.total:g} {escape(progress.unit)}" if progress.total else ""
    lines = [
        f"<div><b>{title}</b> &nbsp;{escape(job.kind)} &nbsp;{_badge(job.state)}</div>",
        f"<div style='color:#888;font-size:12px'><code>{escape(job.id)}</code> &nbsp;{counted}</div>",
    ]
    if not job.final or job.state == "succeeded":
        lines.append(_bar(1.0 if job.state == "succeeded" else progress.fraction, job.state))
    if job.error:
        lines.append(f"<div style='color:#c0392b'>{escape(_said(job.error))}</div>")
    return f"<div style='{_SHELL}'>{''.join(lines)}</div>"


def results_html(results: Results) -> str:
    """The claims in words, the plain numbers of the summary, and each table folded."""
    claims = "".join(_claim(claim) for claim in results.claims)
    plain = {name: value for name, value in results.summary.items() if isinstance(value, int | float | str)}
    numbers = "".join(
        f"<tr><td>{escape(name)}</td><td>{_cell(value)}</td></tr>" for name, value in plain.items()
    )
    tables = "".join(
        f"<details><summary>{escape(name)} ({len(table)} rows)</summary>{table_html(table)}</details>"
        for name, table in results.tables.items()
    )
    return f"<div style='{_SHELL}'>{claims}<table>{numbers}</table>{tables}</div>"


def table_html(table: Table) -> str:
    """The first rows of a table; numbers right-aligned with four digits."""
    head = "".join(
        f"<th>{escape(column.name)}{f' <small>{escape(column.unit)}</small>' if column.unit else ''}</th>"
        for column in table.columns
    )
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:{_side(cell)}'>{_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows[:SHOWN_ROWS]
    )
    rest = len(table) - SHOWN_ROWS
    more = f"<div style='color:#888'>… and {rest} rows more</div>" if rest > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _claim(claim: Claim) -> str:
    says = escape(claim.says or claim.claim)
    readout = f" <span style='color:#888'>{escape(claim.readout)}</span>" if claim.readout else ""
    return f"<div style='margin:4px 0'>{_badge(claim.verdict)}{readout} {says}</div>"


def _badge(word: str) -> str:
    colour = _COLOURS.get(word, "#7a7f87")
    style = f"color:{colour};border:1px solid {colour};border-radius:9px;padding:0 7px;font-size:12px"
    return f"<span style='{style}'>{escape(word.replace('_', ' '))}</span>"


def _bar(fraction: float, state: str) -> str:
    colour = _COLOURS.get(state, "#2563c9")
    inner = f"width:{fraction:.1%};height:6px;border-radius:3px;background:{colour}"
    return f"<div style='background:#8883;border-radius:3px;margin-top:6px'><div style='{inner}'></div></div>"


def _said(error: dict[str, Any]) -> str:
    return str(
        error.get("detail") or error.get("message") or error.get("title") or error.get("code") or error
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, float):
        return escape(str(value))
    return f"{value:.4g}"


def _side(value: Any) -> str:
    return "right" if isinstance(value, int | float) and not isinstance(value, bool) else "left"
