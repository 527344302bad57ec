"""An extraction as a whole: the source read, every patient derived, the table and its provenance written.

Written beside `clinical.csv`, all private to their owner: `clinical.provenance.csv` (by patient and variable: value,
table, row, date, rule), `clinical.studies.csv` (the PET of each patient: Study ID, date) and `clinical.html` (counts of
what is missing and what contradicts, in French and English).
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fedpet.clinical.reading import DATE_COLUMNS, to_french_row
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import OutputError, WarehouseError
from fedpet.core.messages import Message, translate_message
from training.data.private_files import open_private, write_private
from training.data.spreadsheet_cells import safe_cell
from training.data.warehouse.derivation import derive
from training.data.warehouse.fhir import read_fhir
from training.data.warehouse.relational import read_tables
from training.data.warehouse.rules import FRENCH
from training.data.warehouse.tables import open_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from training.data.warehouse.derivation import Derived, DerivedPatient
    from training.data.warehouse.events import History
    from training.data.warehouse.rules import Rules

STUDY_COLUMN: Final = "id_examen_tep"
PROVENANCE_COLUMNS: Final = (*("patient_id", "variable", "valeur", "table", "ligne", "date", "regle", "remarque"),)


@dataclass(frozen=True)
class Extraction:
    """What was extracted.

    Attributes:
        patients: in the table.
        left_out: read, but not patients of the study.
        objecting: never read.
        unstated: left out since nothing is stated about an objection.
        unclear: left out since what is stated neither refuses nor accepts.
        remarks: what whoever extracts must know before the table is used.
    """

    patients: tuple[DerivedPatient, ...]
    left_out: tuple[DerivedPatient, ...]
    objecting: int
    unstated: int
    unclear: int = 0
    remarks: tuple[Message, ...] = ()


@dataclass(frozen=True)
class ExtractionFiles:
    """The files of an extraction, all named after its table."""

    table: Path

    @property
    def provenance(self) -> Path:
        """By patient and variable."""
        return self.table.with_suffix(".provenance.csv")

    @property
    def studies(self) -> Path:
        """The PET of each patient."""
        return self.table.with_suffix(".studies.csv")

    @property
    def page(self) -> Path:
        """The counts."""
        return self.table.with_suffix(".html")


def require_place(files: ExtractionFiles, source: str) -> None:
    """Refuse, before anything is read, a table that cannot be written or would lie upon something else.

    Args:
        files: of the extraction.
        source: as `extract` takes it.

    Raises:
        OutputError: the name does not end in .csv, the folder is missing or closed, or the table lies in the source.
    """
    table, folder = files.table.resolve(), files.table.resolve().parent
    if table.suffix.casefold() != ".csv":
        raise _no_place(Message("The table's name does not end in .csv; its page would take its place."))
    origin = Path(source.partition("://")[2].removeprefix("/") if "://" in source else source).resolve()
    if table == origin or ("://" not in source and origin.is_dir() and table.is_relative_to(origin)):
        raise _no_place(Message("The table would lie in the source, which is only read."))
    written = (files.table, files.provenance, files.studies, files.page)
    closed = any(path.is_dir() or (path.exists() and not os.access(path, os.W_OK)) for path in written)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK) or closed:
        raise _no_place(Message("The folder of the table is missing or cannot be written."))


def _no_place(found: Message) -> OutputError:
    return OutputError(
        found=found,
        needed=Message("A name that ends in .csv, in a folder that this program may write, outside of the source."),
        advice=Message("Give another --out."),
    )


def extract(source: str, rules: Rules) -> Extraction:
    """Read a source and derive every patient who does not object.

    Args:
        source: SQLAlchemy URL, folder of CSV or Parquet, or FHIR bundles.
        rules: of the extraction.

    Raises:
        WarehouseError: the source cannot be read, lacks what the rules name, or holds nobody.
    """
    if rules.source == "fhir":
        read = read_fhir(Path(source), rules)
    else:
        read = read_tables(open_tables(source, rules.schema), rules)
    derived = [derive(history, rules) for history in read.histories]
    patients = tuple(one for one in derived if one.left_out is None)
    if not patients:
        raise WarehouseError(
            found=Message(
                "No patient of the study. Read: {read}; objecting: {objecting}; without a clear statement: {unstated}.",
                read=len(derived),
                objecting=read.objecting,
                unstated=read.unstated + read.unclear,
            ),
            needed=Message("Patients with a lung tumour and a dose of an immunotherapy, who do not object."),
            advice=Message("Compare the codes in the rules with those of the warehouse."),
        )
    left_out = tuple(one for one in derived if one.left_out is not None)
    remarks = (*read.remarks, *_dates(read.histories), *_endpoints(patients))
    return Extraction(patients, left_out, read.objecting, read.unstated, read.unclear, remarks)


def _dates(histories: Iterable[History]) -> Iterator[Message]:
    """Rows that count for nothing since their date cannot be read, and deaths without a date."""
    events = [event for history in histories for event in history.events]
    unreadable = Counter((event.origin.table, event.kind) for event in events if event.unreadable)
    for (table, kind), rows in sorted(unreadable.items()):
        yield Message(
            "{table} (kind = “{kind}”): rows not counted, since their date cannot be read (year first): {n}.",
            table=table,
            kind=kind,
            n=rows,
        )
    undated = sum(event.kind == "death" and event.day is None and not event.unreadable for event in events)
    if undated:
        yield Message("Deaths not counted, since no date is written: {n}.", n=undated)


def _endpoints(patients: Iterable[DerivedPatient]) -> Iterator[Message]:
    """What a study of survival cannot be without."""
    listed = tuple(patients)
    if not any(one.day("date_progression") for one in listed):
        yield Message("No patient has a progression: check [progression] and its [[tables]].")
    if not any(one.day("date_deces") for one in listed):
        yield Message("No patient died: check [death] and its [[tables]].")


def write_extraction(found: Extraction, files: ExtractionFiles, page: str) -> None:
    """Write the table and what belongs to it.

    Args:
        found: the extraction.
        files: their paths.
        page: `training.data.warehouse.page.extraction_page`.
    """
    with open_private(files.table) as file:
        rows = [table_row(patient) for patient in found.patients]
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter=";")
        writer.writeheader()
        for row in sorted(rows, key=lambda row: row["patient_id"]):
            writer.writerow({column: safe_cell(cell) for column, cell in row.items()})
    _write_rows(files.provenance, PROVENANCE_COLUMNS, _provenance(found.patients))
    _write_rows(files.studies, ("patient_id", STUDY_COLUMN, "date_tep", "table", "ligne"), _studies(found.patients))
    write_private(files.page, page)


def table_row(patient: DerivedPatient) -> dict[str, str]:
    """The row of the study's table, with its French columns."""
    fields: dict[str, Any] = {
        name: patient.values[column].value for column, name in FRENCH.items() if column in patient.values
    }
    days = {column: day.isoformat() if (day := patient.day(column)) else "" for column in DATE_COLUMNS}
    study = patient.values.get(STUDY_COLUMN)
    return {
        "patient_id": patient.patient_id,
        **to_french_row(ClinicalRecord(**fields)),
        **days,
        STUDY_COLUMN: "" if study is None else str(study.value),
    }


def _provenance(patients: Iterable[DerivedPatient]) -> Iterator[tuple[str, ...]]:
    say = translate_message("fr")
    for patient in patients:
        row = table_row(patient)
        for column, derived in patient.values.items():
            told = say(derived.remark) if derived.remark else ""
            yield patient.patient_id, column, row[column], *_place(derived), derived.rule, told
        for rule, message in patient.contradictions:
            yield patient.patient_id, "", "", "", "", "", rule, say(message)


def _place(derived: Derived) -> tuple[str, str, str]:
    tables = ", ".join(dict.fromkeys(origin.table for origin in derived.origins))
    rows = ", ".join(dict.fromkeys(origin.row for origin in derived.origins))
    return tables, rows, derived.day.isoformat() if derived.day else ""


def _studies(patients: Iterable[DerivedPatient]) -> Iterator[tuple[str, ...]]:
    for patient in patients:
        study = patient.values.get(STUDY_COLUMN)
        if study is not None and isinstance(study.day, date):
            origin = study.origins[0]
            yield patient.patient_id, str(study.value), study.day.isoformat(), origin.table, origin.row


def _write_rows(path: Path, header: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    with open_private(path) as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(header)
        writer.writerows(tuple(map(safe_cell, row)) for row in rows)
