"""A study as JSON-able values, for `fedpet inspect` and other programs. Reasons are said in one language."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedpet.errors import StudyRefused
    from fedpet.messages import Message
    from imaging.study import PetFacts, SeriesFacts, Study
    from imaging.volume import Volume

    Speak = Callable[[Message], str]


def study_report(study: Study, ct_description: str, speak: Speak) -> dict[str, Any]:
    """Series, PET, CT, checks and corrections of a study."""
    ct = None if study.ct is None else {"geometry": geometry_report(study.ct), "description": ct_description}
    return {
        "series": [series_report(facts, speak) for facts in study.series],
        "pet": facts_report(study.pet_facts) | {"unit": study.pet.unit, "geometry": geometry_report(study.pet)},
        "ct": ct,
        "checks": [
            {"name": check.name, "level": check.level.value, "reason": speak(check.reason)} for check in study.checks
        ],
        "corrections": [_plain(asdict(one)) for one in study.corrections],
        "pseudonym": study.pseudonym,
        "study_date": study.study_date,
    }


def series_report(facts: SeriesFacts, speak: Speak) -> dict[str, Any]:
    """One line of the table of series."""
    return {
        "id": facts.id,
        "modality": facts.modality,
        "description": facts.description,
        "instances": facts.instances,
        "shape": facts.shape and list(facts.shape),
        "spacing_mm": facts.spacing and list(facts.spacing),
        "chosen": facts.chosen,
        "reason": speak(facts.reason),
    }


def facts_report(facts: PetFacts) -> dict[str, Any]:
    """What the SUV rests on; times as ISO 8601 on the scanner's clock."""
    return _plain(asdict(facts)) | {"corrected_image": list(facts.corrected_image)}


def refusal_report(refusal: StudyRefused, speak: Speak) -> dict[str, str]:
    """The three sentences of a refusal, with its kind: the name of its class in `fedpet.errors`."""
    sentences = {"found": refusal.found, "needed": refusal.needed, "advice": refusal.advice}
    return {"kind": type(refusal).__name__} | {name: speak(sentence) for name, sentence in sentences.items()}


def geometry_report(volume: Volume) -> dict[str, Any]:
    """Shape (slices, rows, columns), spacing along (column, row, slice) and the place in the patient, mm."""
    return {
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing),
        "origin_mm": [float(value) for value in volume.affine[:3, 3]],
        "affine": volume.affine.tolist(),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}
