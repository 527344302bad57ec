"""Rows of a warehouse by table: from a database through SQLAlchemy, or from a folder of CSV or Parquet files.

Names of tables and columns are compared without case. Nothing is ever written to a source.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from fedpet.clinical.tabular import decode
from fedpet.core.errors import WarehouseError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Column, Select, Table

    Row = Mapping[str, Any]

_PATIENTS_A_QUERY: Final = 500
_Value = TypeVar("_Value")


class TableStore(Protocol):
    """A warehouse of tables."""

    def has(self, table: str) -> bool:
        """Whether there is such a table."""

    def columns(self, table: str) -> frozenset[str]:
        """Names of its columns in lower case.

        Args:
            table: its name.

        Raises:
            WarehouseError: there is no such table, or it cannot be read.
        """

    def rows(
        self, table: str, column: str = "", values: Collection[str] | None = None, only: Sequence[str] = ()
    ) -> Iterator[tuple[str, Row]]:
        """Rows with their number or key; column names in lower case.

        Args:
            table: its name.
            column: with the patient.
            values: patients whose rows are read; None for all rows. Rows of others are never taken in.
            only: the columns that are read; () for all.

        Raises:
            WarehouseError: there is no such table or column, or it cannot be read.
        """


def open_tables(source: str, schema: str = "") -> TableStore:
    """The tables of a SQLAlchemy URL (`postgresql://…`) or of a folder.

    Args:
        source: URL or folder.
        schema: of the database; "" for its default one.

    Raises:
        WarehouseError: neither, or the database cannot be reached.
    """
    if "://" in source:
        return DatabaseTables(source, schema)
    if Path(source).is_dir():
        return FolderTables(Path(source))
    raise WarehouseError(
        found=Message("The source is neither a folder nor the address of a database."),
        needed=Message("A folder of CSV or Parquet files, or a URL such as postgresql://user@host/base."),
        advice=Message("Check how it is written."),
    )


class FolderTables:
    """One file a table: `name.csv` or `name.parquet`."""

    def __init__(self, folder: Path) -> None:
        files = (path for path in folder.iterdir() if path.suffix.casefold() in {".csv", ".parquet"})
        self._files = {path.stem.casefold(): path for path in sorted(files)}

    def has(self, table: str) -> bool:
        """Whether there is such a file."""
        return table.casefold() in self._files

    def columns(self, table: str) -> frozenset[str]:
        """See `TableStore.columns`."""
        path = self._path(table)
        if path.suffix.casefold() == ".parquet":
            return _parquet_columns(path)
        _, header = next(_csv_lines(path), (0, []))
        return frozenset(filter(None, map(_column, header)))

    def rows(
        self, table: str, column: str = "", values: Collection[str] | None = None, only: Sequence[str] = ()
    ) -> Iterator[tuple[str, Row]]:
        """See `TableStore.rows`; a row's number is its line in the file."""
        path = self._path(table)
        read = _parquet_rows(path) if path.suffix.casefold() == ".parquet" else _csv_rows(path, table)
        wanted = None if values is None else frozenset(values)
        for line, row in enumerate(read, start=2):
            if wanted is not None and patient_key(_required(row, table, column)) not in wanted:
                continue
            yield str(line), {name.casefold(): _required(row, table, name) for name in only} if only else row

    def _path(self, table: str) -> Path:
        path = self._files.get(table.casefold())
        if path is None:
            raise _no_table(table)
        return path


class DatabaseTables:
    """The tables of a database."""

    def __init__(self, url: str, schema: str = "") -> None:
        import sqlalchemy  # noqa: PLC0415  of the extra "warehouse"; a folder is read without it

        self._sql = sqlalchemy
        try:
            address = sqlalchemy.make_url(url)
            if address.drivername == "postgresql":
                address = address.set(drivername="postgresql+psycopg")
            self._engine = sqlalchemy.create_engine(address)
            self._schema = schema or None
            inspector = sqlalchemy.inspect(self._engine)
            listed = [*inspector.get_table_names(self._schema), *inspector.get_view_names(self._schema)]
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
            raise WarehouseError(
                found=Message("The database cannot be opened ({why}).", why=type(error).__name__),
                needed=Message("An address that SQLAlchemy knows, its driver, and the right to read."),
                advice=Message("Check host, account and password file; the driver of PostgreSQL comes with fedpet."),
            ) from error
        self._names = {name.casefold(): name for name in listed}

    def has(self, table: str) -> bool:
        """Whether there is such a table or view."""
        return table.casefold() in self._names

    def columns(self, table: str) -> frozenset[str]:
        """See `TableStore.columns`."""
        try:
            return frozenset(one.name.casefold() for one in self._table(table).columns)
        except self._sql.exc.SQLAlchemyError as error:
            raise _unreadable(table, error) from error

    def rows(
        self, table: str, column: str = "", values: Collection[str] | None = None, only: Sequence[str] = ()
    ) -> Iterator[tuple[str, Row]]:
        """See `TableStore.rows`; a row is named by its primary key, else by its number in the answer."""
        sql = self._sql
        try:
            found = self._table(table)
            columns = {one.name.casefold(): one for one in found.columns}
            keys = [one.name.casefold() for one in found.primary_key]
            chosen = [_required(columns, table, name) for name in only] or list(found.columns)
            yield from self._answers(sql.select(*chosen), columns.get(column.casefold()), table, column, values, keys)
        except sql.exc.SQLAlchemyError as error:
            raise _unreadable(table, error) from error

    def _table(self, table: str) -> Table:
        if not self.has(table):
            raise _no_table(table)
        return self._sql.Table(
            self._names[table.casefold()], self._sql.MetaData(schema=self._schema), autoload_with=self._engine
        )

    def _answers(
        self,
        query: Select[Any],
        patient: Column[Any] | None,
        table: str,
        column: str,
        values: Collection[str] | None,
        keys: list[str],
    ) -> Iterator[tuple[str, Row]]:
        if values is not None and patient is None:
            raise no_column(table, column)
        listed = [None] if values is None else sorted(values)
        number = 0
        with self._engine.connect() as connection:
            for start in range(0, len(listed), _PATIENTS_A_QUERY):
                some = listed[start : start + _PATIENTS_A_QUERY]
                key = self._sql.func.trim(self._sql.cast(patient, self._sql.String))
                limited = query if values is None else query.where(key.in_(some))
                for answer in connection.execute(limited).mappings():
                    number += 1
                    row = {name.casefold(): value for name, value in answer.items()}
                    yield "/".join(str(row[key]) for key in keys if key in row) or str(number), row


def patient_key(value: object) -> str:
    """The key of a patient as text: without spaces around it, a whole number without decimals."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _csv_rows(path: Path, table: str) -> Iterator[Row]:
    lines = _csv_lines(path)
    _, header = next(lines, (0, []))
    width = max((i for i, name in enumerate(header, start=1) if name.strip()), default=0)
    for line, cells in lines:
        if not cells:
            continue
        if len(cells) < width or any(cell.strip() for cell in cells[len(header) :]):
            raise _other_width(table, line, len(cells), len(header))
        yield {_column(name): cell for name, cell in zip(header, cells, strict=False)}


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells with the number of their line, the header first."""
    try:
        text, _ = decode(path.read_bytes())
        separator = max(";\t,", key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        for cells in reader:
            yield reader.line_num, cells
    except (OSError, csv.Error) as error:
        raise _unreadable(path.stem, error) from error


def _column(name: str) -> str:
    return name.strip().casefold()


def _parquet_columns(path: Path) -> frozenset[str]:
    from pyarrow import lib, parquet  # noqa: PLC0415  of the extra "warehouse"; CSV is read without it

    try:
        return frozenset(name.casefold() for name in parquet.read_schema(path).names)
    except (OSError, lib.ArrowException) as error:
        raise _damaged(path.stem, error) from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    from pyarrow import lib, parquet  # noqa: PLC0415  of the extra "warehouse"; CSV is read without it

    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                yield {name.casefold(): value for name, value in row.items()}
    except (OSError, lib.ArrowException) as error:
        raise _damaged(path.stem, error) from error


def _required(row: Mapping[str, _Value], table: str, column: str) -> _Value:
    try:
        return row[column.casefold()]
    except KeyError:
        raise no_column(table, column) from None


def _unreadable(table: str, error: Exception) -> WarehouseError:
    return WarehouseError(
        found=Message("Table {table} cannot be read ({why}).", table=table, why=type(error).__name__),
        needed=Message("The right to read it."),
        advice=Message("Ask whoever keeps the warehouse."),
    )


def _damaged(table: str, error: Exception) -> WarehouseError:
    return WarehouseError(
        found=Message("Table {table} is no whole Parquet file ({why}).", table=table, why=type(error).__name__),
        needed=Message("A file as the warehouse wrote it, and the right to read it."),
        advice=Message("Copy or export the table again."),
    )


def _other_width(table: str, line: int, cells: int, columns: int) -> WarehouseError:
    return WarehouseError(
        found=Message(
            "Table {table}, line {line}: {cells} cells, the header has {columns}.",
            table=table,
            line=line,
            cells=cells,
            columns=columns,
        ),
        needed=Message("As many cells as columns."),
        advice=Message("Where “,” separates the cells, write decimals with a point, or cells in quotes."),
    )


def _no_table(table: str) -> WarehouseError:
    return WarehouseError(
        found=Message("The source has no table {table}.", table=table),
        needed=Message("The tables that the rules name."),
        advice=Message(
            "Name the table in the rules as the warehouse does ([objection], [patient] or [[tables]]), or take it out."
        ),
    )


def no_column(table: str, column: str) -> WarehouseError:
    """The error of a column that the rules name and the table lacks."""
    return WarehouseError(
        found=Message("Table {table} has no column {column}.", table=table, column=column),
        needed=Message("The columns that the rules name."),
        advice=Message(
            "Name the column in the rules as the warehouse does ([objection], [patient] or [[tables]]), or take it out."
        ),
    )
