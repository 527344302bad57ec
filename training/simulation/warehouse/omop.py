"""Stories as tables of the OMOP CDM 5.4.

Concepts are of the range for local ones (above two billion) and bear codes of LOINC, RxNorm and ATC; drugs find their
ATC class through `concept_ancestor`, as with the vocabularies of OHDSI.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from training.simulation.warehouse.story import Measure, Story

    Tables = dict[str, list[dict[str, Any]]]

_LOCAL: Final = 2_000_000_000
_LOINC: Final[Mapping[str, str]] = {
    "ecog_ps": "89247-1", "poids_kg": "29463-7", "taille_cm": "8302-2", "pdl1_tps": "85147-7", "ldh": "14804-9",
    "leucocytes": "6690-2", "neutrophiles": "751-8", "lymphocytes": "731-0", "plaquettes": "777-3",
    "hemoglobine": "718-7", "albumine": "1751-7", "crp": "1988-5", "glycemie": "15074-8", "tmb_mut_mb": "94076-7",
    "egfr": "21639-1", "alk": "78210-2", "ros1": "81704-9", "tabagisme": "72166-2", "paquets_annees": "8664-5",
    "progression": "97509-4",
}  # fmt: skip
_DRUGS: Final = ("L01FF01", "L01FF02", "L01FF05", "L01XA02", "L01BA04")
_CONCEPTS: Final[Mapping[str, int]] = {code: _LOCAL + number for number, code in enumerate(_LOINC.values(), start=1)}
_INGREDIENTS: Final[Mapping[str, int]] = {code: _LOCAL + 1000 + number for number, code in enumerate(_DRUGS)}
_CLASSES: Final[Mapping[str, int]] = {code: _LOCAL + 2000 + number for number, code in enumerate(_DRUGS)}
_METASTASES: Final[Mapping[str, str]] = {
    "node": "C77.2", "lung": "C78.0", "liver": "C78.7", "bone": "C79.5", "adrenal": "C79.7", "brain": "C79.3",
    "pleura": "C78.2",
}  # fmt: skip
_OBSERVED: Final = ("tabagisme", "paquets_annees", "epanchement_pleural", "corticoides", "antibiotiques")
_GENDERS: Final[Mapping[str, int]] = {"M": 8507, "F": 8532}


def omop_tables(stories: Sequence[Story]) -> Tables:
    """Rows by table."""
    tables: Tables = {"concept": list(_concepts()), "concept_ancestor": list(_ancestors())}
    keys = {table: count(1) for table in _KEYS}
    for number, story in enumerate(stories, start=1):
        for table, rows in _of(story).items():
            for row in rows:
                key = {_KEYS[table]: next(keys[table])} if table in _KEYS else {}
                tables.setdefault(table, []).append({**key, "person_id": number, **row})
    return tables


_KEYS: Final[Mapping[str, str]] = {
    "condition_occurrence": "condition_occurrence_id",
    "drug_exposure": "drug_exposure_id",
    "measurement": "measurement_id",
    "observation": "observation_id",
    "visit_occurrence": "visit_occurrence_id",
    "procedure_occurrence": "procedure_occurrence_id",
}


def _of(story: Story) -> Tables:
    birth = story.birth
    return {
        "person": [
            {
                "gender_concept_id": _GENDERS[story.sex],
                "year_of_birth": birth.year,
                "month_of_birth": birth.month,
                "day_of_birth": birth.day,
                "person_source_value": story.patient_id,
                "gender_source_value": None,
            }
        ],
        "death": [{"death_date": story.death}] if story.death else [],
        "visit_occurrence": [{"visit_start_date": day, "visit_end_date": day} for day in story.contacts],
        "condition_occurrence": [
            _condition(story.diagnosis, f"{story.morphology}-C34.1"),
            *(_condition(day, _METASTASES[organ]) for day, organ in story.metastases),
        ],
        "drug_exposure": [
            {
                "drug_concept_id": _INGREDIENTS[code],
                "drug_exposure_start_date": day,
                "drug_source_value": name.upper(),
            }
            for day, code, name in story.drugs
        ],
        "measurement": [
            *(_measurement(one) for one in story.measures if one.name not in _OBSERVED),
        ],
        "observation": [
            *(_observation(one) for one in story.measures if one.name in _OBSERVED),
            *(_progressed(day) for day in story.progressions),
            {**_EMPTY, "observation_date": story.contacts[0], "observation_source_value": "NonOpposition",
             "value_as_string": "NON" if story.objects else "OUI"},
        ],
        "procedure_occurrence": [
            {
                "procedure_concept_id": 0,
                "procedure_date": day,
                "procedure_source_value": study,
                "modifier_source_value": modality,
            }
            for day, modality, study in story.studies
        ],
    }  # fmt: skip


_EMPTY: Final[Mapping[str, Any]] = {
    "observation_concept_id": 0,
    "observation_date": None,
    "value_as_number": None,
    "value_as_string": None,
    "value_as_concept_id": None,
    "observation_source_value": None,
    "unit_source_value": None,
}


def _condition(day: date, code: str) -> dict[str, Any]:
    return {"condition_concept_id": 0, "condition_start_date": day, "condition_source_value": code}


def _measurement(one: Measure) -> dict[str, Any]:
    return {
        "measurement_concept_id": _CONCEPTS[_LOINC[one.name]],
        "measurement_date": one.day,
        "value_as_number": one.value if isinstance(one.value, float) else None,
        "value_source_value": one.value if isinstance(one.value, str) else None,
        "value_as_concept_id": None,
        "unit_source_value": one.unit or None,
        "range_high": one.upper_limit,
        "measurement_source_value": None,
    }


def _observation(one: Measure) -> dict[str, Any]:
    coded = one.name in _LOINC
    return {
        **_EMPTY,
        "observation_concept_id": _CONCEPTS[_LOINC[one.name]] if coded else 0,
        "observation_date": one.day,
        "value_as_number": one.value if isinstance(one.value, float) else None,
        "value_as_string": one.value if isinstance(one.value, str) else None,
        "observation_source_value": None if coded else one.name.upper(),
    }


def _progressed(day: date) -> dict[str, Any]:
    concept = _CONCEPTS[_LOINC["progression"]]
    return {**_EMPTY, "observation_concept_id": concept, "observation_date": day, "value_as_string": "Yes"}


def _concepts() -> Iterator[dict[str, Any]]:
    for code, number in _CONCEPTS.items():
        yield {"concept_id": number, "concept_code": code, "vocabulary_id": "LOINC"}
    for code in _DRUGS:
        yield {"concept_id": _INGREDIENTS[code], "concept_code": f"RX{_INGREDIENTS[code]}", "vocabulary_id": "RxNorm"}
        yield {"concept_id": _CLASSES[code], "concept_code": code, "vocabulary_id": "ATC"}


def _ancestors() -> Iterator[dict[str, Any]]:
    for code in _DRUGS:
        yield {"ancestor_concept_id": _CLASSES[code], "descendant_concept_id": _INGREDIENTS[code]}
