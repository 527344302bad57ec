"""The report as PDF: A4, embedded fonts, bookmarks, document language, the same bytes for the same content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Spacer

from fedpet.messages import Message
from reports.answer import answer
from reports.digest import content_hash
from reports.edition import Edition
from reports.examination import acquisition, checks
from reports.findings import findings
from reports.inputs import clinical_inputs, missing_line
from reports.meeting import context, meeting
from reports.provenance import provenance
from reports.style import BOLD, NAVY, QUIET, REGULAR, RULE, WIDTH, columns, paragraph, register_fonts
from reports.why import comparators, explanation
from reports.wording import RESEARCH_ONLY, SYNTHETIC, SYNTHETIC_MEANS

if TYPE_CHECKING:
    from pathlib import Path

    from reportlab.platypus import Flowable

    from fedpet.messages import Language
    from reports.content import ReportContent

_PAGE_WIDTH, _PAGE_HEIGHT = A4
_MARGIN = (_PAGE_WIDTH - WIDTH) / 2
_TOP, _BOTTOM = 17 * mm, 17 * mm
_TOTAL = "total-pages"
TITLE = Message("Progression-free survival under immunotherapy")


def write_pdf(content: ReportContent, path: Path, *, language: Language) -> str:
    """Write the report.

    Returns:
        The content hash that is printed on every page: SHA-256, hexadecimal (see `reports.digest`).
    """
    register_fonts()
    edition = Edition(language)
    digest = content_hash(content)
    frame = Frame(
        _MARGIN, _BOTTOM, WIDTH, _PAGE_HEIGHT - _TOP - _BOTTOM,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
    )  # fmt: skip
    document = BaseDocTemplate(
        str(path),
        pagesize=A4,
        lang="fr-FR" if language == "fr" else "en-GB",
        title=edition.say(TITLE),
        author=content.centre or "fedpet",
        subject=edition.say(RESEARCH_ONLY),
        creator="fedpet",
        keywords=[content.report_uid, digest],
        invariant=1,
        initialFontName=REGULAR,
        pageCompression=1,
    )
    document.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=_Furniture(content, edition, digest)))
    document.build(_story(content, edition), canvasmaker=_CountingCanvas)
    return digest


def _story(content: ReportContent, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    caution = _(
        "Read the images and form an opinion before reading this answer: an automatic answer, even a wrong one, sways"
        " its reader."
    )
    return [
        *_title(content, edition),
        context(content, edition),
        Spacer(0, 3 * mm),
        *answer(content, edition),
        Spacer(0, 1.5 * mm),
        missing_line(content, edition),
        *([] if content.prediction.abstained else [paragraph(caution, "quiet")]),
        *checks(content, edition),
        *acquisition(content, edition),
        *findings(content, edition),
        *explanation(content, edition),
        *clinical_inputs(content, edition),
        *comparators(content, edition),
        *provenance(content, edition),
        *meeting(content, edition),
    ]


def _title(content: ReportContent, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    right = [
        Message("Patient: {pseudonym}", pseudonym=content.study.pseudonym),
        Message("Examination: {day}", day=edition.day(content.study.study_date) or _("date not stated")),
        Message("Report: {moment}", moment=edition.moment(content.created)),
    ]
    left = [
        paragraph(edition.say(TITLE), "title"),
        paragraph(_("From pre-treatment FDG PET/CT and clinical data, non-small-cell lung cancer"), "quiet"),
    ]
    return [
        columns([left, [paragraph(edition.say(line), "small") for line in right]], [128 * mm, 52 * mm]),
        Spacer(0, 2 * mm),
    ]


class _CountingCanvas(Canvas):
    """A canvas that writes the number of pages, known only at the end, into a form drawn on every page."""

    def save(self) -> None:
        """Define the form, then finish the file."""
        self.beginForm(_TOTAL)
        self.setFont(REGULAR, 6.5)
        self.setFillColor(QUIET)
        self.drawString(0, 0, str(self.getPageNumber() - 1))
        self.endForm()
        super().save()


class _Furniture:
    """What every page carries: the research-only banner, the identifiers, and the watermark of a synthetic model."""

    def __init__(self, content: ReportContent, edition: Edition, digest: str) -> None:
        self.content, self.edition, self.digest = content, edition, digest

    def __call__(self, canvas: Canvas, document: Any) -> None:  # noqa: ANN401 - ReportLab's callback
        """Draw over the finished page."""
        canvas.saveState()
        self._banner(canvas)
        self._footer(canvas, document.page)
        if self.content.prediction.model.synthetic:
            self._watermark(canvas)
        canvas.restoreState()

    def _banner(self, canvas: Canvas) -> None:
        canvas.setFillColor(NAVY)
        canvas.rect(0, _PAGE_HEIGHT - 10 * mm, _PAGE_WIDTH, 10 * mm, stroke=0, fill=1)
        canvas.setFillGray(1)
        canvas.setFont(BOLD, 8.4)
        synthetic = self.content.prediction.model.synthetic
        height = _PAGE_HEIGHT - (4.6 if synthetic else 6.3) * mm
        canvas.drawCentredString(_PAGE_WIDTH / 2, height, self.edition.say(RESEARCH_ONLY))
        if synthetic:
            canvas.setFont(REGULAR, 6.8)
            canvas.drawCentredString(_PAGE_WIDTH / 2, _PAGE_HEIGHT - 8.2 * mm, self.edition.say(SYNTHETIC_MEANS))

    def _footer(self, canvas: Canvas, page: int) -> None:
        _ = self.edition.translate
        content, right = self.content, _PAGE_WIDTH - _MARGIN
        canvas.setStrokeColor(RULE)
        canvas.line(_MARGIN, 13 * mm, right, 13 * mm)
        canvas.setFillColor(QUIET)
        canvas.setFont(REGULAR, 6.5)
        centre = content.centre or _("centre not configured")
        canvas.drawString(_MARGIN, 9.8 * mm, f"{content.study.pseudonym}  ·  {centre}")
        canvas.drawRightString(right - 2.4 * mm, 9.8 * mm, _("Page") + f" {page} /")
        canvas.setFont(REGULAR, 6.0)  # the longest UID (44 characters) and the hash fit on one line
        canvas.drawString(_MARGIN, 6.6 * mm, _("Report") + f" {content.report_uid}")
        canvas.drawRightString(right, 6.6 * mm, _("Content SHA-256") + f" {self.digest}")
        canvas.translate(right - 1.6 * mm, 9.8 * mm)
        canvas.doForm(_TOTAL)
        canvas.translate(1.6 * mm - right, -9.8 * mm)

    def _watermark(self, canvas: Canvas) -> None:
        canvas.translate(_PAGE_WIDTH / 2, _PAGE_HEIGHT / 2)
        canvas.rotate(52)
        canvas.setFont(BOLD, 52)
        canvas.setFillColor(QUIET, alpha=0.13)
        canvas.drawCentredString(0, 0, self.edition.say(SYNTHETIC))
