"""Stories as FHIR R4 resources, in the profiles of mCODE where there is one."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from training.simulation.warehouse.story import Measure, Story

    Resource = dict[str, Any]

_MCODE: Final = "http://hl7.org/fhir/us/mcode/StructureDefinition"
_LOINC: Final = "http://loinc.org"
_ATC: Final = "http://www.whocc.no/atc"
_ICDO: Final = "http://terminology.hl7.org/CodeSystem/icd-o-3"
_SNOMED: Final = "http://snomed.info/sct"
_UCUM: Final = "http://unitsofmeasure.org"
_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "ecog_ps": (_LOINC, "89247-1"), "poids_kg": (_LOINC, "29463-7"), "taille_cm": (_LOINC, "8302-2"),
    "pdl1_tps": (_LOINC, "85147-7"), "ldh": (_LOINC, "14804-9"), "leucocytes": (_LOINC, "6690-2"),
    "neutrophiles": (_LOINC, "751-8"), "lymphocytes": (_LOINC, "731-0"), "plaquettes": (_LOINC, "777-3"),
    "hemoglobine": (_LOINC, "718-7"), "albumine": (_LOINC, "1751-7"), "crp": (_LOINC, "1988-5"),
    "glycemie": (_LOINC, "15074-8"), "tmb_mut_mb": (_LOINC, "94076-7"),
    "egfr": (_LOINC, "21639-1"), "alk": (_LOINC, "78210-2"),
    "ros1": (_LOINC, "81704-9"), "tabagisme": (_LOINC, "72166-2"), "paquets_annees": (_LOINC, "8664-5"),
    "epanchement_pleural": (_SNOMED, "60046008"), "corticoides": (_SNOMED, "79440004"),
    "antibiotiques": (_SNOMED, "281789004"),
}  # fmt: skip
_ANSWERS: Final[Mapping[str, str]] = {
    "oui": "373066001", "non": "373067005", "jamais": "266919005", "sevre": "8517006", "actif": "449868002",
    "positif": "10828004", "négatif": "260385009",
}  # fmt: skip
_SITES: Final[Mapping[str, str]] = {
    "node": "C77.2", "lung": "C34.9", "liver": "C22.0", "bone": "C41.2", "adrenal": "C74.9", "brain": "C71.9",
    "pleura": "C38.4",
}  # fmt: skip
_SEXES: Final[Mapping[str, str]] = {"M": "male", "F": "female"}


def fhir_resources(stories: Sequence[Story]) -> Iterator[Resource]:
    """The resources of all patients."""
    for story in stories:
        numbers = count(1)
        for resource in _of(story):
            subject: Resource = {}
            if resource["resourceType"] != "Patient":
                key = "patient" if resource["resourceType"] == "Consent" else "subject"
                subject = {
                    key: {"reference": f"Patient/{story.patient_id}"},
                    "id": f"{story.patient_id}-{next(numbers)}",
                }
            yield {**resource, **subject}


def _of(story: Story) -> Iterator[Resource]:
    person = {"id": story.patient_id, "birthDate": story.birth.isoformat(), "gender": _SEXES[story.sex]}
    dead = {"deceasedDateTime": story.death.isoformat()} if story.death else {}
    yield {"resourceType": "Patient", **person, **dead}
    yield {
        "resourceType": "Consent",
        "status": "active",
        "scope": _concept("http://terminology.hl7.org/CodeSystem/consentscope", "research"),
        "category": [_concept(_LOINC, "59284-0")],
        "policyRule": _concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
        "provision": {"type": "deny" if story.objects else "permit"},
    }
    yield _primary(story)
    for day, organ in story.metastases:
        yield {
            "resourceType": "Condition",
            "meta": {"profile": [f"{_MCODE}/mcode-secondary-cancer-condition"]},
            "code": _concept(_SNOMED, "128462008"),
            "bodySite": [_concept(_ICDO, _SITES[organ])],
            "onsetDateTime": day.isoformat(),
        }
    for day, code, name in story.drugs:
        yield {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": {**_concept(_ATC, code), "text": name},
            "effectiveDateTime": f"{day.isoformat()}T09:00:00+01:00",
        }
    yield from map(_observation, story.measures)
    for day in story.progressions:
        yield {
            "resourceType": "Observation",
            "status": "final",
            "code": _concept(_LOINC, "97509-4"),
            "effectiveDateTime": day.isoformat(),
            "valueCodeableConcept": _concept(_SNOMED, "271299001"),
        }
    yield from _encounters_and_studies(story)


def _primary(story: Story) -> Resource:
    return {
        "resourceType": "Condition",
        "meta": {"profile": [f"{_MCODE}/mcode-primary-cancer-condition"]},
        "code": _concept(_SNOMED, "254637007"),
        "bodySite": [_concept(_ICDO, "C34.1")],
        "onsetDateTime": story.diagnosis.isoformat(),
        "extension": [
            {
                "url": f"{_MCODE}/mcode-histology-morphology-behavior",
                "valueCodeableConcept": _concept(_ICDO, story.morphology),
            }
        ],
    }


def _observation(one: Measure) -> Resource:
    system, code = _CODES[one.name]
    resource: Resource = {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(system, code),
        "effectiveDateTime": one.day.isoformat(),
    }
    unit = {"unit": one.unit, "system": _UCUM} if one.unit else {}
    if isinstance(one.value, float):
        resource["valueQuantity"] = {"value": one.value, **unit}
    elif isinstance(one.value, str):
        resource["valueCodeableConcept"] = _concept(_SNOMED, _ANSWERS[one.value])
    else:
        system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
        resource["dataAbsentReason"] = _concept(system, "error")
    if one.upper_limit is not None:
        resource["referenceRange"] = [{"high": {"value": one.upper_limit, **unit}}]
    return resource


def _encounters_and_studies(story: Story) -> Iterator[Resource]:
    for day in story.contacts:
        period = {"start": day.isoformat(), "end": day.isoformat()}
        coding = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
        yield {"resourceType": "Encounter", "status": "finished", "class": coding, "period": period}
    for day, modality, study in story.studies:
        yield {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [
                {"system": "urn:dicom:uid", "value": f"urn:oid:2.25.{abs(day.toordinal())}"},
                {"system": "urn:study-id", "value": study},
            ],
            "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality}],
            "started": day.isoformat(),
        }


def _concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}
