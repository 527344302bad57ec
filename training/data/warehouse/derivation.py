"""From a patient's history to the row of the study's table, each value with where it came from.

Every function applies one rule of `training.data.warehouse.rules`. What the warehouse does not state is missing: an
absent row is never a “no”.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from fedpet.clinical.value_parsing import read_value
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import RecordError
from fedpet.core.messages import Message
from training.data.warehouse.events import read_number
from training.data.warehouse.rules import FRENCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from training.data.warehouse.events import Event, History, Origin
    from training.data.warehouse.rules import Rules, ValueRule

_DAYS_A_YEAR: Final = 365.25
_DIGITS: Final = 6  # significant digits kept after a conversion of units


@dataclass(frozen=True)
class Derived:
    """One value of the table and its source.

    Attributes:
        value: as `fedpet.clinical.record` has it, or a day; None where it is missing.
        rule: name of the rule in the file.
        origins: rows that it rests on.
        day: of the row, where one decides.
        remark: what a person should know.
    """

    value: object
    rule: str
    origins: tuple[Origin, ...] = ()
    day: date | None = None
    remark: Message | None = None


@dataclass
class DerivedPatient:
    """The row of one patient.

    Attributes:
        patient_id: as the study's table names the patient.
        values: by column.
        contradictions: within the warehouse, by rule.
        left_out: why the patient is not in the table.
        chemotherapy: whether cytotoxic drugs were given beside the first dose.
        study: the PET: day, Study ID and source; None where there is none.
    """

    patient_id: str
    values: dict[str, Derived] = field(default_factory=dict)
    contradictions: list[tuple[str, Message]] = field(default_factory=list)
    left_out: Message | None = None
    chemotherapy: bool = False

    def day(self, column: str) -> date | None:
        """A day of the row."""
        value = self.values[column].value if column in self.values else None
        return value if isinstance(value, date) else None


def derive(history: History, rules: Rules) -> DerivedPatient:
    """Apply all rules to one patient."""
    patient = DerivedPatient(history.patient_id)
    doses = history.of("drug", tuple(rules.first_dose.drugs))
    if not any(one.about(rules.diagnosis.codes) for one in history.events if one.kind == "primary"):
        patient.left_out = Message("No primary tumour of the study.")
        return patient
    if not doses:
        patient.left_out = Message("No dose of the immunotherapies of the rules.")
        return patient
    first = doses[0]
    if first.day is None:
        raise ValueError("dated events were asked for")
    start = first.day
    patient.values["date_debut_ici"] = Derived(start, "first_dose", (first.origin,), start, _estimated(first))
    patient.values["molecule"] = Derived(_named(first, rules.first_dose.drugs), "first_dose", (first.origin,), start)
    _derive_treatment(patient, history, rules, start)
    _derive_person(patient, history, rules, start)
    _derive_disease(patient, history, rules, start)
    _derive_endpoints(patient, history, rules, start)
    pet = patient.day("date_tep")
    for column, rule in rules.variables.items():
        anchor = pet if rule.around == "pet" else start
        patient.values[column] = _nearest(patient, history, column, rule, anchor)
    _require_accepted(patient)
    return patient


def _derive_treatment(patient: DerivedPatient, history: History, rules: Rules, start: date) -> None:
    """Line, chemotherapy beside it, PET before it."""
    first = patient.values["date_debut_ici"].origins
    before = _regimens(history, rules, start)
    recent = [opened for opened, last in before if (start - last).days <= rules.line.before_days]
    patient.values["ligne"] = Derived(1 + len(recent), "line", tuple(one.origin for one in recent) or first)
    origins = tuple(opened.origin for opened, _ in before) or first
    patient.values["lignes_anterieures"] = Derived(len(before), "line", origins)
    window = timedelta(rules.chemotherapy.within_days)
    beside = [one for one in history.of("drug", rules.chemotherapy.codes) if one.day and abs(one.day - start) <= window]
    patient.chemotherapy = bool(beside)
    origins = tuple(one.origin for one in beside) or first
    patient.values["chimiotherapie_associee"] = Derived(bool(beside), "chemotherapy", origins)
    if beside and rules.chemotherapy.patients == "leave_out":
        patient.left_out = Message("Chemotherapy beside the first dose.")
    limit = timedelta(rules.pet.before_days)
    pets = [one for one in history.of("imaging", rules.pet.codes) if one.day and start - limit <= one.day <= start]
    if not pets:
        return
    pet = pets[-1]
    if pet.day is not None:
        patient.values["date_tep"] = Derived(pet.day, "pet", (pet.origin,), pet.day)
        patient.values["delai_tep_ici"] = Derived(float((start - pet.day).days), "pet", (pet.origin,), pet.day)
        patient.values["id_examen_tep"] = Derived(str(pet.value or ""), "pet", (pet.origin,), pet.day)


def _regimens(history: History, rules: Rules, start: date) -> list[tuple[Event, date]]:
    """The first dose of each regimen before the immunotherapy, and the day of its last one."""
    rule = rules.line
    before = [one for one in history.of("drug", rule.codes) if one.day and one.day < start]
    regimens: list[tuple[Event, set[str], date]] = []  # first dose, drugs, last dose
    for drug in before:
        day = drug.day or start
        name = drug.codes[0]
        if regimens:
            opened, names, _ = regimens[-1]
            if name in names or (day - (opened.day or day)).days <= rule.same_regimen_days:
                names.add(name)
                regimens[-1] = (opened, names, day)
                continue
        regimens.append((drug, {name}, day))
    return [(opened, last) for opened, _, last in regimens]


def _derive_person(patient: DerivedPatient, history: History, rules: Rules, start: date) -> None:
    births = [one for one in history.events if one.kind == "birth" and one.day is not None]
    if len({one.day for one in births}) > 1:
        patient.contradictions.append(("age", Message("Several birth dates.")))
    elif births and (born := births[0].day) is not None:
        years = round((start - born).days / _DAYS_A_YEAR, 1)
        patient.values["age_immunotherapie"] = Derived(years, "age", (births[0].origin,), None, _estimated(births[0]))
    sexes = [one for one in history.events if one.kind == "sex"]
    said = {value for one in sexes if (value := _mapped(str(one.value), rules.sex.values))}
    if len(said) > 1:
        patient.contradictions.append(("sex", Message("Both sexes.")))
    elif said:
        patient.values["sexe"] = Derived(said.pop(), "sex", (sexes[0].origin,))


def _derive_disease(patient: DerivedPatient, history: History, rules: Rules, start: date) -> None:
    """Histology, metastatic sites, driver alteration."""
    primaries = [one for one in history.events if one.kind == "primary" and one.about(rules.diagnosis.codes)]
    found = {
        (value, one) for one in primaries for code in one.codes if (value := _mapped(code, rules.histology.values))
    }
    if len({value for value, _ in found}) > 1:
        patient.contradictions.append(("histology", Message("Primary tumours of different histology.")))
    elif found:
        value, one = next(iter(found))
        patient.values["histologie"] = Derived(value, "histology", (one.origin,), one.day)
    _derive_metastases(patient, history, rules, start)
    _derive_driver(patient, history, rules, start)


def _derive_metastases(patient: DerivedPatient, history: History, rules: Rules, start: date) -> None:
    rule = rules.metastases
    limit = start + timedelta(rule.after_days)
    before = [one for one in history.of("metastasis") if one.day and one.day <= limit]
    undated = any(one.kind == "metastasis" and one.day is None for one in history.events)
    remark = Message("A metastasis without a date was not counted.") if undated else None
    if not before:
        return
    organs: dict[str, list[Event]] = {}
    for one in before:
        organ = next((name for name, codes in rule.organs.items() if one.about(codes)), one.codes[0][:3])
        organs.setdefault(organ, []).append(one)
    everything = tuple(one.origin for one in before)
    patient.values["nb_sites_meta"] = Derived(len(organs), "metastases", everything, before[0].day, remark)
    for column, organ in rule.flags.items():
        there = organs.get(organ, [])
        origins = tuple(one.origin for one in there) or everything
        patient.values[column] = Derived(bool(there), "metastases", origins, there[0].day if there else None, remark)


def _derive_driver(patient: DerivedPatient, history: History, rules: Rules, start: date) -> None:
    rule = rules.driver
    tested = [one for one in history.of("measure", rule.codes) if one.day and one.day <= start]
    altered = [one for one in tested if _fits(str(one.value), rule.altered)]
    wild = [one for one in tested if _fits(str(one.value), rule.wild)]
    used = altered or wild
    value = "yes" if altered else "no" if wild else "unknown"
    patient.values["egfr_alk_ros1"] = Derived(value, "driver", tuple(one.origin for one in used))


def _derive_endpoints(patient: DerivedPatient, history: History, rules: Rules, start: date) -> None:
    """Progression, death and last news, of PFS and OS."""
    deaths = history.of("death")
    if len({one.day for one in deaths}) > 1:
        patient.contradictions.append(("death", Message("Several days of death.")))
    death = deaths[0] if deaths else None
    if death is not None and death.day is not None:
        patient.values["date_deces"] = Derived(death.day, "death", (death.origin,), death.day, _estimated(death))
        if death.day < start:
            patient.contradictions.append(("death", Message("Death before the first dose.")))
    rule = rules.progression
    stated = [one for one in history.of("measure", rule.codes) if _fits(str(one.value), rule.values)]
    after = [one for one in stated if one.day and one.day > start]
    if after:
        one = after[0]
        patient.values["date_progression"] = Derived(one.day, "progression", (one.origin,), one.day, _estimated(one))
        if death is not None and one.day and death.day and one.day > death.day:
            patient.contradictions.append(("progression", Message("Progression after death.")))
    kinds = ("news", "imaging", "drug", "measure", "death")
    seen = [one for kind in kinds for one in history.of(kind)]  # type: ignore[arg-type]  # mypy widens the literals
    last = max(seen, key=lambda one: one.day or date.min)
    today = datetime.now(UTC).date()
    if any(one.day and one.day > today for one in seen):
        patient.contradictions.append(("last_news", Message("A row is dated in the future.")))
    if death is not None and death.day and last.day and last.day > death.day:
        patient.contradictions.append(("last_news", Message("A row is dated after death.")))
        last = death
    patient.values["date_dernieres_nouvelles"] = Derived(last.day, "last_news", (last.origin,), last.day)


def _nearest(patient: DerivedPatient, history: History, column: str, rule: ValueRule, anchor: date | None) -> Derived:
    """The value nearest before a day, within the window."""
    name = f"variables.{column}"
    if anchor is None:
        return Derived(None, name, remark=Message("No PET before the first dose."))
    low, high = anchor - timedelta(rule.before_days), anchor + timedelta(rule.after_days)
    inside = [one for one in history.of("measure", rule.codes) if one.day and low <= one.day <= high]
    read = [(one, value) for one in inside if (value := _read(one, rule)) is not None]
    if not read:
        remark = Message("Rows of another unit or value: {written}.", written=_written(inside[-1])) if inside else None
        return Derived(None, name, remark=remark if _stated(inside) else None)
    nearest = min(abs(((one.day or anchor) - anchor).days) for one, _ in read)
    same = [(one, value) for one, value in read if abs(((one.day or anchor) - anchor).days) == nearest]
    if len({value for _, value in same}) > 1:
        patient.contradictions.append((name, Message("Different values on {day}.", day=str(same[0][0].day))))
    chosen, value = max(same, key=lambda pair: read_number(pair[1]) or 0.0) if rule.same_day == "largest" else same[0]
    return Derived(value, name, (chosen.origin,), chosen.day, _estimated(chosen))


def _read(event: Event, rule: ValueRule) -> str | float | None:
    """The value of a row in the record's unit or words; None where it states none."""
    if rule.limit:
        return event.upper_limit
    if rule.values:
        whole = read_number(event.value)
        text = str(int(whole)) if whole is not None and whole.is_integer() else str(event.value or "")
        return _mapped(text, rule.values) or None
    number = read_number(event.value)
    if number is None or not rule.units:
        return number
    factor = next((factor for unit, factor in rule.units.items() if unit.casefold() == event.unit.casefold()), None)
    return None if factor is None else float(f"{number * factor:.{_DIGITS}g}")


def _stated(events: Sequence[Event]) -> bool:
    return any(one.value is not None for one in events)


def _written(event: Event) -> str:
    return f"{event.value} {event.unit}".strip()[:40]


def _require_accepted(patient: DerivedPatient) -> None:
    """Values as the record has them; what it would refuse is left empty, and said."""
    for column, derived in list(patient.values.items()):
        name = FRENCH.get(column)
        if name is None or derived.value is None:
            continue
        try:
            value: object = read_value(VARIABLES[name], derived.value)
        except RecordError as refused:
            patient.contradictions.append((derived.rule, refused.found))
            value = None
        patient.values[column] = Derived(value, derived.rule, derived.origins, derived.day, derived.remark)


def _named(event: Event, names: Mapping[str, str]) -> str:
    return next((name for pattern, name in names.items() if event.about((pattern,))), "")


def _mapped(text: str, values: Mapping[str, str]) -> str:
    return next((value for pattern, value in values.items() if _fits(text, (pattern,))), "")


def _fits(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text.strip().casefold(), one.casefold()) for one in patterns)


def _estimated(event: Event) -> Message | None:
    return Message("The warehouse keeps no day: the middle was taken.") if event.estimated else None
