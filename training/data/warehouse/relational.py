"""Histories from the tables of a warehouse (OSIRIS-RWD, OMOP CDM, or a centre's own), as the rules map them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import WarehouseError
from fedpet.core.messages import Message
from training.data.warehouse.events import Event, History, Origin, is_unreadable, read_day, read_number
from training.data.warehouse.tables import no_column, patient_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import date

    from training.data.warehouse.rules import ObjectionRule, Rules, TableMapping
    from training.data.warehouse.tables import Row, TableStore

_CONCEPT: Final = "concept:"  # before an identifier of OMOP until it is looked up
_DATE_PARTS: Final = ("Year", "Month", "Day")  # of OSIRIS


@dataclass(frozen=True)
class WarehousePatients:
    """Who was read.

    Attributes:
        histories: of the patients who may be read.
        objecting: number of patients who object; nothing else is known of them.
        unstated: number of patients left out since nothing is stated about an objection.
        unclear: number of patients left out since what is stated neither refuses nor accepts.
        remarks: what whoever extracts must know of the source.
    """

    histories: tuple[History, ...]
    objecting: int
    unstated: int
    unclear: int = 0
    remarks: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Permission:
    """Who may be read, by what is stated of an objection.

    Attributes:
        allowed: keys of the patients who may be read.
        objecting: number of those who object.
        unstated: number of those left out since nothing is stated.
        unclear: number of those left out since what is stated neither refuses nor accepts.
        remarks: statements that fit no patient.
    """

    allowed: frozenset[str]
    objecting: int = 0
    unstated: int = 0
    unclear: int = 0
    remarks: tuple[Message, ...] = ()


def permission(
    listed: Collection[str],
    refusing: Collection[str],
    accepting: Collection[str],
    unclear: Collection[str],
    *,
    keep: bool,
) -> Permission:
    """Sort the patients by what is stated of them; who refuses once is not read.

    Args:
        listed: all patients.
        refusing: of whom an objection is stated.
        accepting: of whom it is stated that there is none.
        unclear: of whom something else is stated.
        keep: whether patients of whom nothing is stated are read.
    """
    everybody = frozenset(listed)
    objecting = everybody & frozenset(refusing)
    doubtful = (everybody & frozenset(unclear)) - objecting
    unstated = everybody - objecting - doubtful - frozenset(accepting)
    left_out = frozenset() if keep else unstated
    unknown = frozenset((*refusing, *accepting, *unclear)) - everybody
    remarks = (
        [Message("Objection: keys that fit no listed patient: {n}. Check how both tables write them.", n=len(unknown))]
        if unknown
        else []
    )
    if doubtful:
        remarks.append(
            Message("Objection: left out, since the statement is in neither refuses nor accepts: {n}.", n=len(doubtful))
        )
    allowed = everybody - objecting - doubtful - left_out
    return Permission(allowed, len(objecting), len(left_out), len(doubtful), tuple(remarks))


def read_tables(store: TableStore, rules: Rules) -> WarehousePatients:
    """Read everybody who does not object.

    Args:
        store: the tables.
        rules: of the extraction.

    Raises:
        WarehouseError: a table or column is missing or cannot be read.
    """
    _require_columns(store, rules)
    may = _permission(store, rules)
    patients = rules.patient
    named = store.rows(patients.table, patients.patient, may.allowed, (patients.patient, patients.name))
    histories = {
        patient_key(row[patients.patient.casefold()]): History(patient_key(row[patients.name.casefold()]))
        for _, row in named
    }
    remarks = list(may.remarks)
    for mapping in rules.tables:
        taken = False
        for row_id, row in store.rows(mapping.name, mapping.patient, may.allowed):
            history = histories.get(patient_key(row[mapping.patient.casefold()]))
            event = _event(mapping, row_id, row)
            if history is not None and event is not None:
                history.events.append(event)
                taken = True
        if not taken:
            remarks.append(
                Message("{table} (kind = “{kind}”): no row was taken.", table=mapping.name, kind=mapping.kind)
            )
    listed = tuple(sorted(histories.values(), key=lambda one: one.patient_id))
    _look_up_concepts(listed, store)
    return WarehousePatients(listed, may.objecting, may.unstated, may.unclear, tuple(remarks))


def _require_columns(store: TableStore, rules: Rules) -> None:
    """Refuse a source that lacks a table or a column that the rules name: its rows would be missing in silence."""
    objection, patients = rules.objection, rules.patient
    named: list[tuple[str, tuple[str, ...]]] = [(patients.table, (patients.patient, patients.name))]
    if objection.table:
        named.append((objection.table, (objection.patient, objection.column, *objection.where)))
    named += [
        (one.name, (one.patient, *one.codes, *one.value, one.unit, one.upper_limit, *one.where)) for one in rules.tables
    ]
    for table, columns in named:
        there = store.columns(table)
        for column in filter(None, columns):
            if column.casefold() not in there:
                raise no_column(table, column)
    for one in rules.tables:
        there = store.columns(one.name)
        for column in one.day:
            year = f"{column}{_DATE_PARTS[0]}".casefold()
            if column.casefold() not in there and (len(one.day) > 1 or year not in there):
                raise no_column(one.name, column)


def _permission(store: TableStore, rules: Rules) -> Permission:
    """Who may be read. Of the others no more than their key and the objection is looked at."""
    rule, patients = rules.objection, rules.patient
    keys = (row[patients.patient.casefold()] for _, row in store.rows(patients.table, only=(patients.patient,)))
    listed = frozenset(map(patient_key, keys))
    if not rule.table:
        return Permission(listed, remarks=(Message("Objection: no table is named in [objection]; everybody is read."),))
    stated = _statements(store, rule)
    if not stated:
        raise WarehouseError(
            found=Message(
                "[objection] selects no row of table {table}: nobody would be known to object.", table=rule.table
            ),
            needed=Message("Rows that state for each patient whether he or she objects."),
            advice=Message(
                'Write table and “where” of [objection] as the warehouse does; table = "" where it holds nobody who'
                " objects."
            ),
        )
    refusing = {one for one, values in stated.items() if any(_fits(value, rule.refuses) for value in values)}
    accepting = {one for one, values in stated.items() if all(_fits(value, rule.accepts) for value in values)}
    unclear = set(stated) - refusing - accepting
    return permission(listed, refusing, accepting, unclear, keep=rule.unstated == "keep")


def _statements(store: TableStore, rule: ObjectionRule) -> dict[str, list[str]]:
    """What is stated by key; an empty cell states nothing."""
    stated: dict[str, list[str]] = defaultdict(list)
    for _, row in store.rows(rule.table, only=(rule.patient, rule.column, *rule.where)):
        if _selected(row, rule.where) and (said := _text(row, rule.column)):
            stated[patient_key(row[rule.patient.casefold()])].append(said)
    return stated


def _event(mapping: TableMapping, row_id: str, row: Row) -> Event | None:
    """The event of a row; None where it is of no concern or names no code."""
    if not _selected(row, mapping.where):
        return None
    codes = [code for column in mapping.codes if (code := _code(row, column))]
    codes += [mapping.code] if mapping.code else []
    if mapping.codes and not codes:
        return None
    day, estimated, unreadable = _day(mapping.day, row)
    return Event(
        kind=mapping.kind,
        origin=Origin(mapping.name, row_id),
        day=day,
        codes=tuple(codes),
        value=_value(mapping.value, row),
        unit=_text(row, mapping.unit),
        upper_limit=read_number(row.get(mapping.upper_limit.casefold())) if mapping.upper_limit else None,
        estimated=estimated,
        unreadable=unreadable,
    )


def _selected(row: Row, where: Mapping[str, tuple[str, ...]]) -> bool:
    return all(_fits(_text(row, column), patterns) for column, patterns in where.items())


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value.strip().casefold(), one.casefold()) for one in patterns)


def _text(row: Row, column: str) -> str:
    value = row.get(column.casefold()) if column else None
    return "" if value is None else str(value).strip()


def _code(row: Row, column: str) -> str:
    text = _text(row, column)
    if not column.casefold().endswith("concept_id"):
        return text
    return "" if text in {"", "0"} else f"{_CONCEPT}{text}"


def _value(columns: Iterable[str], row: Row) -> str | float | None:
    for column in columns:
        text = _code(row, column)
        if text:
            raw = row.get(column.casefold())
            return float(raw) if isinstance(raw, int | float) and not text.startswith(_CONCEPT) else text
    return None


def _day(columns: tuple[str, ...], row: Row) -> tuple[date | None, bool, bool]:
    """The date of one column, of its three parts, or of three columns; whether it is estimated, whether unreadable."""
    written = [row.get(column.casefold()) for column in columns]
    if len(columns) == 1 and not _text(row, columns[0]):
        written = [row.get(f"{columns[0]}{part}".casefold()) for part in _DATE_PARTS]
    if not any(written):
        return None, False, False
    day, estimated = read_day(*written)
    return day, estimated, is_unreadable(day, *written)


def _look_up_concepts(histories: Collection[History], store: TableStore) -> None:
    """Give the identifiers of OMOP their codes, and drugs the ATC classes above them."""
    named = {
        text.removeprefix(_CONCEPT)
        for history in histories
        for event in history.events
        for text in (*event.codes, event.value)
        if isinstance(text, str) and text.startswith(_CONCEPT)
    }
    if not named:
        return
    codes = _concept_codes(store, named)
    for history in histories:
        history.events = [_with_codes(event, codes) for event in history.events]


def _concept_codes(store: TableStore, named: Collection[str]) -> dict[str, list[str]]:
    """Codes by identifier: its own, then those of its ancestors of ATC."""
    codes: dict[str, list[str]] = defaultdict(list)
    if store.has("concept"):
        for _, row in store.rows("concept", "concept_id", named, ("concept_id", "concept_code")):
            codes[str(row["concept_id"])].append(str(row["concept_code"]))
    if not (store.has("concept_ancestor") and store.has("concept")):
        return codes
    columns = ("descendant_concept_id", "ancestor_concept_id")
    above = [
        (str(row[columns[0]]), str(row[columns[1]]))
        for _, row in store.rows("concept_ancestor", columns[0], named, columns)
    ]
    ancestors = {ancestor for _, ancestor in above} - set(named)
    wanted = ("concept_id", "concept_code", "vocabulary_id")
    classes = {
        str(row["concept_id"]): str(row["concept_code"])
        for _, row in store.rows("concept", "concept_id", ancestors, wanted)
        if str(row["vocabulary_id"]).casefold() == "atc"
    }
    for descendant, ancestor in above:
        if ancestor in classes:
            codes[descendant].append(classes[ancestor])
    return codes


def _with_codes(event: Event, codes: Mapping[str, list[str]]) -> Event:
    found = tuple(_resolved(event.codes, codes))
    value = event.value
    if isinstance(value, str) and value.startswith(_CONCEPT):
        value = next(_resolved((value,), codes))
    return replace(event, codes=found, value=value)


def _resolved(written: Iterable[str], codes: Mapping[str, list[str]]) -> Iterator[str]:
    for one in written:
        identifier = one.removeprefix(_CONCEPT)
        if one.startswith(_CONCEPT) and codes.get(identifier):
            yield from codes[identifier]
        else:
            yield identifier
