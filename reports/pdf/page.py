"""What every page has: the research-only banner, the identifiers, and the watermark of a synthetic model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import Frame

from fedpet.core.messages import Message
from reports.labels import RESEARCH_ONLY, SYNTHETIC, SYNTHETIC_MEANS
from reports.pdf.style import BOLD, NAVY, QUIET, REGULAR, RULE, WIDTH, replace_unprintable
from reports.pdf.tagging import TaggedCanvas

if TYPE_CHECKING:
    from reports.content import ReportContent
    from reports.locale import Locale

_PAGE_WIDTH, _PAGE_HEIGHT = A4
_MARGIN = (_PAGE_WIDTH - WIDTH) / 2
_TOP, _BOTTOM = 14 * mm, 15 * mm
_TOTAL = "total-pages"


def text_frame() -> Frame:
    """The part of a page for the text."""
    return Frame(
        _MARGIN, _BOTTOM, WIDTH, _PAGE_HEIGHT - _TOP - _BOTTOM,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
    )  # fmt: skip


class ReportCanvas(TaggedCanvas):
    """A canvas that writes the number of pages, known only at the end, into a form drawn on every page."""

    def save(self) -> None:
        """Define the form, then finish the file."""
        self.beginForm(_TOTAL)
        self.setFont(REGULAR, 6.5)
        self.setFillColor(QUIET)
        self.drawString(0, 0, str(self.getPageNumber() - 1))
        self.endForm()
        super().save()


class PageFrame:
    """Draws banner, footer and watermark over a finished page; all of it is decoration, the same on every page."""

    def __init__(self, content: ReportContent, locale: Locale, digest: str) -> None:
        self.content, self.locale, self.digest = content, locale, digest

    def __call__(self, canvas: Any, document: Any) -> None:  # noqa: ANN401 - ReportLab's callback
        """Draw the banner, the footer and, for a synthetic model, the watermark, on a `TaggedCanvas`."""
        with canvas.decoration():
            canvas.saveState()
            self._banner(canvas)
            self._footer(canvas, document.page)
            if self.content.prediction.model.synthetic:
                self._watermark(canvas)
            canvas.restoreState()

    def _banner(self, canvas: TaggedCanvas) -> None:
        canvas.setFillColor(NAVY)
        canvas.rect(0, _PAGE_HEIGHT - 10 * mm, _PAGE_WIDTH, 10 * mm, stroke=0, fill=1)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.setFont(BOLD, 8.4)
        synthetic = self.content.prediction.model.synthetic
        height = _PAGE_HEIGHT - (4.6 if synthetic else 6.3) * mm
        canvas.drawCentredString(_PAGE_WIDTH / 2, height, self.locale.translate(RESEARCH_ONLY))
        if synthetic:
            canvas.setFont(REGULAR, 6.8)
            canvas.drawCentredString(_PAGE_WIDTH / 2, _PAGE_HEIGHT - 8.2 * mm, self.locale.translate(SYNTHETIC_MEANS))

    def _footer(self, canvas: TaggedCanvas, page: int) -> None:
        _ = self.locale.text
        content, right = self.content, _PAGE_WIDTH - _MARGIN
        canvas.setStrokeColor(RULE)
        canvas.line(_MARGIN, 13 * mm, right, 13 * mm)
        canvas.setFillColor(QUIET)
        canvas.setFont(REGULAR, 6.5)
        centre = content.centre or _("centre not configured")
        left = replace_unprintable(
            f"{content.study.pseudonym}  ·  {self.locale.translate(version_statement(content))}  ·  {centre}"
        )
        canvas.drawString(_MARGIN, 9.8 * mm, shorten(canvas, left, 150 * mm))
        canvas.drawRightString(right - 2.4 * mm, 9.8 * mm, _("Page") + f" {page} /")
        canvas.setFont(REGULAR, 6.0)  # the longest UID (44 characters) and the hash fit on one line
        canvas.drawString(_MARGIN, 6.6 * mm, _("Report") + f" {content.report_uid}")
        canvas.drawRightString(right, 6.6 * mm, _("Content SHA-256") + f" {self.digest}")
        canvas.translate(right - 1.6 * mm, 9.8 * mm)
        canvas.doForm(_TOTAL)
        canvas.translate(1.6 * mm - right, -9.8 * mm)

    def _watermark(self, canvas: TaggedCanvas) -> None:
        canvas.translate(_PAGE_WIDTH / 2, _PAGE_HEIGHT / 2)
        canvas.rotate(52)
        canvas.setFont(BOLD, 52)
        canvas.setFillColor(QUIET, alpha=0.13)
        canvas.drawCentredString(0, 0, self.locale.translate(SYNTHETIC))


def version_statement(content: ReportContent) -> Message:
    """The version, and whether a reader has signed it."""
    if content.verdict is None:
        return Message("version {number}, draft: not signed", number=content.version)
    return Message("version {number}, signed by a reader", number=content.version)


def shorten(canvas: TaggedCanvas, text: str, width: float, *, size: float = 6.5) -> str:
    """The text, ending in "…" where it would be wider than `width` points."""
    if canvas.stringWidth(text, REGULAR, size) <= width:
        return text
    while text and canvas.stringWidth(f"{text}…", REGULAR, size) > width:
        text = text[:-1]
    return f"{text}…"
