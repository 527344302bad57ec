"""A study as JSON-serialisable values, for `fedpet inspect` and other programs; reasons are in one language."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fedpet.core.errors import StudyError
    from fedpet.core.messages import Message
    from fedpet.imaging.study import PetCtStudy, PetFacts, QualityCheck, SeriesFacts, SuvPath
    from fedpet.imaging.volume import Volume

    Translate = Callable[[Message], str]


def study_to_dict(
    study: PetCtStudy, checks: Sequence[QualityCheck], ct_description: str, translate: Translate
) -> dict[str, Any]:
    """Series, PET, CT, paths to the SUV, checks and corrections of a study.

    Args:
        study: the study.
        checks: all of its quality checks.
        ct_description: Series Description of the CT, "" without a CT.
        translate: a message to a sentence.
    """
    ct = None if study.ct is None else {"geometry": geometry_to_dict(study.ct), "description": ct_description}
    return {
        "series": [series_to_dict(facts, translate) for facts in study.series],
        "pet": facts_to_dict(study.pet_facts) | {"unit": study.pet.unit, "geometry": geometry_to_dict(study.pet)},
        "ct": ct,
        "suv_witness": [_path_to_dict(one, study.pet_facts, translate) for one in study.pet_facts.suv_paths],
        "checks": [
            {"name": check.name, "level": check.level.value, "reason": translate(check.reason)} for check in checks
        ],
        "corrections": [_plain(asdict(one)) for one in study.corrections],
        "patient": asdict(study.patient) | {"pet_dates": list(study.patient.pet_dates)},
        "pseudonym": study.pseudonym,
        "study_date": study.study_date,
    }


def series_to_dict(facts: SeriesFacts, translate: Translate) -> dict[str, Any]:
    """One series: one line of the table of series."""
    return {
        "id": facts.id,
        "modality": facts.modality,
        "description": facts.description,
        "instances": facts.instances,
        "shape": facts.shape and list(facts.shape),
        "spacing_mm": facts.spacing and list(facts.spacing),
        "chosen": facts.chosen,
        "reason": translate(facts.reason),
    }


def facts_to_dict(facts: PetFacts) -> dict[str, Any]:
    """What the SUV is computed from, without the other paths; times as ISO 8601 on the clock of the scanner."""
    values = _plain(asdict(facts)) | {"corrected_image": list(facts.corrected_image)}
    del values["suv_paths"]
    return values


def _path_to_dict(path: SuvPath, facts: PetFacts, translate: Translate) -> dict[str, Any]:
    """One path to the SUV: its factor of the slice with the smallest one, and its relative difference."""
    remark = path.remark or path.doubt
    factor = facts.suv_factor_min
    return {
        "path": path.name,
        "factor": None if factor is None else factor * (1 + path.deviation),
        "deviation": path.deviation,
        "used": path.used,
        "counts": path.counts,
        "remark": translate(remark) if remark else "",
    }


def error_to_dict(refusal: StudyError, translate: Translate) -> dict[str, str]:
    """What was found and needed, what to do, and the name of the class in `fedpet.core.errors`, for one refusal."""
    sentences = {"found": refusal.found, "needed": refusal.needed, "advice": refusal.advice}
    return {"kind": type(refusal).__name__} | {name: translate(sentence) for name, sentence in sentences.items()}


def geometry_to_dict(volume: Volume) -> dict[str, Any]:
    """Shape (slices, rows, columns), spacing along (column, row, slice), origin and affine, LPS mm."""
    return {
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing),
        "origin_mm": [float(value) for value in volume.affine[:3, 3]],
        "affine": volume.affine.tolist(),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}
