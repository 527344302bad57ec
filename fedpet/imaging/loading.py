"""From DICOM files to a study: PET in SUVbw, CT in HU, facts of the acquisition, checks of the headers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fedpet.core.arguments import require_choice
from fedpet.core.errors import SliceGeometryError, StudyError, SuvError
from fedpet.core.messages import Message, translate_message
from fedpet.core.profile import Stage, stage
from fedpet.core.progress import no_progress, sub_progress
from fedpet.core.pseudonyms import local_key
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files
from fedpet.imaging.dicom.headers.attributes import number, text
from fedpet.imaging.dicom.headers.patient_module import examination_uid, one_patient, same_patient
from fedpet.imaging.dicom.headers.readings import date_reading
from fedpet.imaging.dicom.pixel_data import read_ct, read_pet, require_equal_copies
from fedpet.imaging.dicom.selection import select_series
from fedpet.imaging.dicom.series import phase_counts, series_facts
from fedpet.imaging.dicom.stacks import split_into_stacks
from fedpet.imaging.quality.checks import header_checks
from fedpet.imaging.quality.compression import compression_check
from fedpet.imaging.report import error_to_dict, series_to_dict, study_to_dict
from fedpet.imaging.study import CheckStatus, PetCtStudy, QualityCheck
from fedpet.imaging.suv.calibration import calibrate_suv, uncalibrated
from fedpet.imaging.suv.header_values import weight
from fedpet.imaging.suv.tracer import tracer_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydicom.dataset import Dataset

    from fedpet.core.messages import Language
    from fedpet.core.progress import Progress
    from fedpet.imaging.dicom.files import DicomInstance
    from fedpet.imaging.dicom.geometry import SliceGeometry
    from fedpet.imaging.dicom.headers.patient_module import PatientModule
    from fedpet.imaging.dicom.selection import SelectedSeries
    from fedpet.imaging.dicom.series import Series
    from fedpet.imaging.quality.centre_uptake import CentreUptake
    from fedpet.imaging.study import PatientFacts, PetFacts, SeriesFacts
    from fedpet.imaging.suv.calibration import SuvCalibration
    from fedpet.imaging.suv.overrides import ManualOverride
    from fedpet.imaging.volume import Volume

PetRequirement = Literal["fdg", "suv", "images"]
_NO_LIMITS_GIVEN = InputLimits()
_OTHER_WEIGHT = 0.05  # relative, beyond rounding and a day's change


@dataclass(frozen=True)
class _Selection:
    """What a person chose: corrections of the headers of the PET, and series by their ids."""

    corrections: tuple[ManualOverride, ...]
    pet_series: int | None
    ct_series: int | None


@stage(Stage.FILES)
def load_study(
    source: str | Path,
    *,
    pseudonym_key: bytes | None = None,
    limits: InputLimits = _NO_LIMITS_GIVEN,
    corrections: Sequence[ManualOverride] = (),
    pet_series: int | None = None,
    ct_series: int | None = None,
    require: PetRequirement = "fdg",
    progress: Progress = no_progress,
) -> PetCtStudy:
    """Load the PET/CT examination of one patient.

    A PET without CT is loaded; its check "ct_present" fails. Checks of the images are those of
    `fedpet.imaging.analysis.StudyAnalysis`.
    No name, identifier or date of birth is in the result.

    Args:
        source: folder, zip archive or DICOM file.
        pseudonym_key: secret from which `PetCtStudy.pseudonym` is made; see `fedpet.core.pseudonyms`. None takes the
            key of this machine, as the command and the application do, so that a patient has one pseudonym in all of
            them; it is made at the first use, in the folder of the setting `home`.
        limits: files and bytes taken in at most.
        corrections: of weight, height, dose or times in the headers of the PET.
        pet_series: id of the PET series to be used instead of the one the program would choose.
        ct_series: id of the CT series, likewise.
        require: what is refused. "fdg": all but SUV of fluorine-18 FDG. "suv": a PET without SUV; of another tracer it
            is the SUV it holds, and the check "tracer" fails. "images": nothing that can be opened; without SUV the PET
            is in its own units, the check "suv" fails and `PetCtStudy.suv_refusal` says why.
        progress: called with a fraction (0 to 1) and a message while headers and pixels are read.

    Returns:
        The study: `pet` in SUVbw (g/ml, float32) and `ct` in HU, each on its own grid, arrays of (slices, rows,
        columns) in LPS millimetres (see `fedpet.imaging.volume`), with the facts that the SUV rests on.

    Raises:
        ArgumentError: an empty key, or a requirement that is none of these.
        SettingsError: the key is to be that of this machine, and a setting is not valid.
        UnreadableStudyError: no DICOM, a damaged archive or file, limits exceeded.
        SeriesNotFoundError: no attenuation-corrected PET, or several patients or examinations; images that name neither
            a patient nor an examination.
        SliceGeometryError: slices missing, doubled with different content, or irregular.
        SuvError: the PET's values cannot be turned into SUVbw.
        TracerError: the tracer is not fluorine-18 FDG.
        OverrideError: a correction does not fit the series.
    """
    require_choice("require", require, get_args(PetRequirement))
    selection = _Selection(tuple(corrections), pet_series, ct_series)
    key = local_key() if pseudonym_key is None else pseudonym_key
    with open_dicom_files(Path(source), limits, sub_progress(progress, 0.0, 0.3)) as files:
        choice, calibration = _choose(split_into_stacks(files.instances), selection, require=require)
        return _load(choice, calibration, key, sub_progress(progress, 0.3, 1.0))


def inspect_study(
    source: Path,
    *,
    pseudonym_key: bytes,
    limits: InputLimits = _NO_LIMITS_GIVEN,
    corrections: Sequence[ManualOverride] = (),
    pet_series: int | None = None,
    ct_series: int | None = None,
    usual: CentreUptake | None = None,
    language: Language = "en",
) -> dict[str, Any]:
    """What a study holds and what its SUV is computed from, as JSON-serialisable values; "refused" says why not.

    Keys: "series", "pet", "ct", "checks", "corrections", "patient", "pseudonym", "study_date", "skipped_files". A PET
    without SUV has "refused" {found, needed, advice} beside them, and its factors are None; where nothing can be opened
    only "series", "skipped_files" and "refused" are there. A PET of another tracer has its SUV and
    "refused_for_prediction", and fails the check "tracer". Reasons are said in `language`.

    Raises:
        OverrideError: a correction does not fit the series.
    """
    report: dict[str, Any] = {"series": [], "skipped_files": None}
    translate = translate_message(language)
    selection = _Selection(tuple(corrections), pet_series, ct_series)
    try:
        with open_dicom_files(source, limits, no_progress) as files:
            report["skipped_files"] = files.skipped
            series = split_into_stacks(files.instances)
            report["series"] = [series_to_dict(facts, translate) for facts in map(_unchosen, series)]
            choice, calibration = _choose(series, selection, require="images")
            analysis = StudyAnalysis(_load(choice, calibration, pseudonym_key, no_progress), usual=usual)
    except StudyError as refusal:
        return report | {"refused": error_to_dict(refusal, translate)}
    study = analysis.study
    report |= study_to_dict(study, analysis.checks, "" if choice.ct is None else choice.ct.description, translate)
    refusals = {"refused": study.suv_refusal, "refused_for_prediction": tracer_refusal(study.pet_facts)}
    return report | {key: error_to_dict(refusal, translate) for key, refusal in refusals.items() if refusal}


@dataclass(frozen=True)
class ExaminationHeaders:
    """What the headers of an examination state, without its pixels. Holds identifiers: keep it in the hospital.

    Attributes:
        patient_ids: every PatientID that is stated, sorted.
        patients: whom the images name.
        facts: for comparison with a clinical record; None where no PET can be chosen.
        pet_file: a file of the PET that would be used.
        pet: facts of its acquisition.
        images: number of images by modality.
        refusal: why `load_study` would refuse the headers; it may refuse the pixels too.
    """

    patient_ids: tuple[str, ...]
    patients: frozenset[PatientModule]
    facts: PatientFacts | None
    pet_file: Path | None
    pet: PetFacts | None
    images: dict[str, int]
    refusal: StudyError | None


def read_headers(source: Path, *, pseudonym_key: bytes, limits: InputLimits = _NO_LIMITS_GIVEN) -> ExaminationHeaders:
    """Read the headers of all images, as `load_study` does before it reads pixels.

    Args:
        source: folder, zip archive or DICOM file.
        pseudonym_key: secret of the centre.
        limits: number of files and bytes.

    Raises:
        UnreadableStudyError: no DICOM, a damaged archive, limits exceeded.
    """
    with open_dicom_files(source, limits, no_progress) as files:
        patients = frozenset(instance.patient for instance in files.instances)
        images = Counter(text(instance.header, "Modality") for instance in files.instances)
        named = tuple(sorted({patient.patient_id for patient in patients if patient.patient_id}))
        try:
            choice, calibration = _choose(
                split_into_stacks(files.instances), _Selection((), None, None), require="images"
            )
            _require_volume_geometry(choice.pet)
        except StudyError as refusal:
            return ExaminationHeaders(named, patients, None, None, None, dict(images), refusal)
        pet = choice.pet.instances
        return ExaminationHeaders(
            named,
            patients,
            one_patient(one.patient for one in pet).facts(pseudonym_key, _dates(pet), calibration.facts),
            pet[0].file,
            calibration.facts,
            dict(images),
            calibration.refusal or tracer_refusal(calibration.facts),
        )


def list_series(source: Path, *, limits: InputLimits = _NO_LIMITS_GIVEN) -> tuple[SeriesFacts, ...]:
    """Every series of a study, none of them chosen: what a person chooses from where no choice can be made for them.

    Args:
        source: folder, zip archive or DICOM file.
        limits: number of files and bytes.

    Returns:
        The series by number, each with the reason why it can never be used, or "not chosen".

    Raises:
        StudyError: nothing can be read.
    """
    with open_dicom_files(source, limits, no_progress) as files:
        return tuple(map(_unchosen, split_into_stacks(files.instances)))


def _choose(
    series: tuple[Series, ...], selection: _Selection, *, require: PetRequirement
) -> tuple[SelectedSeries, SuvCalibration]:
    """The series used, and the PET's calibration: a PET with SUV of FDG before one with SUV before any other."""

    @cache
    def calibrated(pet: Series) -> SuvCalibration:
        return calibrate_suv(_headers(pet), selection.corrections)

    def holds_fdg(pet: Series) -> None:
        refusal = tracer_refusal(calibrated(pet).facts)
        if refusal is not None:
            raise refusal

    def holds_suv(pet: Series) -> None:
        calibrated(pet)

    wanted: dict[PetRequirement, Callable[[Series], None]] = {"fdg": holds_fdg, "suv": holds_suv}
    for kind, usable in wanted.items():
        try:
            choice = select_series(series, usable, pet=selection.pet_series, ct=selection.ct_series)
        except StudyError:
            if require == kind:
                raise
        else:
            return choice, calibrated(choice.pet)
    choice = select_series(series, lambda _: None, pet=selection.pet_series, ct=selection.ct_series)
    try:
        return choice, calibrated(choice.pet)
    except SuvError as refusal:
        return choice, uncalibrated(_headers(choice.pet), selection.corrections, refusal)


def _load(choice: SelectedSeries, calibration: SuvCalibration, pseudonym_key: bytes, progress: Progress) -> PetCtStudy:
    pet_series, ct_series = choice.pet, choice.ct
    instances, geometry = _require_volume(pet_series)
    with stage(Stage.PIXELS):
        pet = read_pet(instances, geometry, scales=calibration.scales, progress=sub_progress(progress, 0.0, 0.4))
    if calibration.refusal is not None:
        pet = pet.like(pet.array + np.asarray(calibration.intercepts, np.float32)[:, None, None], "stored")
    ct, ct_instances, ct_problem = _load_ct(ct_series, sub_progress(progress, 0.4, 1.0))
    stated = header_checks(
        calibration.facts,
        pet=geometry,
        stated_slices=number(pet_series.first, "NumberOfSlices"),
        phase_counts=phase_counts(pet_series),
    )
    first = pet_series.first
    date = date_reading(first, "StudyDate").value
    patient = one_patient(instance.patient for instance in (*instances, *ct_instances))
    others = (*_other_patients(choice), *_other_weight(ct_instances, calibration.facts.weight_kg))
    return PetCtStudy(
        pseudonym=patient.pseudonym("" if patient.patient_id else examination_uid(first), pseudonym_key),
        pet=pet,
        ct=ct,
        pet_facts=calibration.facts,
        series=choice.facts(),
        header_checks=(*calibration.checks(), *stated, compression_check(instances, ct_instances), *others),
        study_date=date.isoformat() if date else "",
        source_uids={"PT": _uids(instances), "CT": _uids(ct_instances)},
        corrections=calibration.corrections,
        suv_refusal=calibration.refusal,
        frame_of_reference=text(first, "FrameOfReferenceUID"),
        study_uid=text(first, "StudyInstanceUID"),
        identity=patient.digests(),
        patient=patient.facts(pseudonym_key, _dates(instances), calibration.facts),
        ct_frame_assumed=choice.ct_frame_assumed,
        ct_problem=ct_problem or choice.ct_problem,
    )


def _dates(instances: Sequence[DicomInstance]) -> list[str]:
    keywords = ("StudyDate", "SeriesDate", "AcquisitionDate")
    return [found for one in instances for keyword in keywords if (found := text(one.header, keyword))]


def _other_patients(choice: SelectedSeries) -> Iterator[QualityCheck]:
    """A warning where images of another patient lie beside the examination; they are not used."""
    strangers = sum(
        len(one.instances) for one in choice.series if same_patient(one.patients, choice.pet.patients) is None
    )
    if strangers:
        reason = Message("{n} images of another patient lie among the files; they were not used.", n=strangers)
        yield QualityCheck("other_patients", CheckStatus.WARN, reason)


def _other_weight(ct: Sequence[DicomInstance], weight_kg: float | None) -> Iterator[QualityCheck]:
    """A warning where the CT states another weight than the SUV is computed with: one of them was typed wrongly."""
    stated = weight(ct[0].header).value if ct else None
    if stated and weight_kg and abs(stated - weight_kg) > _OTHER_WEIGHT * weight_kg:
        reason = Message(
            "The CT states a weight of {ct:.0f} kg, and the SUV is computed with {pet:.0f} kg: check which is right.",
            ct=stated,
            pet=weight_kg,
        )
        yield QualityCheck("weight_of_ct", CheckStatus.WARN, reason)


@stage(Stage.PIXELS)
def _load_ct(
    series: Series | None, progress: Progress
) -> tuple[Volume | None, tuple[DicomInstance, ...], Message | None]:
    """The CT and its instances, or why it cannot be used: a PET can be used without it."""
    if series is None:
        return None, (), None
    try:
        instances, geometry = _require_volume(series)
    except SliceGeometryError as refusal:
        return None, (), refusal.found
    return read_ct(instances, geometry, progress=progress), instances, None


def _require_volume(series: Series) -> tuple[tuple[DicomInstance, ...], SliceGeometry]:
    """Instances in slice order and the volume they form, copies compared."""
    geometry = _require_volume_geometry(series)
    ordered = series.ordered()
    require_equal_copies(series.instances, geometry)
    return ordered, geometry


def _require_volume_geometry(series: Series) -> SliceGeometry:
    geometry = series.geometry
    if isinstance(geometry, SliceGeometryError):
        raise geometry
    return geometry


def _headers(series: Series) -> list[Dataset]:
    """In slice order."""
    return [instance.header for instance in series.ordered()]


def _uids(instances: tuple[DicomInstance, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text(instance.header, "SOPInstanceUID") for instance in instances))


def _unchosen(series: Series) -> SeriesFacts:
    geometry = series.geometry
    problem = geometry.found if isinstance(geometry, SliceGeometryError) else Message("the study was refused")
    return series_facts(series, series.unfit or problem, chosen=False)
