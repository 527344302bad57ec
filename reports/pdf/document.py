"""The report as a PDF: A4, in one language; the same content gives the same bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import BaseDocTemplate, PageTemplate, Spacer

from explain.explanation import Explanation
from fedpet.clinical.reading import ReadRecord
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.arguments import require_choice, require_type
from fedpet.core.messages import LANGUAGES, Message
from fedpet.core.shared_override import SharedOverride
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.study import PetCtStudy
from inference.bundle.storage import Bundle
from inference.prediction import Prediction
from inference.record_concordance import JoinedRecord
from reports.content import report_content
from reports.content_hash import canonical_json, hash_of
from reports.labels import RESEARCH_ONLY
from reports.locale import Locale
from reports.pdf.answer import answer
from reports.pdf.clinical_record import clinical_inputs, concordance, contradictions, missing_line
from reports.pdf.examination import acquisition, checks, corrections
from reports.pdf.explanation import comparators, explanation
from reports.pdf.lesions import findings
from reports.pdf.measurements import excluded_components, healthy_organs
from reports.pdf.model import provenance
from reports.pdf.page import PageFrame, ReportCanvas, text_frame
from reports.pdf.pdfa import to_pdfa
from reports.pdf.style import REGULAR, Filler, columns, paragraph, register_fonts
from reports.pdf.tumour_board import context, meeting, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reportlab.platypus import Flowable

    from fedpet.core.messages import Language
    from inference.record_concordance import RecordConfirmation
    from reports.content import ReportContent
    from reports.pdf.tagging import Element

_BINARY_STREAMS = SharedOverride(rl_config, "useA85", 0)  # not as text: faster, and a fifth smaller
TITLE = Message("Progression-free survival under immunotherapy")


def write_pdf(
    content: ReportContent, path: Path, *, language: Language, signer: Callable[[bytes], bytes] | None = None
) -> str:
    """Write the report.

    Args:
        content: of the report.
        path: of the file.
        language: of everything except the sentences of the model card and what readers wrote.
        signer: seals the finished file (`reports.signing.signer`); the bytes then differ each time.

    Returns:
        The content hash that is printed on every page: SHA-256, hexadecimal (see `reports.content_hash`).
    """
    canonical = canonical_json(content)
    digest = hash_of(canonical.encode("ascii"))
    pages, structure = _draw(content, Locale(language), digest)
    document = to_pdfa(pages, structure, content=canonical, created=content.created)
    path.write_bytes(document if signer is None else signer(document))
    return digest


def write_report(
    path: str | Path,
    study: PetCtStudy | StudyAnalysis,
    record: ClinicalRecord | ReadRecord,
    prediction: Prediction,
    explanation: Explanation | None = None,
    *,
    model: Bundle,
    language: Language = "fr",
    centre: str = "",
    confirmation: RecordConfirmation | None = None,
) -> str:
    """Write the report of a prediction as PDF (PDF/A-3u, A4): a draft, which nobody has signed.

    Args:
        path: of the file; an existing one is replaced.
        study: the images that were predicted, or their analysis.
        record: the record that was predicted.
        prediction: of both.
        explanation: of the prediction; without one, the report has no influence map.
        model: the bundle that predicted: its card is printed.
        language: "fr" or "en".
        centre: name of the centre, printed on every page.
        confirmation: as it was given to the prediction.

    Returns:
        The content hash that is printed on every page: SHA-256, hexadecimal (see `reports.content_hash`).

    Raises:
        ArgumentError: an argument of another type, or an unknown language.
        PredictionMismatchError: the prediction is not of these images, this record and this model, or the explanation
            not of it.
        OSError: the file cannot be written.
    """
    require_type("study", study, PetCtStudy, StudyAnalysis)
    require_type("record", record, ClinicalRecord, ReadRecord)
    require_type("prediction", prediction, Prediction)
    require_type("explanation", explanation, Explanation, NoneType)
    require_type("model", model, Bundle)
    require_choice("language", language, LANGUAGES)
    joined = JoinedRecord.of(study, record, confirmation=confirmation)
    content = report_content(
        joined.analysis,
        joined.record,
        prediction,
        explanation,
        model=model,
        centre=centre,
        concordance=joined.concordance,
    )
    return write_pdf(content, Path(path), language=language)


def _draw(content: ReportContent, locale: Locale, digest: str) -> tuple[bytes, Element]:
    """The pages as ReportLab writes them, and their structure."""
    register_fonts()
    out, canvases = BytesIO(), list[ReportCanvas]()

    def canvas(*args: Any, **kwargs: Any) -> ReportCanvas:
        canvases.append(ReportCanvas(*args, **kwargs))
        return canvases[-1]

    document = BaseDocTemplate(
        out,
        pagesize=A4,
        lang="fr-FR" if locale.language == "fr" else "en-GB",
        title=locale.translate(TITLE),
        author=content.centre or "fedpet",
        subject=locale.translate(RESEARCH_ONLY),
        creator="fedpet",
        keywords=[content.report_uid, digest],
        invariant=1,
        initialFontName=REGULAR,
        pageCompression=1,
    )
    document.addPageTemplates(PageTemplate(frames=[text_frame()], onPageEnd=PageFrame(content, locale, digest)))
    with _BINARY_STREAMS.held():
        document.build(_story(content, locale), canvasmaker=canvas)
    return out.getvalue(), canvases[-1].structure


def _story(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    caution = _(
        "Read the images and form an opinion before reading this answer: an automatic answer, even a wrong one, sways"
        " its reader."
    )
    markers = Filler(comparators(content, locale))
    return [
        *_title(content, locale),
        status(content, locale),
        Spacer(0, 1.5 * mm),
        context(content, locale),
        Spacer(0, 2.5 * mm),
        *contradictions(content, locale),
        *([] if content.prediction.abstained else [paragraph(caution, "strong"), Spacer(0, 1 * mm)]),
        *answer(content, locale),
        Spacer(0, 1.5 * mm),
        missing_line(content, locale),
        *excluded_components(content, locale),
        *checks(content, locale),
        *corrections(content, locale),
        *acquisition(content, locale),
        *findings(content, locale),
        *healthy_organs(content, locale),
        markers,
        *explanation(content, locale),
        *clinical_inputs(content, locale),
        *concordance(content, locale),
        markers.later(),
        *provenance(content, locale),
        *meeting(content, locale),
    ]


def _title(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    right = [
        Message("Patient: {pseudonym}", pseudonym=content.study.pseudonym),
        Message("Examination: {day}", day=locale.day(content.study.study_date) or _("date not stated")),
        Message("Report: {moment}", moment=locale.moment(content.created)),
    ]
    left = [
        paragraph(locale.translate(TITLE), "title", tag="H1"),
        paragraph(_("From pre-treatment FDG PET/CT and clinical data, non-small-cell lung cancer"), "quiet"),
    ]
    return [
        columns([left, [paragraph(locale.translate(line), "small") for line in right]], [128 * mm, 52 * mm]),
        Spacer(0, 1.5 * mm),
    ]
