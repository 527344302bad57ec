"""The report as a PDF: A4, in one language; the same content gives the same bytes."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.platypus import BaseDocTemplate, PageTemplate
from reportlab.platypus import paragraph as paragraphs

from explain.explanation import Explanation
from fedpet.clinical.reading import ReadRecord
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.arguments import require_choice, require_type
from fedpet.core.messages import LANGUAGES
from fedpet.core.shared_override import SharedOverride
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.study import PetCtStudy
from inference.bundle.storage import Bundle
from inference.measured_lesions import with_organ_check
from inference.prediction import Prediction
from inference.record_concordance import JoinedRecord
from reports.content import report_content
from reports.content_hash import canonical_json, hash_of
from reports.labels import RESEARCH_ONLY
from reports.locale import Locale
from reports.pdf.answer import answer_in_detail
from reports.pdf.clinical_record import clinical_inputs, concordance
from reports.pdf.examination import acquisition, checks, corrections
from reports.pdf.explanation import comparators, explanation
from reports.pdf.first_page import TITLE, first_page
from reports.pdf.key_slices import key_images, key_slices
from reports.pdf.lesions import findings
from reports.pdf.measurements import healthy_organs
from reports.pdf.model import provenance
from reports.pdf.page import PageFrame, ReportCanvas, report_code, text_frame
from reports.pdf.pdfa import to_pdfa
from reports.pdf.style import REGULAR, register_fonts
from reports.pdf.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reportlab.platypus import Flowable

    from fedpet.core.messages import Language
    from inference.record_concordance import RecordConfirmation
    from reports.content import ReportContent
    from reports.pdf.tagging import Element

_BINARY_STREAMS = SharedOverride(rl_config, "useA85", 0)  # not as text: faster, and a fifth smaller
_BREAKS = re.compile(r"[ \t\r\n\f\v]+")


def _split(text: str, delim: str | None = None) -> list[str]:
    """The words of a text; unlike ReportLab's function it breaks no line at a narrow no-break space."""
    return text.split(delim) if delim is not None else _BREAKS.split(text.strip(" \t\r\n\f\v"))


_NO_BREAKS = SharedOverride(paragraphs, "split", _split)


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
        with_organ_check(joined.analysis, prediction, model.contract),
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
    with _BINARY_STREAMS.held(), _NO_BREAKS.held():
        return _build(content, locale, digest)


def _build(content: ReportContent, locale: Locale, digest: str) -> tuple[bytes, Element]:
    out, canvases = BytesIO(), list[ReportCanvas]()

    def canvas(*args: Any, **kwargs: Any) -> ReportCanvas:
        canvases.append(ReportCanvas(*args, **kwargs))
        canvases[-1].code = report_code(content.report_uid, digest)
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
    document.build(_story(content, locale), canvasmaker=canvas)
    return out.getvalue(), canvases[-1].structure


def _story(content: ReportContent, locale: Locale) -> list[Flowable]:
    return [
        *first_page(content, locale),
        *findings(content, locale),
        *key_slices(content, locale),
        *key_images(content, locale),
        *explanation(content, locale),
        *answer_in_detail(content, locale),
        *clinical_inputs(content, locale),
        *concordance(content, locale),
        *comparators(content, locale),
        *checks(content, locale),
        *corrections(content, locale),
        *acquisition(content, locale),
        *healthy_organs(content, locale),
        *provenance(content, locale),
        *verdict(content, locale),
    ]
