"""Clinical records from JSON and CSV, with French or English names and values; missing stays missing.

Beside the variables, a table holds `patient_id` and the dates of the endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fedpet.clinical.endpoints import SurvivalOutcome
from fedpet.clinical.record import ClinicalRecord, RecordReference
from fedpet.clinical.tabular import parse_object, parse_table, read_cells, read_text
from fedpet.clinical.value_parsing import (
    day_first_dates,
    is_missing,
    limit_note,
    normalize_key,
    range_warning,
    read_date,
    read_value,
)
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import RecordError
from fedpet.core.messages import Message
from fedpet.core.notebook import html_table
from fedpet.core.pseudonyms import identifier_digest, local_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from fedpet.clinical.tabular import TextTable

_COLUMNS = {normalize_key(name): v.name for v in VARIABLES.values() for name in (v.name, v.french)}
_ID_COLUMNS = ("patient_id", "id_patient", "identifiant")
_DATES = {
    "date_tep": "date_tep", "pet_date": "date_tep",
    "date_debut_ici": "date_debut_ici", "start_date": "date_debut_ici",
    "date_progression": "date_progression", "progression_date": "date_progression",
    "date_deces": "date_deces", "death_date": "date_deces",
    "date_dernieres_nouvelles": "date_dernieres_nouvelles", "last_news_date": "date_dernieres_nouvelles",
}  # fmt: skip
IDENTIFIER = "identifier_digest"  # of the patient, in a record that the application keeps
_STUDY_COLUMNS = ("id_examen_tep", "pet_study_id")  # Study ID of the PET in DICOM (0020,0010)
_ADMINISTRATIVE = frozenset(
    {*_ID_COLUMNS, *_STUDY_COLUMNS, IDENTIFIER, "centre", "site", "delai_injection", "activite_injectee"}
)
_NEGATIVE_DELAY = Message("The PET was made after the first dose: the model refuses such studies.")


@dataclass(frozen=True)
class ReadRecord:
    """A record and what a person should look at again.

    Attributes:
        record: the variables.
        warnings: values outside of their usual range, unknown columns, contradictions within the record.
        patient_id: as written, "" where there is none; never to be kept.
        pet_date: day of the PET, where the record states it.
        first_dose: day of the first dose, likewise.
        identifier: digest of the identifier, in a record that was kept without it.
    """

    record: ClinicalRecord
    warnings: tuple[Message, ...]
    patient_id: str = field(default="", repr=False)
    pet_date: date | None = None
    first_dose: date | None = None
    identifier: str = ""

    def __repr__(self) -> str:
        return f"ReadRecord({self.record!r}, {len(self.warnings)} warnings)"

    def _repr_html_(self) -> str:
        """The record, and below it what a person should look at again."""
        table = self.record._repr_html_()
        return table + (html_table("To be checked", [(str(one),) for one in self.warnings]) if self.warnings else "")

    def reference(self, key: bytes | None = None) -> RecordReference:
        """Whose record it is, with a keyed digest in place of the identifier.

        Args:
            key: secret of the centre; None takes the key of this machine, as `fedpet.load_study` does.

        Raises:
            SettingsError: the key is to be that of this machine, and a setting is not valid.
        """
        identifier = self.identifier
        if self.patient_id and not identifier:
            identifier = identifier_digest(self.patient_id, local_key() if key is None else key)
        return RecordReference(identifier=identifier, pet_date=self.pet_date, first_dose=self.first_dose)


@dataclass(frozen=True)
class TableRow:
    """One patient of a centre's table.

    Attributes:
        patient_id: as the centre wrote it; never leaves the node.
        record: None where `refused` says why the row cannot be used.
        outcome: progression-free survival; None where the dates do not give one.
        survival: overall survival, likewise.
        warnings: what a person should look at again.
        refused: the first reason why the row cannot be used.
        refusals: all of them, a wrong cell each.
        pet_date: day of the PET, where the table states it.
        first_dose: day of the first dose, likewise; so `death` and `last_news`.
        study_id: Study ID of the PET (DICOM 0020,0010), "" where the table does not state it.
        line: of the file or row of the sheet.
        filled: columns, by their known names, in which the row states something.
    """

    patient_id: str
    record: ClinicalRecord | None
    outcome: SurvivalOutcome | None
    warnings: tuple[Message, ...]
    refused: RecordError | None = None
    refusals: tuple[RecordError, ...] = ()
    pet_date: date | None = None
    first_dose: date | None = None
    death: date | None = None
    last_news: date | None = None
    study_id: str = ""
    line: int = 0
    filled: frozenset[str] = frozenset()
    survival: SurvivalOutcome | None = None


@dataclass(frozen=True)
class UnreadColumn:
    """A column that is not known, with the known name nearest to it; "" where none is near."""

    name: str
    nearest: str


@dataclass(frozen=True)
class ClinicalTable(Sequence[TableRow]):
    """A centre's table: a sequence of its rows.

    Attributes:
        rows: one a patient.
        unread: columns that are not known.
        columns: French names of the variables and dates that the table has a column for.
        notes: how the file was read.
    """

    rows: tuple[TableRow, ...]
    unread: tuple[UnreadColumn, ...] = ()
    columns: frozenset[str] = frozenset()
    notes: tuple[Message, ...] = ()

    @overload
    def __getitem__(self, index: int) -> TableRow: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TableRow, ...]: ...
    def __getitem__(self, index: int | slice) -> TableRow | tuple[TableRow, ...]:
        """A row, or several."""
        return self.rows[index]

    def __iter__(self) -> Iterator[TableRow]:
        """The rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)


DATE_COLUMNS = ("date_tep", "date_debut_ici", "date_progression", "date_deces", "date_dernieres_nouvelles")


def read_record(path: str | Path) -> ReadRecord:
    """Read the record of one patient: a JSON object, or a CSV with one row.

    Args:
        path: of the file; names in French or English, see docs/clinical.md.

    Returns:
        The record, and what a person should look at again.

    Raises:
        RecordError: the file cannot be read, or a value is refused.
    """
    if Path(path).suffix.casefold() in {".xlsx", ".xlsm"}:
        table = read_cells(Path(path), _is_record_header)
    else:
        text = read_text(Path(path))
        if text.lstrip().startswith("{"):
            return record_from_mapping(parse_object(text))
        table = parse_table(text, _is_record_header)
    if len(table.rows) != 1:
        raise RecordError(
            found=Message("The clinical file has {rows} rows.", rows=len(table.rows)),
            needed=Message("One patient: a JSON object, or a CSV with a header and one row."),
            advice=Message("Keep the row of this patient only."),
        )
    return record_from_mapping(table.rows[0])


def record_from_mapping(values: Mapping[str, object]) -> ReadRecord:
    """The record of one patient from names (French or English) and written or typed values.

    Raises:
        RecordError: a value that is not one of its variable or lies beyond its reject range, or a variable
            given under two names.
    """
    given, warnings = _sort_columns(values)
    fields: dict[str, Any] = {name: read_value(VARIABLES[name], value) for name, value in given.items()}
    warnings += filter(None, (limit_note(VARIABLES[name], value) for name, value in given.items()))
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
    return ReadRecord(
        record,
        (*warnings, *_range_warnings(record), *_cross_checks(record)),
        patient_id=_administrative(values, _ID_COLUMNS),
        pet_date=dates.get("date_tep"),
        first_dose=dates.get("date_debut_ici"),
        identifier=_administrative(values, (IDENTIFIER,)),
    )


def read_table(path: Path, *, today: date | None = None) -> ClinicalTable:
    """A centre's CSV or xlsx, one row a patient, with `patient_id` and the endpoint dates.

    A refused row does not stop the rest.

    Args:
        path: of the file.
        today: dates after it are refused; None for the day of the call.

    Raises:
        RecordError: the file cannot be read, has no patient column or no rows, or repeats a patient.
    """
    table = read_cells(path, _is_table_header)
    column = next((name for name in table.columns if normalize_key(name) in _ID_COLUMNS), None)
    if column is not None and not table.rows:
        raise RecordError(
            found=Message("The table has a header and no rows."),
            needed=Message("One row a patient."),
            advice=Message("Export the table again with its patients."),
        )
    if column is None:
        near = [get_close_matches(normalize_key(name), _ID_COLUMNS, n=1, cutoff=0.7) for name in table.columns]
        likely = next((name for name, found in zip(table.columns, near, strict=True) if found), "")
        advice = Message("Check the header and the separator of the table.")
        if likely:
            advice = Message("Is it “{column}”? Name it patient_id.", column=likely[:40])
        raise RecordError(
            found=Message("The table has no patient column."),
            needed=Message("A column “patient_id” (or “id_patient”, “identifiant”) and one row a patient."),
            advice=advice,
        )
    _require_one_row_a_patient(table, column)
    dates = [cells[name] for cells in table.rows for name in cells if normalize_key(name) in _DATES]
    day_first = day_first_dates(dates)
    notes = table.notes
    if day_first:
        notes = (*notes, Message("Dates are read with the day first: some of them can be nothing else."))
    limit = datetime.now(UTC).date() if today is None else today
    rows = (
        _table_row(cells[column].strip(), cells, line, day_first=day_first, today=limit)
        for cells, line in zip(table.rows, table.lines, strict=True)
    )
    known = frozenset(filter(None, map(_known_column, table.columns)))
    return ClinicalTable(tuple(rows), tuple(_unread(table.columns)), known, notes)


def _require_one_row_a_patient(table: TextTable, column: str) -> None:
    lines: dict[str, int] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        first = lines.setdefault(row[column].strip(), line)
        if first != line or not row[column].strip():
            raise RecordError(
                found=Message("Row {line} has no patient identifier, or repeats that of row {first}.",
                              line=line, first=first),
                needed=Message("One row a patient, each with an identifier."),
                advice=Message("Complete or remove the row."),
            )  # fmt: skip


def _is_table_header(cells: Sequence[str]) -> bool:
    return any(normalize_key(cell) in _ID_COLUMNS for cell in cells)


def _is_record_header(cells: Sequence[str]) -> bool:
    return sum(_known_column(cell) is not None for cell in cells) > len(cells) // 3


def _known_column(column: str) -> str | None:
    """The French name of a column of variables or dates; None for others."""
    key = normalize_key(column)
    name = _COLUMNS.get(key)
    return _DATES.get(key) if name is None else VARIABLES[name].french


def _unread(columns: Iterable[str]) -> Iterator[UnreadColumn]:
    for column in columns:
        key = normalize_key(column)
        if key not in _COLUMNS and key not in _DATES and key not in _ADMINISTRATIVE:
            yield UnreadColumn(column, _nearest_column(key))


def _nearest_column(key: str) -> str:
    """The known column that an unknown one is perhaps meant to be."""
    near = get_close_matches(key, [*_COLUMNS, *_DATES, *_ID_COLUMNS], n=1, cutoff=0.7)
    words = [name for name in _COLUMNS if len(name) > 2 and name in key.split("_")]
    return next(iter([*near, *words]), "")


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


def _table_row(patient_id: str, row: Mapping[str, str], line: int, *, day_first: bool, today: date) -> TableRow:
    filled = frozenset(known for name, cell in row.items() if (known := _known_column(name)) and not is_missing(cell))
    try:
        dates = _read_dates(row, day_first=day_first)
        _require_past(dates, today)
        written = {name: _date_cell(name, cell, dates) for name, cell in row.items()}
        read = record_from_mapping(written)
        days = {
            "start": dates.get("date_debut_ici"),
            "progression": dates.get("date_progression"),
            "death": dates.get("date_deces"),
            "last_news": dates.get("date_dernieres_nouvelles"),
        }
        outcome, survival = SurvivalOutcome.from_dates(**days), SurvivalOutcome.overall_from_dates(**days)
    except RecordError as refused:
        all_of_them = tuple(_wrong_cells(row, day_first=day_first, today=today)) or (refused,)
        return TableRow(patient_id, None, None, (), refused, all_of_them, line=line, filled=filled)
    return TableRow(
        patient_id,
        read.record,
        outcome,
        (*_without_columns(read.warnings), *_date_warnings(dates)),
        pet_date=read.pet_date,
        first_dose=read.first_dose,
        death=dates.get("date_deces"),
        last_news=dates.get("date_dernieres_nouvelles"),
        study_id=_administrative(row, _STUDY_COLUMNS),
        line=line,
        filled=filled,
        survival=survival,
    )


def _wrong_cells(row: Mapping[str, str], *, day_first: bool, today: date) -> Iterator[RecordError]:
    """Why each cell that is refused by itself is."""
    for column, cell in row.items():
        key = normalize_key(column)
        try:
            if key in _COLUMNS:
                read_value(VARIABLES[_COLUMNS[key]], cell)
            elif key in _DATES:
                _require_past({_DATES[key]: read_date(column, cell, day_first=day_first)}, today)
        except RecordError as refused:
            yield refused


def _date_cell(name: str, cell: str, dates: Mapping[str, date | None]) -> object:
    known = _DATES.get(normalize_key(name))
    return cell if known is None else dates[known]


def _without_columns(warnings: Iterable[Message]) -> tuple[Message, ...]:
    """Without those about columns, which the table says once."""
    return tuple(one for one in warnings if "column" not in one.values)


def _require_past(dates: Mapping[str, date | None], today: date) -> None:
    later = next((name for name, day in dates.items() if day is not None and day > today), None)
    if later is not None:
        raise RecordError(
            found=Message("“{column}” lies in the future.", column=later),
            needed=Message("Days up to today."),
            advice=Message("Correct the date; a planned visit is no news."),
        )


def _date_warnings(dates: Mapping[str, date | None]) -> list[Message]:
    death, news, progression = (
        dates.get(name) for name in ("date_deces", "date_dernieres_nouvelles", "date_progression")
    )
    found = []
    if death is not None and news is not None and news > death:
        found.append(Message("The last news is dated after death: please check."))
    if progression is not None and news is not None and news < progression and death is None:
        found.append(Message("The last news is dated before the progression: please check."))
    return found


def _sort_columns(values: Mapping[str, object]) -> tuple[dict[str, object], list[Message]]:
    """Given values by field name, and a warning for each column that is not known."""
    given: dict[str, object] = {}
    warnings: list[Message] = []
    for column, value in values.items():
        name = _COLUMNS.get(normalize_key(column))
        if name is None:
            if normalize_key(column) not in _ADMINISTRATIVE and normalize_key(column) not in _DATES:
                warnings.append(_unknown_column(column))
        elif name in given:
            raise RecordError(
                found=Message("{label} is given twice.", label=VARIABLES[name].label),
                needed=Message("One column a variable, under its French or its English name."),
                advice=Message("Remove “{column}” or its double.", column=column[:40]),
            )
        else:
            given[name] = value
    return given, warnings


def _unknown_column(column: str) -> Message:
    nearest = _nearest_column(normalize_key(column))
    if nearest:
        return Message(
            "Column “{column}” is not known and was ignored; is “{nearest}” meant?", column=column[:40], nearest=nearest
        )
    return Message("Column “{column}” is not known and was ignored.", column=column[:40])


def _administrative(values: Mapping[str, object], columns: Collection[str]) -> str:
    """The text of the first of these columns that holds one."""
    given = (value for column, value in values.items() if normalize_key(column) in columns and value)
    whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in given)
    return next((text for value in whole if (text := str(value).strip())), "")


def _read_dates(values: Mapping[str, object], *, day_first: bool | None = None) -> dict[str, date | None]:
    """The dates by French name; where the table does not say whether the day stands first, these dates may prove it."""
    written = {column: value for column, value in values.items() if normalize_key(column) in _DATES}
    proved = day_first_dates(written.values()) if day_first is None else day_first
    return {
        _DATES[normalize_key(column)]: read_date(column, value, day_first=proved) for column, value in written.items()
    }


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
    if (record.line or 1) > 1 and record.prior_systemic_lines == 0:
        found.append(Message("No systemic treatment line before, but a second line or later: please check."))
    found += _stage_checks(record)
    if record.ldh is not None and record.ldh_uln is None:
        found.append(Message("LDH is given without the laboratory's upper limit: it cannot be used."))
    if record.pet_to_treatment_days is not None and record.pet_to_treatment_days < 0:
        found.append(_NEGATIVE_DELAY)
    return found


def _stage_checks(record: ClinicalRecord) -> list[Message]:
    """Whether stage, M and metastases contradict each other."""
    found = []
    distant = None if record.m_category is None else record.m_category != "M0"
    if record.stage is not None and distant is not None and record.stage.startswith("IV") != distant:
        found.append(
            Message("Stage {stage} does not go with {m}: please check.", stage=record.stage, m=record.m_category)
        )
    metastases = (record.brain_metastases, record.liver_metastases, record.bone_metastases, record.adrenal_metastases)
    if distant is False and any(metastases):
        found.append(Message("M0 is given with metastases: please check."))
    return found
