"""From a study and a record to a folder with the answer and its explanation, then to reports.

The command line and the application both use this module.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.cases.options import CaseOptions, input_limits
from app.cases.result_json import result_json
from explain.attribution import explain_prediction
from explain.figures.case_figures import fused_slices, mip_with_lesions, saliency_figure
from fedpet.core.messages import Message
from fedpet.core.profile import Stage, stage
from fedpet.core.progress import no_progress, sub_progress
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.anatomy.organ_segmentation import GivenOrgans
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.lesions.quantities import main_point
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import write_nifti
from fedpet.imaging.quality.centre_uptake import own_uptake
from fedpet.imaging.segmenters.organ_files import read_organs
from fedpet.imaging.segmenters.organ_network import shipped_organs
from fedpet.imaging.segmenters.totalsegmentator import TotalSegmentatorOrgans
from inference.engine import Engine
from inference.measured_lesions import with_organ_check
from inference.predict import predict
from inference.record_concordance import join_record
from reports.content import report_content
from reports.content_hash import content_hash
from reports.pdf.document import write_pdf
from reports.signing import signer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from app.cases.earlier_report import EarlierReport
    from explain.explanation import Explanation
    from explain.methods import MethodName
    from fedpet.clinical.reading import ReadRecord
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.core.messages import Language
    from fedpet.core.progress import Progress
    from fedpet.core.settings import Settings
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmenter
    from fedpet.imaging.loading import PetRequirement
    from fedpet.imaging.study import PetCtStudy
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction
    from inference.record_concordance import JoinedRecord, RecordConcordance
    from reports.content import ReaderDecision, ReportContent


@dataclass(frozen=True, eq=False)
class CaseResult:
    """A finished case and the folder that holds its files."""

    analysis: StudyAnalysis
    record: ClinicalRecord
    prediction: Prediction
    explanation: Explanation | None
    folder: Path
    concordance: RecordConcordance | None = None

    @property
    def study(self) -> PetCtStudy:
        """The study that was analysed."""
        return self.analysis.study


@dataclass(frozen=True)
class CaseOutput:
    """What is written of a case beside its answer.

    Attributes:
        language: of the report and of words in images.
        explain, method: whether the answer is explained, and how; None as suits the model.
        dicom: whether what a PACS stores is written, too.
    """

    language: Language
    explain: bool = True
    method: MethodName | None = None
    dicom: bool = False


def read_study(
    source: Path,
    settings: Settings,
    *,
    options: CaseOptions = CaseOptions(),  # noqa: B008  frozen: the reader chose nothing
    require: PetRequirement = "fdg",
    progress: Progress = no_progress,
) -> PetCtStudy:
    """The study with the reader's choice of series and corrections.

    Raises:
        StudyError: the images cannot be used.
        OverrideError: a correction does not fit the study.
    """
    return load_study(
        source,
        pseudonym_key=settings.pseudonym_key(),
        limits=input_limits(settings),
        corrections=options.corrections,
        pet_series=options.pet_series,
        ct_series=options.ct_series,
        require=require,
        progress=progress,
    )


def analyse(study: PetCtStudy, options: CaseOptions, settings: Settings) -> StudyAnalysis:
    """The study to be analysed, with what the reader drew: lesions, the sphere of the liver, organs that were given.

    Raises:
        StudyError: a mask cannot be read, or was drawn on another examination.
        IncompatibleBundleError: the organ network is asked for and is not there.
        SettingsError: TotalSegmentator is asked for and is not installed; the usual uptake of the centre is unreadable.
    """
    mask = None
    if options.mask is not None:
        mask = read_mask(options.mask, study.pet, study=study, rois=options.rois or None)
    return StudyAnalysis(study, mask, _organ_segmenter(study, options), own_uptake(settings), options.liver)


def _organ_segmenter(study: PetCtStudy, options: CaseOptions) -> OrganSegmenter | None:
    """Where the organs come from; None for rules alone."""
    if options.organs is not None and study.ct is not None:
        given = read_organs(options.organs, study.ct, names=options.organ_names, study=study)
        return GivenOrgans(given.segmentation)
    if options.segmenter == "totalsegmentator":
        return TotalSegmentatorOrgans()
    return None if options.segmenter == "rules" else shipped_organs()


def compute_case(
    joined: JoinedRecord,
    *,
    bundle: Bundle,
    out: Path,
    settings: Settings,
    language: Language,
    options: CaseOptions = CaseOptions(),  # noqa: B008  frozen: the reader chose nothing
    explain: bool = True,
    method: MethodName | None = None,
    progress: Progress = no_progress,
) -> CaseResult:
    """Predict and explain, and write the files of the case into `out`.

    The folder gets result.json, lesions.nii.gz, mip.png and fused.png and, where there is an explanation,
    saliency.nii.gz and saliency.png. The report is for `write_reports`.

    Raises:
        FedpetError: what cannot be used, with what was found, needed and what to do; nothing is written.
    """
    analysis, record = joined.analysis, joined.record
    progress(0.0, Message("Running the model"))
    prediction = answer(analysis, record, bundle, settings, options=options)
    analysis = with_organ_check(analysis, prediction, bundle.contract)
    explanation = None
    if explain and prediction.abstained is None:
        explaining = sub_progress(progress, 0.1, 0.9)
        explanation = explain_prediction(analysis, record, bundle, prediction, method=method, progress=explaining)
    result = CaseResult(analysis, record, prediction, explanation, out, joined.concordance)
    progress(0.9, Message("Writing images"))
    _write(result, language)
    return result


def predict_study(
    source: Path,
    read: ReadRecord,
    *,
    bundle: Bundle,
    out: Path,
    settings: Settings,
    wanted: CaseOutput,
    options: CaseOptions = CaseOptions(),  # noqa: B008  frozen: the reader chose nothing
    progress: Progress = no_progress,
) -> CaseResult:
    """From the files of a study and its record to a folder with answer, explanation, report and what a PACS stores.

    Raises:
        FedpetError: images or record cannot be used, or contradict each other and `options` confirm nothing; nothing
            is written.
    """
    loaded = read_study(source, settings, options=options, progress=sub_progress(progress, 0.0, 0.3))
    reference = read.reference(settings.pseudonym_key())
    joined = join_record(analyse(loaded, options, settings), read.record, reference, confirmation=options.confirmation)
    result = compute_case(
        joined,
        bundle=bundle,
        out=out,
        settings=settings,
        language=wanted.language,
        options=options,
        explain=wanted.explain,
        method=wanted.method,
        progress=sub_progress(progress, 0.3, 0.9),
    )
    progress(0.9, Message("Writing the reports"))
    pdf = out / "report.pdf"
    content, _ = write_reports(result, bundle, settings, paths={wanted.language: pdf})
    if wanted.dicom:
        write_objects(content, source, settings, pdf=pdf, out=out / "dicom", language=wanted.language)
    progress(1.0, Message("Done"))
    return result


def answer(
    analysis: StudyAnalysis,
    record: ClinicalRecord,
    bundle: Bundle,
    settings: Settings,
    *,
    options: CaseOptions,
    engine: Engine | None = None,
) -> Prediction:
    """The prediction with the reader's choice of lesions: those of the analysis' mask, or what the options change.

    The sphere of the liver is where the options have it.

    An `engine` that is open on the bundle is used again.
    """
    engine = engine or Engine.of(bundle, settings)
    return predict(
        analysis.with_liver(options.liver),
        record,
        bundle,
        engine=engine,
        method=options.method,
        include=options.include,
        exclude=options.exclude,
        edits=options.edits,
    )


@stage(Stage.REPORT)
def write_reports(
    result: CaseResult,
    bundle: Bundle,
    settings: Settings,
    *,
    paths: Mapping[Language, Path],
    verdict: ReaderDecision | None = None,
    version: int = 1,
    earlier: EarlierReport | None = None,
) -> tuple[ReportContent, str]:
    """Write the report of a case, dated now, in each of the languages.

    A signed one is sealed where the settings name a certificate; `earlier` is what it is compared with.

    Returns:
        The content of the report, and its content hash.

    Raises:
        SettingsError: the certificate cannot be used; nothing is written.
        PredictionMismatchError: the bundle is not the one that predicted.
    """
    seal = None
    if verdict is not None and settings.report_signer is not None:
        seal = signer(settings.report_signer, password_file=settings.report_signer_password_file)
    content = report_content(
        result.analysis,
        result.record,
        result.prediction,
        result.explanation,
        model=bundle,
        centre=settings.centre,
        verdict=verdict,
        version=version,
        concordance=result.concordance,
    )
    if earlier is not None:
        content = replace(content, response=earlier.response, tracking=earlier.tracking)
    for language, path in paths.items():
        write_pdf(content, path, language=language, signer=seal)
    return content, content_hash(content)


@stage(Stage.DICOM)
def write_objects(
    content: ReportContent, source: Path, settings: Settings, *, pdf: Path, out: Path, language: Language
) -> tuple[Path, ...]:
    """Write what a PACS stores of a case into `out`: segmentation, influence map, measurements and report, in DICOM.

    The identity of the patient, which a PACS needs, is read from the source for this alone.
    """
    from fedpet.imaging.dicom.patient_identity import read_identity  # noqa: PLC0415  with highdicom, which a prediction does not need
    from reports.dicom.objects import write_dicom  # noqa: PLC0415  as above

    shutil.rmtree(out, ignore_errors=True)
    return write_dicom(
        content,
        read_identity(source, content.study, limits=input_limits(settings)),
        pdf,
        out,
        language=language,
        label_map=settings.dicom_label_map,
    )


@stage(Stage.IMAGES)
def _write(result: CaseResult, language: Language) -> None:
    out, study, prediction, explanation = result.folder, result.study, result.prediction, result.explanation
    out.mkdir(parents=True, exist_ok=True)
    labels = prediction.lesion_labels
    write_nifti(labels, out / "lesions.nii.gz")
    mip_with_lesions(study, labels, language=language).save(out / "mip.png")
    point = main_point(study.pet, labels, prediction.quantities)
    fused_slices(study, labels, point, language=language).save(out / "fused.png")
    if explanation is not None:
        write_nifti(explanation.attribution, out / "saliency.nii.gz")
        saliency_figure(study, labels, explanation, language=language).save(out / "saliency.png")
    text = json.dumps(
        result_json(result.analysis, result.record, prediction, explanation, result.concordance),
        indent=1,
        ensure_ascii=False,
    )
    (out / "result.json").write_text(text + "\n", encoding="utf-8")
