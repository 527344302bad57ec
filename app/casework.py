"""The use case of fedpet: a study and a record become a folder with the answer and its explanation, then reports.

The command and the application both come through here.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from app.options import CaseOptions
from app.result import result_json
from explain.figures import fused_slices, mip_with_lesions, saliency_figure
from fedpet.messages import Message
from fedpet.progress import part, silent
from imaging.intake import IntakeLimits
from imaging.loading import load_study
from imaging.masks import read_mask, write_nifti
from imaging.references import organ_references
from inference.engine import Engine
from inference.predict import predict
from reports.content import ReportContent
from reports.digest import content_hash
from reports.pdf import write_pdf
from reports.signing import signer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clinical.record import ClinicalRecord
    from explain.explanation import Explanation
    from fedpet.messages import Language
    from fedpet.progress import Progress
    from fedpet.settings import Settings
    from imaging.loading import Requirement
    from imaging.study import Study
    from inference.bundle import Bundle
    from inference.prediction import Prediction
    from reports.content import ReaderVerdict


@dataclass(frozen=True, eq=False)
class CaseResult:
    """A finished case and the folder that holds its files."""

    study: Study
    record: ClinicalRecord
    prediction: Prediction
    explanation: Explanation | None
    folder: Path


def read_study(
    source: Path,
    settings: Settings,
    *,
    options: CaseOptions = CaseOptions(),  # noqa: B008  frozen: the reader chose nothing
    require: Requirement = "fdg",
    progress: Progress = silent,
) -> Study:
    """The study with the reader's choice of series and corrections.

    Raises:
        StudyRefused: the images cannot be used.
        CorrectionRefused: a correction does not fit the study.
    """
    return load_study(
        source,
        pseudonym_key=settings.pseudonym_key(),
        limits=IntakeLimits(max_files=settings.max_files, max_bytes=settings.max_upload_mb * 2**20),
        corrections=options.corrections,
        pet_series=options.pet_series,
        ct_series=options.ct_series,
        require=require,
        progress=progress,
    )


def run_case(
    study: Study,
    record: ClinicalRecord,
    *,
    bundle: Bundle,
    out: Path,
    settings: Settings,
    language: Language,
    options: CaseOptions = CaseOptions(),  # noqa: B008  frozen: the reader chose nothing
    explain: bool = True,
    progress: Progress = silent,
) -> CaseResult:
    """Predict and explain; writes the files into `out` and returns what they hold.

    The folder gets result.json, lesions.nii.gz, mip.png and fused.png and, where there is an explanation,
    saliency.nii.gz and saliency.png. The report is for `write_reports`.

    Raises:
        FedpetError: what cannot be used, with what was found, needed and what to do; nothing is written.
    """
    progress(0.0, Message("Running the model"))
    prediction = answer(study, record, bundle, settings, options=options)
    explanation = None
    if explain and prediction.abstained is None:
        explanation = _explain(study, record, bundle, prediction, part(progress, 0.1, 0.9))
    result = CaseResult(study, record, prediction, explanation, out)
    progress(0.9, Message("Writing images"))
    _write(result, language)
    progress(1.0, Message("Done"))
    return result


def answer(
    study: Study, record: ClinicalRecord, bundle: Bundle, settings: Settings, *, options: CaseOptions
) -> Prediction:
    """The prediction with the reader's choice of lesions."""
    engine = Engine(bundle, provider=settings.provider, threads=settings.threads)
    given = read_mask(options.mask, study.pet, study=study, rois=options.rois or None) if options.mask else None
    return predict(
        study,
        record,
        bundle,
        engine=engine,
        lesions=given,
        method=options.method,
        include=options.include,
        exclude=options.exclude,
    )


def _explain(
    study: Study, record: ClinicalRecord, bundle: Bundle, prediction: Prediction, progress: Progress
) -> Explanation:
    from explain.attribution import explain_prediction  # noqa: PLC0415  brings torch, which a prediction does not need

    seen = study if prediction.pet_seen is None else replace(study, pet=prediction.pet_seen)
    return explain_prediction(seen, record, bundle, prediction, progress=progress)


def write_reports(
    result: CaseResult,
    bundle: Bundle,
    settings: Settings,
    *,
    paths: Mapping[Language, Path],
    verdict: ReaderVerdict | None = None,
    version: int = 1,
) -> tuple[ReportContent, str]:
    """Write the report of a case, dated now, once for each language and file asked for.

    A signed one is sealed where the settings name a certificate.

    Returns:
        What was written, and its content hash.

    Raises:
        SettingsError: the certificate cannot be used; nothing is written.
    """
    seal = None
    if verdict is not None and settings.report_signer is not None:
        seal = signer(settings.report_signer, password_file=settings.report_signer_password_file)
    study = result.study
    content = ReportContent(
        report_uid=f"2.25.{uuid.uuid4().int}",  # a DICOM UID derived from a UUID (PS3.5 B.2)
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        centre=settings.centre,
        study=study,
        record=result.record,
        prediction=result.prediction,
        explanation=result.explanation,
        card=bundle.card,
        verdict=verdict,
        version=version,
        references=None if study.ct is None else organ_references(study.pet, study.ct),
    )
    for language, path in paths.items():
        write_pdf(content, path, language=language, signer=seal)
    return content, content_hash(content)


def write_objects(
    content: ReportContent, source: Path, settings: Settings, *, pdf: Path, out: Path, language: Language
) -> tuple[Path, ...]:
    """Write what a PACS stores of a case into `out`: segmentation, influence map, measurements and report, in DICOM.

    The identity of the patient, which a PACS needs, is read from the source for this alone.
    """
    from imaging.identity import read_identity  # noqa: PLC0415  with highdicom, which a prediction does not need
    from reports.dicom import write_dicom  # noqa: PLC0415  as above

    limits = IntakeLimits(max_files=settings.max_files, max_bytes=settings.max_upload_mb * 2**20)
    shutil.rmtree(out, ignore_errors=True)
    return write_dicom(content, read_identity(source, content.study, limits=limits), pdf, out, language=language)


def _write(result: CaseResult, language: Language) -> None:
    out, study, prediction, explanation = result.folder, result.study, result.prediction, result.explanation
    out.mkdir(parents=True, exist_ok=True)
    labels = prediction.lesion_labels
    write_nifti(labels, out / "lesions.nii.gz")
    mip_with_lesions(study, labels).save(out / "mip.png")
    fused_slices(study, labels, focus_mm(study, prediction), language=language).save(out / "fused.png")
    if explanation is not None:
        write_nifti(explanation.attribution, out / "saliency.nii.gz")
        saliency_figure(study, labels, explanation, language=language).save(out / "saliency.png")
    text = json.dumps(result_json(study, result.record, prediction, explanation), indent=1, ensure_ascii=False)
    (out / "result.json").write_text(text + "\n", encoding="utf-8")


def focus_mm(study: Study, prediction: Prediction | None) -> tuple[float, float, float]:
    """Where the crosshair starts: the voxel of the largest lesion nearest to its centre, or the middle of the PET."""
    lesions = prediction.quantities.lesions if prediction else ()
    largest = max(lesions, key=lambda lesion: lesion.mtv_ml, default=None)
    if prediction is None or largest is None:
        x, y, z = study.pet.to_mm((np.array(study.pet.shape) - 1) / 2)
    else:
        labels = prediction.lesion_labels
        voxels = labels.to_mm(np.argwhere(labels.array == largest.id).astype(float))
        x, y, z = voxels[np.linalg.norm(voxels - largest.centroid_mm, axis=1).argmin()]
    return float(x), float(y), float(z)
