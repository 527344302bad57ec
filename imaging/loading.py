"""From a pile of DICOM files to a study: PET in SUVbw, CT in HU, facts and checks."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedpet.errors import GeometryRefused, StudyRefused, SuvNotComputable
from fedpet.messages import Message, say
from fedpet.progress import part, silent
from imaging.checks import header_checks, image_checks
from imaging.choice import choose
from imaging.compression import compression_check
from imaging.header import number, text
from imaging.inspection import refusal_report, series_report, study_report
from imaging.intake import IntakeLimits, taken_in
from imaging.pixels import read_ct, read_pet, require_equal_copies
from imaging.series import series_facts
from imaging.stacks import grouped
from imaging.study import Study
from imaging.suv import calibrate, uncalibrated
from imaging.tracer import tracer_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pydicom.dataset import Dataset

    from fedpet.messages import Language
    from fedpet.progress import Progress
    from imaging.choice import Choice
    from imaging.corrections import Correction
    from imaging.geometry import Geometry
    from imaging.intake import Instance
    from imaging.series import Series
    from imaging.study import SeriesFacts
    from imaging.suv import Calibration
    from imaging.volume import Volume

Requirement = Literal["fdg", "suv", "images"]
_NO_LIMITS_GIVEN = IntakeLimits()


@dataclass(frozen=True)
class _Asked:
    """What a person asked for: corrections of the PET's headers, and series by their ids."""

    corrections: tuple[Correction, ...]
    pet_series: int | None
    ct_series: int | None


def load_study(
    source: Path,
    *,
    pseudonym_key: bytes,
    limits: IntakeLimits = _NO_LIMITS_GIVEN,
    corrections: Sequence[Correction] = (),
    pet_series: int | None = None,
    ct_series: int | None = None,
    require: Requirement = "fdg",
    progress: Progress = silent,
) -> Study:
    """Load the PET/CT examination of one patient.

    A PET without CT is loaded; its check "ct_present" fails.

    Args:
        source: folder, zip archive or DICOM file.
        pseudonym_key: secret of the centre; see `pseudonym`.
        limits: files and bytes taken in at most.
        corrections: of weight, height, dose or times in the headers of the PET.
        pet_series: id of the PET series to be used instead of the one the program would choose.
        ct_series: id of the CT series, likewise.
        require: what is refused. "fdg": all but SUV of fluorine-18 FDG. "suv": a PET without SUV; of another tracer it
            is the SUV it holds, and the check "tracer" fails. "images": nothing that can be opened; without SUV the PET
            is in its own units, the check "suv" fails and `Study.suv_refusal` says why.
        progress: told while headers and pixels are read.

    Raises:
        UnreadableStudy: no DICOM, a damaged archive or file, limits exceeded.
        SeriesNotFound: no attenuation-corrected PET, or several patients or examinations.
        GeometryRefused: slices missing, doubled with different content, or irregular.
        SuvNotComputable: the PET's values cannot be turned into SUVbw.
        TracerRefused: the tracer is not fluorine-18 FDG.
        CorrectionRefused: a correction does not fit the series.
    """
    asked = _Asked(tuple(corrections), pet_series, ct_series)
    with taken_in(source, limits, part(progress, 0.0, 0.3)) as pile:
        choice, calibration = _choose(grouped(pile.instances), asked, require=require)
        return _load(choice, calibration, pseudonym_key, part(progress, 0.3, 1.0))


def inspect_study(
    source: Path,
    *,
    pseudonym_key: bytes,
    limits: IntakeLimits = _NO_LIMITS_GIVEN,
    corrections: Sequence[Correction] = (),
    pet_series: int | None = None,
    ct_series: int | None = None,
    language: Language = "en",
) -> dict[str, Any]:
    """What a study holds and what its SUV rests on, as JSON-able values; where it is refused, "refused" says why.

    Keys: "series", "pet", "ct", "checks", "corrections", "pseudonym", "study_date", "skipped_files". A PET without SUV
    has "refused" {found, needed, advice} beside them, and its factors are None; where nothing can be opened only
    "series", "skipped_files" and "refused" are there. A PET of another tracer has its SUV, fails the check "tracer" and
    has "refused_for_prediction". Reasons are said in `language`.

    Raises:
        CorrectionRefused: a correction does not fit the series.
    """
    report: dict[str, Any] = {"series": [], "skipped_files": None}
    speak = say(language)
    asked = _Asked(tuple(corrections), pet_series, ct_series)
    try:
        with taken_in(source, limits, silent) as pile:
            report["skipped_files"] = pile.skipped
            series = grouped(pile.instances)
            report["series"] = [series_report(facts, speak) for facts in map(_unchosen, series)]
            choice, calibration = _choose(series, asked, require="images")
            study = _load(choice, calibration, pseudonym_key, silent)
    except StudyRefused as refusal:
        return report | {"refused": refusal_report(refusal, speak)}
    report |= study_report(study, "" if choice.ct is None else choice.ct.description, speak)
    refusals = {"refused": study.suv_refusal, "refused_for_prediction": tracer_refusal(study.pet_facts)}
    return report | {key: refusal_report(refusal, speak) for key, refusal in refusals.items() if refusal}


def pseudonym(patient_id: str, key: bytes) -> str:
    """The patient's pseudonym within one centre: "P-" and 12 hexadecimal digits of HMAC-SHA256."""
    return "P-" + hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()[:12]


def _choose(series: tuple[Series, ...], asked: _Asked, *, require: Requirement) -> tuple[Choice, Calibration]:
    """The series used, and the PET's calibration: a PET with SUV of FDG before one with SUV before any other."""

    @cache
    def calibrated(pet: Series) -> Calibration:
        return calibrate(_headers(pet), asked.corrections)

    def holds_fdg(pet: Series) -> None:
        refusal = tracer_refusal(calibrated(pet).facts)
        if refusal is not None:
            raise refusal

    def holds_suv(pet: Series) -> None:
        calibrated(pet)

    wanted: dict[Requirement, Callable[[Series], None]] = {"fdg": holds_fdg, "suv": holds_suv}
    for kind, usable in wanted.items():
        try:
            choice = choose(series, usable, pet=asked.pet_series, ct=asked.ct_series)
        except StudyRefused:
            if require == kind:
                raise
        else:
            return choice, calibrated(choice.pet)
    choice = choose(series, lambda _: None, pet=asked.pet_series, ct=asked.ct_series)
    try:
        return choice, calibrated(choice.pet)
    except SuvNotComputable as refusal:
        return choice, uncalibrated(_headers(choice.pet), asked.corrections, refusal)


def _load(choice: Choice, calibration: Calibration, pseudonym_key: bytes, progress: Progress) -> Study:
    pet_series, ct_series = choice.pet, choice.ct
    instances, geometry = _sound(pet_series)
    pet = read_pet(instances, geometry, scales=calibration.scales, progress=part(progress, 0.0, 0.4))
    if calibration.refusal is not None:
        pet = pet.like(pet.array + np.asarray(calibration.intercepts, np.float32)[:, None, None], "stored")
    ct, ct_instances = _load_ct(ct_series, part(progress, 0.4, 1.0))
    compression = compression_check(instances, ct_instances)
    images = partial(
        image_checks, pet, ct, ct_frame_assumed=choice.ct_frame_assumed, weight_kg=calibration.facts.weight_kg
    )
    stated = calibration.check()
    told = header_checks(
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
        checks=lambda: (stated, *images(), *told, compression),  # holds no header: identifiers end here
        study_date=f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else "",
        source_uids={"PT": _uids(instances), "CT": _uids(ct_instances)},
        corrections=calibration.corrections,
        suv_refusal=calibration.refusal,
        frame_of_reference=text(first, "FrameOfReferenceUID"),
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


def _headers(series: Series) -> list[Dataset]:
    """In slice order."""
    return [instance.header for instance in series.ordered()]


def _uids(instances: tuple[Instance, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text(instance.header, "SOPInstanceUID") for instance in instances))


def _unchosen(series: Series) -> SeriesFacts:
    geometry = series.geometry
    problem = geometry.found if isinstance(geometry, GeometryRefused) else Message("the study was refused")
    return series_facts(series, series.unfit or problem, chosen=False)
