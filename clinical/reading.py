"""Clinical records from JSON and CSV, with French or English names and values; missing stays missing.

Beside the variables, a table holds `patient_id` and the dates of the endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical.endpoints import Outcome
from clinical.files import parse_object, parse_table, read_text
from clinical.record import ClinicalRecord
from clinical.values import key_of, range_warning, read_date, read_value
from clinical.variables import VARIABLES
from fedpet.errors import RecordRefused
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

_COLUMNS = {key_of(name): v.name for v in VARIABLES.values() for name in (v.name, v.french)}
_ID_COLUMNS = ("patient_id", "id_patient", "identifiant")
_DATES = {
    "date_tep": "date_tep", "pet_date": "date_tep",
    "date_debut_ici": "date_debut_ici", "start_date": "date_debut_ici",
    "date_progression": "date_progression", "progression_date": "date_progression",
    "date_deces": "date_deces", "death_date": "date_deces",
    "date_dernieres_nouvelles": "date_dernieres_nouvelles", "last_news_date": "date_dernieres_nouvelles",
}  # fmt: skip
_ADMINISTRATIVE = frozenset({*_ID_COLUMNS, "centre", "site", "delai_injection", "activite_injectee"})
_NEGATIVE_DELAY = Message("The PET was made after the first dose: the model refuses such studies.")


@dataclass(frozen=True)
class ReadRecord:
    """A record and what a person should look at again."""

    record: ClinicalRecord
    warnings: tuple[Message, ...]


@dataclass(frozen=True)
class TableRow:
    """One patient of a centre's table.

    Attributes:
        patient_id: as the centre wrote it; never leaves the node.
        record: None where `refused` says why the row cannot be used.
        outcome: None where the dates do not give one.
    """

    patient_id: str
    record: ClinicalRecord | None
    outcome: Outcome | None
    warnings: tuple[Message, ...]
    refused: RecordRefused | None = None


def read_record(path: Path) -> ReadRecord:
    """One patient: a JSON object, or a CSV with one row.

    Raises:
        RecordRefused: the file cannot be read, or a value is refused.
    """
    text = read_text(path)
    if text.lstrip().startswith("{"):
        return record_from_mapping(parse_object(text))
    rows = parse_table(text)
    if len(rows) != 1:
        raise RecordRefused(
            found=Message("The clinical file has {rows} rows.", rows=len(rows)),
            needed=Message("One patient: a JSON object, or a CSV with a header and one row."),
            advice=Message("Keep the row of this patient only."),
        )
    return record_from_mapping(rows[0])


def record_from_mapping(values: Mapping[str, object]) -> ReadRecord:
    """The record of one patient from names (French or English) and written or typed values.

    Raises:
        RecordRefused: a value that is not one of its variable or lies beyond its reject range, or a variable
            given under two names.
    """
    given, warnings = _sort_columns(values)
    fields: dict[str, Any] = {name: read_value(VARIABLES[name], value) for name, value in given.items()}
    dates = _read_dates(values)
    computed = _days_between(dates.get("date_tep"), dates.get("date_debut_ici"))
    if computed is not None:
        stated = fields.get("pet_to_treatment_days")
        if stated is None:
            fields["pet_to_treatment_days"] = read_value(VARIABLES["pet_to_treatment_days"], computed)
        elif stated != computed:
            warnings.append(
                Message("PET to first dose is {stated:g} days, but the dates give {computed:g}.",
                        stated=stated, computed=computed)
            )  # fmt: skip
    record = ClinicalRecord(**fields)
    return ReadRecord(record, (*warnings, *_range_warnings(record), *_cross_checks(record)))


def read_table(path: Path) -> tuple[TableRow, ...]:
    """A centre's CSV, one row a patient, with `patient_id` and the endpoint dates.

    A refused row does not stop the rest.

    Raises:
        RecordRefused: the file cannot be read, has no patient column, or repeats a patient.
    """
    rows = parse_table(read_text(path))
    column = next((name for name in rows[0] if key_of(name) in _ID_COLUMNS), None) if rows else None
    if column is None:
        raise RecordRefused(
            found=Message("The table has no patient column or no rows."),
            needed=Message("A column “patient_id” (or “id_patient”, “identifiant”) and one row a patient."),
            advice=Message("Check the header and the separator of the table."),
        )
    lines: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        first = lines.setdefault(row[column].strip(), line)
        if first != line or not row[column].strip():
            raise RecordRefused(
                found=Message("Row {line} has no patient identifier, or repeats that of row {first}.",
                              line=line, first=first),
                needed=Message("One row a patient, each with an identifier."),
                advice=Message("Complete or remove the row."),
            )  # fmt: skip
    return tuple(_table_row(row[column].strip(), row) for row in rows)


def to_french_row(record: ClinicalRecord) -> dict[str, str]:
    """The record with French column names and values, missing is "": the inverse of `record_from_mapping`."""
    return {variable.french: _written(name, getattr(record, name)) for name, variable in VARIABLES.items()}


def _written(name: str, value: object) -> str:
    if value is None:
        return ""
    for choice in VARIABLES[name].choices:
        if choice.value == value:
            return choice.french
    return repr(value).removesuffix(".0")


def _table_row(patient_id: str, row: Mapping[str, object]) -> TableRow:
    try:
        read = record_from_mapping(row)
        dates = _read_dates(row)
        outcome = Outcome.from_dates(
            start=dates.get("date_debut_ici"),
            progression=dates.get("date_progression"),
            death=dates.get("date_deces"),
            last_news=dates.get("date_dernieres_nouvelles"),
        )
    except RecordRefused as refused:
        return TableRow(patient_id, None, None, (), refused)
    return TableRow(patient_id, read.record, outcome, read.warnings)


def _sort_columns(values: Mapping[str, object]) -> tuple[dict[str, object], list[Message]]:
    """Given values by field name, and a warning for each column that is not known."""
    given: dict[str, object] = {}
    warnings: list[Message] = []
    for column, value in values.items():
        name = _COLUMNS.get(key_of(column))
        if name is None:
            if key_of(column) not in _ADMINISTRATIVE and key_of(column) not in _DATES:
                warnings.append(Message("Column “{column}” is not known and was ignored.", column=column[:40]))
        elif name in given:
            raise RecordRefused(
                found=Message("{label} is given twice.", label=VARIABLES[name].label),
                needed=Message("One column a variable, under its French or its English name."),
                advice=Message("Remove “{column}” or its double.", column=column[:40]),
            )
        else:
            given[name] = value
    return given, warnings


def _read_dates(values: Mapping[str, object]) -> dict[str, date | None]:
    return {
        _DATES[key_of(column)]: read_date(column, value)
        for column, value in values.items()
        if key_of(column) in _DATES
    }  # fmt: skip


def _days_between(first: date | None, second: date | None) -> float | None:
    return None if first is None or second is None else float((second - first).days)


def _range_warnings(record: ClinicalRecord) -> list[Message]:
    found = []
    for name, variable in VARIABLES.items():
        value = getattr(record, name)
        if value is None or variable.warn is None or (name == "pet_to_treatment_days" and value < 0):
            continue
        if (warning := range_warning(variable, value)) is not None:
            found.append(warning)
    return found


def _cross_checks(record: ClinicalRecord) -> list[Message]:
    found = []
    white, neutrophils, lymphocytes = record.leucocytes, record.neutrophils, record.lymphocytes
    if (
        white is not None
        and neutrophils is not None
        and lymphocytes is not None
        and white < neutrophils + lymphocytes - 0.1
    ):
        found.append(Message("White blood cells are fewer than neutrophils and lymphocytes together: please check."))
    if record.smoking == "never" and record.pack_years:
        found.append(Message("Pack-years are given for a never smoker: please check."))
    if record.ldh is not None and record.ldh_uln is None:
        found.append(Message("LDH is given without the laboratory's upper limit: it cannot be used."))
    if record.pet_to_treatment_days is not None and record.pet_to_treatment_days < 0:
        found.append(_NEGATIVE_DELAY)
    return found
