"""Result tables: named, typed columns with units, and rows."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from bfc_client import display
from bfc_client.errors import MissingLibrary


class Column(BaseModel):
    """A column's name, type and unit."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    type: str | None = None
    unit: str | None = None


class Table(BaseModel):
    """A table as the server sends it. Iterating gives one dict a row."""

    model_config = ConfigDict(frozen=True, extra="allow")

    columns: list[Column]
    rows: list[list[Any]]

    @property
    def names(self) -> list[str]:
        """The columns' names in order."""
        return [column.name for column in self.columns]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        names = self.names
        return (dict(zip(names, row, strict=True)) for row in self.rows)

    def column(self, name: str) -> list[Any]:
        """The values of one column. Raises KeyError for a name that is not a column."""
        if name not in self.names:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.names)}")
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def where(self, **equals: Any) -> Table:
        """The rows whose named columns equal the given values."""
        places = [(self.names.index(name), value) for name, value in equals.items()]
        kept = [row for row in self.rows if all(row[place] == value for place, value in places)]
        return Table(columns=self.columns, rows=kept)

    def pandas(self) -> Any:
        """A pandas DataFrame; units are in `attrs["units"]`."""
        frame = library("pandas", "a DataFrame").DataFrame(self.rows, columns=self.names)
        frame.attrs["units"] = {column.name: column.unit for column in self.columns if column.unit}
        return frame

    def polars(self) -> Any:
        """A polars DataFrame."""
        polars = library("polars", "a polars DataFrame")
        return polars.DataFrame(self.rows, schema=self.names, orient="row", infer_schema_length=None)

    def csv(self) -> str:
        """The table as CSV with a header line; missing values are empty."""
        sheet = io.StringIO()
        writer = csv.writer(sheet, lineterminator="\n")
        writer.writerow(self.names)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return sheet.getvalue()

    def _repr_html_(self) -> str:
        return display.table_html(self)


def library(name: str, purpose: str) -> Any:
    """An optional library, imported when first needed. Raises MissingLibrary where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise MissingLibrary(name, purpose) from None
