"""From a pile of DICOM files to a study: PET in SUVbw, CT in HU, facts and checks."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from fedpet.errors import GeometryRefused, StudyRefused
from fedpet.messages import Message, say
from fedpet.progress import part, silent
from imaging.checks import header_checks, image_checks
from imaging.choice import choose
from imaging.header import number, text
from imaging.intake import IntakeLimits, taken_in
from imaging.pixels import read_ct, read_pet, require_equal_copies
from imaging.series import grouped, series_facts
from imaging.study import Study
from imaging.suv import calibrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fedpet.messages import Language
    from fedpet.progress import Progress
    from imaging.choice import Choice
    from imaging.geometry import Geometry
    from imaging.intake import Instance
    from imaging.series import Series
    from imaging.study import SeriesFacts
    from imaging.volume import Volume

_NO_LIMITS_GIVEN = IntakeLimits()


def load_study(
    source: Path, *, pseudonym_key: bytes, limits: IntakeLimits = _NO_LIMITS_GIVEN, progress: Progress = silent
) -> Study:
    """Load the PET/CT examination of one patient.

    A PET without CT is loaded; its check "ct_present" fails.

    Args:
        source: folder, zip archive or DICOM file.
        pseudonym_key: secret of the centre; see `pseudonym`.
        limits: files and bytes taken in at most.
        progress: told while headers and pixels are read.

    Raises:
        UnreadableStudy: no DICOM, a damaged archive or file, limits exceeded.
        SeriesNotFound: no attenuation-corrected PET, or several patients or examinations.
        GeometryRefused: slices missing, doubled with different content, or irregular.
        SuvNotComputable: the PET's values cannot be turned into SUVbw.
    """
    with taken_in(source, limits, part(progress, 0.0, 0.3)) as pile:
        return _load(choose(grouped(pile.instances), _usable), pseudonym_key, part(progress, 0.3, 1.0))


def inspect_study(
    source: Path, *, pseudonym_key: bytes, limits: IntakeLimits = _NO_LIMITS_GIVEN, language: Language = "en"
) -> dict[str, Any]:
    """What a study holds and what its SUV rests on, as JSON-able values; where it is refused, "refused" says why.

    Keys: "series", "pet", "ct", "checks", "pseudonym", "study_date", "skipped_files"; or "series", "skipped_files" and
    "refused" {found, needed, advice}. Reasons are said in `language`.
    """
    report: dict[str, Any] = {"series": [], "skipped_files": None}
    speak = say(language)
    try:
        with taken_in(source, limits, silent) as pile:
            report["skipped_files"] = pile.skipped
            series = grouped(pile.instances)
            report["series"] = [_series_report(facts, speak) for facts in map(_unchosen, series)]
            choice = choose(series, _usable)
            study = _load(choice, pseudonym_key, silent)
    except StudyRefused as refusal:
        sentences = {"found": refusal.found, "needed": refusal.needed, "advice": refusal.advice}
        return report | {"refused": {name: speak(sentence) for name, sentence in sentences.items()}}
    return report | {
        "series": [_series_report(facts, speak) for facts in study.series],
        "pet": _pet_report(study),
        "ct": None
        if study.ct is None or choice.ct is None
        else {"geometry": _geometry_report(study.ct), "description": choice.ct.description},
        "checks": [
            {"name": check.name, "level": check.level.value, "reason": speak(check.reason)} for check in study.checks
        ],
        "pseudonym": study.pseudonym,
        "study_date": study.study_date,
    }


def pseudonym(patient_id: str, key: bytes) -> str:
    """The patient's pseudonym within one centre: "P-" and 12 hexadecimal digits of HMAC-SHA256."""
    return "P-" + hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()[:12]


def _load(choice: Choice, pseudonym_key: bytes, progress: Progress) -> Study:
    pet_series, ct_series = choice.pet, choice.ct
    instances, geometry = _sound(pet_series)
    calibration = calibrate([instance.header for instance in instances])
    scales = [slope * calibration.factor for slope in calibration.slopes]
    pet = read_pet(instances, geometry, scales=scales, progress=part(progress, 0.0, 0.4))
    ct, ct_instances = _load_ct(ct_series, part(progress, 0.4, 0.9))
    progress(0.9, Message("Checking the images"))
    checks = image_checks(pet, ct) + header_checks(
        calibration.facts,
        disagreement=calibration.disagreement,
        pet=geometry,
        told_slices=number(pet_series.first, "NumberOfSlices"),
    )
    first = pet_series.first
    date = text(first, "StudyDate")
    return Study(
        # Without an identifier, the examination stands for the patient: two anonymous patients must not be one.
        pseudonym=pseudonym(text(first, "PatientID") or text(first, "StudyInstanceUID"), pseudonym_key),
        pet=pet,
        ct=ct,
        pet_facts=calibration.facts,
        series=choice.facts(),
        checks=tuple(checks),
        study_date=f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else "",
        source_uids={"PT": _uids(instances), "CT": _uids(ct_instances)},
    )


def _load_ct(series: Series | None, progress: Progress) -> tuple[Volume | None, tuple[Instance, ...]]:
    if series is None:
        return None, ()
    instances, geometry = _sound(series)
    return read_ct(instances, geometry, progress=progress), instances


def _sound(series: Series) -> tuple[tuple[Instance, ...], Geometry]:
    """Instances in slice order and the volume they form, copies compared."""
    ordered, geometry = series.ordered(), series.geometry
    if isinstance(geometry, GeometryRefused):
        raise geometry
    require_equal_copies(series.instances, geometry)
    return ordered, geometry


def _usable(pet: Series) -> None:
    calibrate([instance.header for instance in pet.ordered()])


def _uids(instances: tuple[Instance, ...]) -> tuple[str, ...]:
    return tuple(text(instance.header, "SOPInstanceUID") for instance in instances)


def _unchosen(series: Series) -> SeriesFacts:
    geometry = series.geometry
    problem = geometry.found if isinstance(geometry, GeometryRefused) else Message("the study was refused")
    return series_facts(series, series.unfit or problem, chosen=False)


def _series_report(facts: SeriesFacts, speak: Callable[[Message], str]) -> dict[str, Any]:
    return {
        "modality": facts.modality,
        "description": facts.description,
        "instances": facts.instances,
        "shape": facts.shape and list(facts.shape),
        "spacing_mm": facts.spacing and list(facts.spacing),
        "chosen": facts.chosen,
        "reason": speak(facts.reason),
    }


def _geometry_report(volume: Volume) -> dict[str, Any]:
    return {
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing),
        "origin_mm": [float(value) for value in volume.affine[:3, 3]],
        "affine": volume.affine.tolist(),
    }


def _pet_report(study: Study) -> dict[str, Any]:
    facts = study.pet_facts
    return {
        "units": facts.units,
        "decay_correction": facts.decay_correction,
        "suv_factor_min": facts.suv_factor_min,
        "suv_factor_max": facts.suv_factor_max,
        "reference_time_source": facts.reference_time_source,
        "reference_time": facts.reference_time and facts.reference_time.isoformat(),
        "injection_time": facts.injection_time and facts.injection_time.isoformat(),
        "uptake_min": facts.uptake_min,
        "dose_bq": facts.dose_bq,
        "half_life_s": facts.half_life_s,
        "weight_kg": facts.weight_kg,
        "height_m": facts.height_m,
        "radiopharmaceutical": facts.radiopharmaceutical,
        "corrected_image": list(facts.corrected_image),
        "manufacturer": facts.manufacturer,
        "model": facts.model,
        "geometry": _geometry_report(study.pet),
    }
