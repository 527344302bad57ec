"""Text, JSON objects and tables from files, as spreadsheet software and databases write them in France.

UTF-8, UTF-16, else Windows-1252; cells separated by ";", tab or ","; a first line `sep=;`; rows of a title above the
header; workbooks (xlsx), of which the first sheet with a header is read.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final
from zipfile import BadZipFile

from fedpet.core.errors import RecordError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_WORKBOOK: Final = b"PK\x03\x04"  # xlsx is a zip archive
_LEGACY_WORKBOOK: Final = b"\xd0\xcf\x11\xe0"  # xls, before 2007
_TITLE_ROWS: Final = 20  # the header stands among the first of them
_MARKED: Final = re.compile(r"'+[=+\-@\t\r\n]")  # an apostrophe that keeps a spreadsheet from running the cell
_SAVE_AS = Message("Save the table as CSV (UTF-8) or as xlsx.")


@dataclass(frozen=True)
class TextTable:
    """A table as written.

    Attributes:
        rows: cells by column name; rows of empty cells are left out.
        lines: line of each row in the file, or row of the sheet, from 1.
        columns: the header.
        notes: what was done to read it: encoding, separator, rows above the header.
    """

    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    columns: tuple[str, ...]
    notes: tuple[Message, ...] = ()


def read_text(path: Path) -> str:
    """The text of the file.

    Raises:
        RecordError: it cannot be opened.
    """
    return decode(_read(path))[0]


def decode(data: bytes) -> tuple[str, str]:
    """The text, and the name of its encoding: UTF-8, UTF-16 (by its mark or its zero bytes), else Windows-1252."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace"), "UTF-16"
    start = data[:200]
    if len(start) >= 4 and max(start[0::2].count(0), start[1::2].count(0)) > len(start) // 4:
        little = start[1::2].count(0) > start[0::2].count(0)
        return data.decode("utf-16-le" if little else "utf-16-be", errors="replace"), "UTF-16"
    try:
        return data.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "Windows-1252"


def parse_object(text: str) -> dict[str, object]:
    """One JSON object.

    Raises:
        RecordError: not JSON, or not an object.
    """
    try:
        return dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise RecordError(
            found=Message("The clinical file is not valid JSON (line {line}).", line=error.lineno),
            needed=Message("One JSON object with the variables as names."),
            advice=Message("Correct the file."),
        ) from error


def read_cells(path: Path, is_header: Callable[[Sequence[str]], bool]) -> TextTable:
    """The table in a CSV or xlsx file.

    Args:
        path: of the file.
        is_header: whether cells are those of the header; where none of the first rows is, the first one is taken.

    Raises:
        RecordError: not a table, a repeated column, or a row whose cells do not fit the header.
    """
    data = _read(path)
    if data.startswith(_WORKBOOK):
        return _table(_workbook(data, is_header), is_header, (Message("Read from a workbook (xlsx)."),))
    if data.startswith(_LEGACY_WORKBOOK):
        raise RecordError(
            found=Message("The clinical file is a workbook of the old format (xls)."),
            needed=Message("A CSV or xlsx file with a header and rows."),
            advice=_SAVE_AS,
        )
    text, encoding = decode(data)
    return parse_table(text, is_header, encoding=encoding)


def parse_table(text: str, is_header: Callable[[Sequence[str]], bool], *, encoding: str = "UTF-8") -> TextTable:
    """The table in a text, see `read_cells`.

    Raises:
        RecordError: see `read_cells`.
    """
    stated, body, skipped = _stated_separator(text)
    separator = stated or _likeliest_separator(body, is_header)
    try:
        lines = list(csv.reader(io.StringIO(body, newline=""), delimiter=separator))
    except csv.Error as error:
        raise _no_table() from error
    shown = Message("tab") if separator == "\t" else separator
    note = Message("Read as {encoding}, cells separated by {separator}.", encoding=encoding, separator=shown)
    return _table(enumerate(lines, start=1 + skipped), is_header, (note,))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(
            found=Message("The clinical file cannot be opened."),
            needed=Message("A readable JSON or CSV file."),
            advice=Message("Check its name and its rights."),
        ) from error


def _stated_separator(text: str) -> tuple[str, str, int]:
    """The separator of a first line `sep=;`, which spreadsheets write, the rest, and the lines taken off."""
    first, _, rest = text.partition("\n")
    stated = first.strip().strip('"')
    if stated[:4].casefold() == "sep=" and len(stated) == 5:
        return stated[4], rest, 1
    if first.rstrip("\r\n").casefold() == "sep=\t":
        return "\t", rest, 1
    return "", text, 0


def _likeliest_separator(text: str, is_header: Callable[[Sequence[str]], bool]) -> str:
    """The one with which a header is found among the first lines, else the most frequent of the first line."""
    lines = text.splitlines()[:_TITLE_ROWS]
    for line in lines:
        fitting = [one for one in ";\t," if one in line and is_header(next(csv.reader([line], delimiter=one), []))]
        if fitting:
            return max(fitting, key=line.count)
    return max(";\t,", key=lines[0].count if lines else "".count)


def _workbook(data: bytes, is_header: Callable[[Sequence[str]], bool]) -> list[tuple[int, list[str]]]:
    """The cells of the first sheet with a header, else of the first sheet."""
    from openpyxl import load_workbook  # noqa: PLC0415  who reads no workbook need not load it

    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = [[[_cell(value) for value in row] for row in sheet.iter_rows(values_only=True)] for sheet in book]
    except (BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
        raise _no_table() from error
    with_header = (sheet for sheet in sheets if any(map(is_header, sheet[:_TITLE_ROWS])))
    chosen = next(with_header, sheets[0] if sheets else [])
    width = max((_width(row) for row in chosen), default=0)
    return [(number, row[:width]) for number, row in enumerate(chosen, start=1)]


def _cell(value: object) -> str:
    """A cell of a workbook as it would be written in a CSV."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _width(cells: Sequence[str]) -> int:
    return max((i for i, cell in enumerate(cells, start=1) if cell.strip()), default=0)


def _table(
    lines: Iterable[tuple[int, Sequence[str]]],
    is_header: Callable[[Sequence[str]], bool],
    notes: tuple[Message, ...],
) -> TextTable:
    numbered = list(lines)
    at = next((i for i, (_, cells) in enumerate(numbered[:_TITLE_ROWS]) if is_header(cells)), None)
    if at is None:
        at = next((i for i, (_, cells) in enumerate(numbered) if any(cell.strip() for cell in cells)), None)
    if at is None:
        raise _no_table()
    if at:
        notes = (*notes, Message("Rows above the header, left out: {n}.", n=at))
    header = list(numbered[at][1])
    _require_distinct(header)
    rows, places = [], []
    for line, cells in numbered[at + 1 :]:
        if any(cell.strip() for cell in cells):
            rows.append(_row(line, cells, header))
            places.append(line)
    return TextTable(tuple(rows), tuple(places), tuple(name for name in header if name.strip()), notes)


def _require_distinct(header: Sequence[str]) -> None:
    repeated = next((name for name, times in Counter(header).items() if name.strip() and times > 1), None)
    if repeated is not None:
        raise RecordError(
            found=Message("Column “{column}” is given twice.", column=repeated[:40]),
            needed=Message("Each column once."),
            advice=Message("Remove one of the two."),
        )


def _row(line: int, cells: Sequence[str], header: Sequence[str]) -> dict[str, str]:
    """A row by column; empty cells beyond the header are those of a spreadsheet."""
    few = len(cells) < _width(header)
    if few or _width(cells) > len(header):
        raise RecordError(
            found=Message(
                "Row {line} has {cells} cells, the header {columns}.", line=line, cells=len(cells), columns=len(header)
            ),
            needed=Message("As many cells as columns."),
            advice=Message("A cell that holds a line break or the separator must be in quotes.")
            if few
            else Message("Where “,” separates the cells, write decimals with a point or in quotes."),
        )
    return {name: _unmarked(cell) for name, cell in zip(header, cells, strict=False) if name.strip()}


def _unmarked(cell: str) -> str:
    """The text of a cell without the apostrophe that keeps a spreadsheet from running it."""
    return cell[1:] if _MARKED.match(cell) else cell


def _no_table() -> RecordError:
    return RecordError(
        found=Message("The clinical file is not a table."),
        needed=Message("A JSON object, or a CSV or xlsx with a header and rows."),
        advice=_SAVE_AS,
    )
