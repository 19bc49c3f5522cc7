"""Result tables as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from api.replies import dumps


def csv_of(table: Mapping[str, Any]) -> bytes:
    """The table as RFC 4180; nested values as JSON, and text that a spreadsheet would take for a formula quoted."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\r\n")
    writer.writerow([column["name"] for column in table["columns"]])
    writer.writerows([_cell(value) for value in row] for row in table["rows"])
    return sheet.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return dumps(value).decode()
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
