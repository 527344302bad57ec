"""Text, JSON objects and tables from files, as spreadsheet software writes them in France.

UTF-8 with or without a byte-order mark, else Windows-1252; cells separated by ";", tab or ",".
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from fedpet.errors import RecordRefused
from fedpet.messages import Message

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path) -> str:
    """The text of the file.

    Raises:
        RecordRefused: it cannot be opened.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordRefused(
            found=Message("The clinical file cannot be opened."),
            needed=Message("A readable JSON or CSV file is needed."),
            advice=Message("Check its name and its rights."),
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse_object(text: str) -> dict[str, object]:
    """One JSON object.

    Raises:
        RecordRefused: not JSON, or not an object.
    """
    try:
        return dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise RecordRefused(
            found=Message("The clinical file is not valid JSON (line {line}).", line=error.lineno),
            needed=Message("One JSON object with the variables as names is needed."),
            advice=Message("Correct the file."),
        ) from error


def parse_table(text: str) -> list[dict[str, str]]:
    """Rows by column name; rows of empty cells are left out.

    Raises:
        RecordRefused: not a table, a repeated column, or a row whose cells do not fit the header.
    """
    first = text.partition("\n")[0]
    separator = max(";\t,", key=first.count)
    try:
        header, *lines = csv.reader(io.StringIO(text), delimiter=separator)
    except (csv.Error, ValueError) as error:
        raise RecordRefused(
            found=Message("The clinical file is not a table."),
            needed=Message("A JSON object, or a CSV with a header and rows, is needed."),
            advice=Message("Save the table as CSV (UTF-8)."),
        ) from error
    repeated = [name for name in header if name and header.count(name) > 1]
    if repeated:
        raise RecordRefused(
            found=Message("Column “{column}” is given twice.", column=repeated[0][:40]),
            needed=Message("Each column is needed once."),
            advice=Message("Remove one of the two."),
        )
    for number, cells in enumerate(lines, start=2):
        if any(cells) and len(cells) != len(header):
            raise RecordRefused(
                found=Message(
                    "Row {line} has {cells} cells, the header {columns}.",
                    line=number,
                    cells=len(cells),
                    columns=len(header),
                ),
                needed=Message("As many cells as columns are needed."),
                advice=Message("Where “,” separates the cells, write decimals with a point or in quotes."),
            )
    return [dict(zip(header, cells, strict=True)) for cells in lines if any(cells)]
