"""Which studies a batch holds: a table with the columns `study` and `clinical`, or a folder of pairs."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fedpet.clinical.tabular import read_cells
from fedpet.core.errors import WorklistError
from fedpet.core.messages import Message
from training.data.private_files import open_private, private_folder
from training.data.spreadsheet_cells import safe_cell
from training.data.study_folders import files_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cli.batch.run import BatchRow

STUDY: Final = "study"
RECORD: Final = "clinical"
_RECORD_SUFFIXES: Final = (".json", ".csv")
_PAIRS = Message("Beside each folder or zip of a study its record, NAME.json or NAME.csv.")


@dataclass(frozen=True)
class WorklistItem:
    """One study of a batch. Its paths may name the patient: they stay out of results and messages.

    Attributes:
        line: of the table, or place in the folder by name, from 1.
        study: folder, zip or file with the images.
        record: JSON, or CSV with one row.
    """

    line: int
    study: Path
    record: Path

    @property
    def paths(self) -> str:
        """Both whole paths: what one item differs by from any other."""
        return f"{self.study.resolve()}\0{self.record.resolve()}"

    @property
    def digest(self) -> str:
        """SHA-256 of what the item consists of: names, sizes and times of the images' files, bytes of the record."""
        images = files_digest(self.study) if self.study.is_dir() else _stat(self.study)
        whole = hashlib.sha256(f"{self.paths}\0{images}\0".encode("utf-8", "surrogateescape"))
        whole.update(self.record.read_bytes())
        return whole.hexdigest()


def _stat(path: Path) -> str:
    facts = path.stat()
    return f"{facts.st_size}\0{facts.st_mtime_ns}"


def read_worklist(source: Path) -> tuple[WorklistItem, ...]:
    """The studies of a table or of a folder.

    Args:
        source: CSV or xlsx with the columns `study` and `clinical`, whose paths count from the table's folder; or a
            folder with `NAME` or `NAME.zip` and beside it `NAME.json` or `NAME.csv`.

    Raises:
        WorklistError: there is no study, or a path of the table does not exist.
        RecordError: the table cannot be read.
    """
    items = _pairs(source) if source.is_dir() else _lines(source)
    if not items:
        raise WorklistError(
            found=Message("The worklist holds no study."),
            needed=_PAIRS if source.is_dir() else Message("A row with the columns “study” and “clinical” for each."),
            advice=Message("Look at the worklist, or give another one."),
        )
    return items


def _lines(table: Path) -> tuple[WorklistItem, ...]:
    cells = read_cells(table, _is_header)
    if not {STUDY, RECORD} <= set(cells.columns):
        raise WorklistError(
            found=Message("The worklist has the columns {columns}.", columns=", ".join(cells.columns)),
            needed=Message("A row with the columns “study” and “clinical” for each."),
            advice=Message("Name the columns so; further columns are left alone."),
        )
    items = tuple(
        WorklistItem(line, table.parent / row[STUDY].strip(), table.parent / row[RECORD].strip())
        for line, row in zip(cells.lines, cells.rows, strict=True)
    )
    missing = [one.line for one in items if not one.study.exists() or not one.record.is_file()]
    if missing:
        lines = ", ".join(map(str, missing[:10])) + (" …" if missing[10:] else "")
        raise WorklistError(
            found=Message("In {n} lines the study or the record does not exist: {lines}.", n=len(missing), lines=lines),
            needed=Message("Paths of existing files, as seen from the folder of the worklist."),
            advice=Message("Correct these lines; nothing was computed."),
        )
    return items


def _is_header(cells: Sequence[str]) -> bool:
    return {STUDY, RECORD} <= {cell.strip() for cell in cells}


def _pairs(folder: Path) -> tuple[WorklistItem, ...]:
    studies = sorted(one for one in folder.iterdir() if one.is_dir() or one.suffix.casefold() == ".zip")
    found = [(study, _record_beside(study)) for study in studies]
    lacking = sum(record is None for _, record in found)
    if lacking:
        raise WorklistError(
            found=Message("{n} of {all} studies have no record beside them.", n=lacking, all=len(found)),
            needed=_PAIRS,
            advice=Message("Add the records, or take these studies out; nothing was computed."),
        )
    return tuple(
        WorklistItem(line, study, record) for line, (study, record) in enumerate(found, start=1) if record is not None
    )


def _record_beside(study: Path) -> Path | None:
    name = study.name if study.is_dir() else study.stem
    places = (study.with_name(name + suffix) for suffix in _RECORD_SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def write_key(folder: Path, out: Path, items: Sequence[WorklistItem], rows: Sequence[BatchRow]) -> Path:
    """Write which study became which folder: the only file that names them, private, outside of the batch.

    Args:
        folder: of such files.
        out: of the batch, by whose path the file is named.
        items: of the worklist.
        rows: one each.

    Returns:
        The file.
    """
    place = private_folder(folder) / f"{hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:12]}.csv"
    with open_private(place) as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow(("line", "folder", "pseudonym", "study", "clinical"))
        for item, row in zip(items, rows, strict=True):
            cells = (str(item.line), row.folder, row.pseudonym, *item.paths.split("\0"))
            writer.writerow([safe_cell(cell) for cell in cells])
    return place
