"""What a warehouse knows of a synthetic patient, before it takes a form: what the table holds, and more.

Beside the value that the study's table holds stand others that a rule must not take: measurements after the first dose
or long before it, a second progression, a metastasis and a PET under treatment, later doses. Some further patients
object.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal

from training.simulation.cohort import table_row
from training.simulation.patients.metastases import metastatic_organs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from training.simulation.patients.population import Patient

MORPHOLOGY: Final[Mapping[str, str]] = {
    "adenocarcinome": "8140/3",
    "epidermoide": "8070/3",
    "indifferencie": "8020/3",
    "autre": "8430/3",
}
ICI_CODES: Final[Mapping[str, str]] = {
    "nivolumab": "L01FF01",
    "pembrolizumab": "L01FF02",
    "atezolizumab": "L01FF05",
}
FIRST_LINE: Final = (("L01XA02", "carboplatine"), ("L01BA04", "pemetrexed"))
# Unit that the warehouse keeps, by column; another one than the record's where a factor is to be applied.
UNITS: Final[Mapping[str, str]] = {
    "taille_cm": "cm", "poids_kg": "kg", "pdl1_tps": "%", "ldh": "U/L", "leucocytes": "G/L", "neutrophiles": "G/L",
    "lymphocytes": "G/L", "plaquettes": "G/L", "hemoglobine": "g/L", "albumine": "g/L", "crp": "mg/L",
    "glycemie": "mmol/L", "tmb_mut_mb": "mut/Mb",
}  # fmt: skip
_FACTORS: Final[Mapping[str, float]] = {"hemoglobine": 10.0}  # g/dL of the record to g/L of the warehouse
WORDS: Final = ("tabagisme", "epanchement_pleural", "corticoides", "antibiotiques")
_NUMBERS: Final = (*UNITS, "ecog_ps", "paquets_annees")
_BEFORE_DAYS: Final = 3  # of the measurement that counts, before the first dose


@dataclass(frozen=True)
class Measure:
    """A measurement or observation; `name` is the column of the study's table, or egfr, alk, ros1."""

    day: date
    name: str
    value: float | str | None
    unit: str = ""
    upper_limit: float | None = None


@dataclass(frozen=True)
class Story:
    """One patient of the warehouse.

    Attributes:
        patient_id: of the patient.
        objects: refuses research.
        birth, sex, death: of the person.
        contacts: visits.
        diagnosis, morphology: of the primary tumour, in the upper lobe.
        metastases: day and organ.
        drugs: day, ATC code, name.
        measures: see `Measure`.
        progressions: days.
        studies: day, modality, Study ID.
    """

    patient_id: str
    objects: bool
    birth: date
    sex: Literal["F", "M"]
    death: date | None
    contacts: tuple[date, ...]
    diagnosis: date
    morphology: str
    metastases: tuple[tuple[date, str], ...]
    drugs: tuple[tuple[date, str, str], ...]
    measures: tuple[Measure, ...]
    progressions: tuple[date, ...]
    studies: tuple[tuple[date, str, str], ...]


def stories_of(patients: Sequence[Patient], *, signal: float, objecting: Sequence[Patient] = ()) -> list[Story]:
    """The stories of patients, and of some more who object."""
    told = [_story(patient, signal=signal, objects=False) for patient in patients]
    return told + [_story(patient, signal=signal, objects=True) for patient in objecting]


def _story(patient: Patient, *, signal: float, objects: bool) -> Story:
    row = table_row(patient, signal=signal)
    start, pet = date.fromisoformat(row["date_debut_ici"]), date.fromisoformat(row["date_tep"])
    last = date.fromisoformat(row["date_dernieres_nouvelles"])
    progression = [date.fromisoformat(row["date_progression"])] if row["date_progression"] else []
    death = date.fromisoformat(row["date_deces"]) if row["date_deces"] else None
    later = [day for day in (one + timedelta(90) for one in progression) if day < last]
    followed = start + timedelta(60)
    studies = [(pet, "PT", row["id_examen_tep"]), (pet - timedelta(200), "PT", "EARLIER"), (pet, "CT", "OTHER")]
    if followed < last:
        studies.append((followed, "PT", "UNDER-TREATMENT"))
    return Story(
        patient_id=row["patient_id"],
        objects=objects,
        birth=start - timedelta(round(float(row["age_immunotherapie"]) * 365.25)),
        sex="F" if row["sexe"] == "F" else "M",
        death=death,
        contacts=(start, last),
        diagnosis=start - timedelta(400),
        morphology=MORPHOLOGY[row["histologie"]],
        metastases=tuple(_metastases(patient, start, last)),
        drugs=tuple(_drugs(row, start, last)),
        measures=tuple(_measures(row, start, pet, last)),
        progressions=(*progression, *later, *((start - timedelta(150),) if row["ligne"] != "1" else ())),
        studies=tuple(studies),
    )


def _metastases(patient: Patient, start: date, last: date) -> Iterator[tuple[date, str]]:
    organs = sorted(metastatic_organs(patient.lesions))
    for organ in organs:
        yield start - timedelta(40), organ
    under_treatment = start + timedelta(45)
    if under_treatment < last:
        yield under_treatment, next(one for one in ("brain", "liver", "bone", "adrenal", "pleura") if one not in organs)


def _drugs(row: Mapping[str, str], start: date, last: date) -> Iterator[tuple[date, str, str]]:
    """Doses of the immunotherapy every 21 days, and before a second line four of a doublet and of its maintenance."""
    for cycle in range(4):
        if (day := start + timedelta(21 * cycle)) <= last:
            yield day, ICI_CODES[row["molecule"]], row["molecule"]
    if row["ligne"] != "1":
        for cycle in range(6):
            day = start - timedelta(240) + timedelta(21 * cycle)
            for code, name in FIRST_LINE if cycle < 4 else FIRST_LINE[1:]:
                yield day, code, name


def _measures(row: Mapping[str, str], start: date, pet: date, last: date) -> Iterator[Measure]:
    limit = float(row["ldh_lsn"]) if row["ldh_lsn"] else None
    before = start - timedelta(_BEFORE_DAYS)
    for name in _NUMBERS:
        value = float(row[name]) * _FACTORS.get(name, 1.0) if row[name] else None
        upper = limit if name == "ldh" else None
        day = pet if name == "glycemie" else before
        if value is not None or upper is not None:
            yield Measure(day, name, None if value is None else float(f"{value:.6g}"), UNITS.get(name, ""), upper)
        if value is not None and (after := start + timedelta(20)) <= last:
            yield Measure(
                after, name, 2.0 if name == "ecog_ps" else float(f"{value * 1.1:.4g}"), UNITS.get(name, ""), upper
            )
        if value is not None and name not in {"taille_cm", "paquets_annees", "glycemie"}:
            yield Measure(before - timedelta(20), name, 0.0 if name == "ecog_ps" else 1.0, UNITS.get(name, ""), upper)
    for name in WORDS:
        if row[name]:
            yield Measure(before, name, row[name])
    for gene in () if row["egfr_alk_ros1"] == "inconnu" else ("egfr", "alk", "ros1"):
        yield Measure(start - timedelta(30), gene, "positif" if row["egfr_alk_ros1"] == "oui" else "négatif")
