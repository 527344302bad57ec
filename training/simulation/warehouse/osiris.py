"""Stories as tables of OSIRIS-RWD (minimum data set 2025-2).

Names are those of the guide; dates are YYYY/MM/DD or in three columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from training.simulation.warehouse.story import Measure, Story

    Tables = dict[str, list[dict[str, Any]]]

_TOPOGRAPHY: Final[Mapping[str, str]] = {
    "node": "C77.2", "lung": "C34.9", "liver": "C22.0", "bone": "C41.2", "adrenal": "C74.9", "brain": "C71.9",
    "pleura": "C38.4",
}  # fmt: skip
_STATES: Final[Mapping[str, str]] = {"ecog_ps": "PS", "poids_kg": "Poids", "taille_cm": "Taille"}
_BIOMARKERS: Final[Mapping[str, str]] = {
    "pdl1_tps": "PD-L1", "tmb_mut_mb": "TMB", "egfr": "EGFR", "alk": "ALK", "ros1": "ROS1",
}  # fmt: skip
_OBSERVATIONS: Final = ("tabagisme", "paquets_annees", "epanchement_pleural", "corticoides", "antibiotiques")


def osiris_tables(stories: Sequence[Story]) -> Tables:
    """Rows by table, every table with its columns also where it is empty of some."""
    tables: Tables = {}
    for story in stories:
        for table, rows in _of(story).items():
            tables.setdefault(table, []).extend({"PatientId": story.patient_id, **row} for row in rows)
    return tables


def _of(story: Story) -> Tables:
    dead = story.death is not None
    return {
        "Patient": [{"PatientBirthDate": _day(story.birth), "PatientGender": story.sex, "PatientOriginCenterId": "0"}],
        "Information": [{"Information": "OUI", "NonOpposition": "NON" if story.objects else "OUI"}],
        "VitalStatus": [
            {
                "DeathStatus": int(dead),
                "DeathStatusLastVisit": _day(story.contacts[0]),
                "DeathStatusLastContact": _day(story.contacts[-1]),
                "DeathDate": _day(story.death) if story.death else None,
            }
        ],
        "PrimaryCancer": [
            {
                "CancerOrder": 1,
                **_parts("CancerDiagnosticDate", story.diagnosis),
                "CancerDiagnosisTopographyCode": "C34.1",
                "CancerDiagnosisMorphologyCode": story.morphology,
            }
        ],
        "TumorEvent": [
            {
                "TumEventType": "metastasis",
                "MetastasisTopographyCode": _TOPOGRAPHY[organ],
                **_parts("MetastasisDiscoveryDate", day),
            }
            for day, organ in story.metastases
        ],
        "Medication": [
            {"DrugCode": code, "DrugName": name, **_parts("DrugDate", day), "ClinicalTrial": "NON"}
            for day, code, name in story.drugs
        ],
        "Progression": [{"Progression": "Yes", "ProgressionDate": _day(day)} for day in story.progressions],
        "Imaging": [
            {"ImagingDate": _day(day), "ImagingModality": modality, "StudyId": study}
            for day, modality, study in story.studies
        ],
        **_measured(story.measures),
    }


def _measured(measures: Sequence[Measure]) -> Tables:
    """States, biomarkers, observations and laboratory values; a limit of normal is a row of its own."""
    tables: Tables = {"PatientState": [], "Biomarker": [], "Observation": [], "Measure": []}
    for one in measures:
        if one.name in _STATES:
            tables["PatientState"].append(_measure(one, _STATES[one.name]))
        elif one.name in _BIOMARKERS:
            number = one.value if isinstance(one.value, float) else None
            text = None if isinstance(one.value, float) else one.value
            tables["Biomarker"].append(
                {
                    "BiomarkerName": _BIOMARKERS[one.name],
                    "BiomarkerDate": _day(one.day),
                    "BiomarkerValueNum": number,
                    "BiomarkerValueTxt": text,
                    "BiomarkerUnit": one.unit or None,
                }
            )
        elif one.name in _OBSERVATIONS:
            row = {"ObservationType": one.name.upper(), "ObservationDate": _day(one.day)}
            tables["Observation"].append({**row, "ObservationValue": str(one.value)})
        else:
            tables["Measure"] += [_measure(one, one.name.upper())] if one.value is not None else []
            if one.upper_limit is not None:
                limit = {"MeasureType": f"{one.name.upper()}_LSN", "MeasureValue": f"{one.upper_limit:g}"}
                tables["Measure"].append({**_measure(one, ""), **limit})
    return tables


def _measure(one: Measure, name: str) -> dict[str, Any]:
    value = "" if one.value is None else f"{one.value:g}" if isinstance(one.value, float) else one.value
    return {
        "MeasureType": name,
        "MeasureValue": value,
        "MeasureUnit": one.unit or None,
        **_parts("MeasureDate", one.day),
    }


def _day(day: date) -> str:
    return f"{day:%Y/%m/%d}"


def _parts(name: str, day: date) -> dict[str, int]:
    return {f"{name}Year": day.year, f"{name}Month": day.month, f"{name}Day": day.day}
