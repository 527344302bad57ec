"""What every page has: the research-only banner, the identifiers, and the watermark of a synthetic model."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont
from reportlab.graphics.barcode.qrencoder import QRCode, QRErrorCorrectLevel
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Frame

from fedpet.core.messages import Message
from reports.labels import RESEARCH_ONLY, SYNTHETIC, SYNTHETIC_MEANS
from reports.pdf.charts import shorten
from reports.pdf.style import BOLD, INK, NAVY, QUIET, REGULAR, RULE, WIDTH, replace_unprintable
from reports.pdf.tagging import TaggedCanvas

if TYPE_CHECKING:
    from reports.content import ReportContent
    from reports.locale import Locale

_PAGE_WIDTH, _PAGE_HEIGHT = A4
MARGIN = (_PAGE_WIDTH - WIDTH) / 2
BANNER = 10 * mm
IDENTITY = 8 * mm  # below the banner: empty, for the identity in the edition of the hospital's file
_BOTTOM = 21 * mm
_CODE = 15 * mm  # side of the QR code
_SIZE = 9.0  # points
_TOTAL, _QR = "total-pages", "report-code"  # names of forms
FRAME_HEIGHT = _PAGE_HEIGHT - BANNER - IDENTITY - _BOTTOM
_WATERMARK, _WATERMARKS = 7.5, 4  # height of the letters, points; how often on each side


def text_frame() -> Frame:
    """The part of a page for the text."""
    return Frame(
        MARGIN, _BOTTOM, WIDTH, FRAME_HEIGHT,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
    )  # fmt: skip


class ReportCanvas(TaggedCanvas):
    """A canvas with forms drawn on every page: the number of pages, known only at the end, and the QR code."""

    code = ""  # what the QR code says

    def save(self) -> None:
        """Define the forms, then finish the file."""
        self.beginForm(_QR)
        _draw_code(self, self.code)
        self.endForm()
        self.beginForm(_TOTAL)
        self.setFont(REGULAR, _SIZE)
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
        canvas.rect(0, _PAGE_HEIGHT - BANNER, _PAGE_WIDTH, BANNER, stroke=0, fill=1)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.setFont(BOLD, _SIZE)
        synthetic = self.content.prediction.model.synthetic
        height = _PAGE_HEIGHT - (4.4 if synthetic else 6.2) * mm
        canvas.drawCentredString(_PAGE_WIDTH / 2, height, self.locale.translate(RESEARCH_ONLY))
        if synthetic:
            canvas.setFont(REGULAR, _SIZE)
            canvas.drawCentredString(_PAGE_WIDTH / 2, _PAGE_HEIGHT - 8.4 * mm, self.locale.translate(SYNTHETIC_MEANS))

    def _footer(self, canvas: TaggedCanvas, page: int) -> None:
        _ = self.locale.text
        content, right, left = self.content, _PAGE_WIDTH - MARGIN, MARGIN + _CODE + 3 * mm
        canvas.setStrokeColor(RULE)
        canvas.line(MARGIN, 20 * mm, right, 20 * mm)
        canvas.translate(MARGIN, 4 * mm)
        canvas.doForm(_QR)
        canvas.translate(-MARGIN, -4 * mm)
        canvas.setFillColor(QUIET)
        canvas.setFont(REGULAR, _SIZE)
        centre = content.centre or _("centre not configured")
        said = replace_unprintable(f"{content.study.pseudonym}  ·  {self.locale.translate(version_statement(content))}")
        canvas.drawString(left, 15 * mm, shorten(said, right - left - 22 * mm, size=_SIZE))
        canvas.drawRightString(right - 5 * mm, 15 * mm, _("Page") + f" {page} /")
        report = _("Report") + f" {content.report_uid}  ·  " + replace_unprintable(centre)
        canvas.drawString(left, 10.5 * mm, shorten(report, right - left, size=_SIZE))
        canvas.drawString(left, 6 * mm, f"SHA-256 {self.digest}")
        canvas.translate(right - 4.2 * mm, 15 * mm)
        canvas.doForm(_TOTAL)
        canvas.translate(4.2 * mm - right, -15 * mm)

    def _watermark(self, canvas: TaggedCanvas) -> None:
        """Words up the outer margins, as pictures: they lie over no image, and are no text that is extracted."""
        picture = _picture_of(self.locale.translate(SYNTHETIC))
        words, wide = ImageReader(picture), picture.width * _WATERMARK / picture.height
        for x in (2 * mm, _PAGE_WIDTH - 2 * mm - _WATERMARK):
            for i in range(_WATERMARKS):
                canvas.saveState()
                canvas.translate(x + _WATERMARK, 26 * mm + i * (_PAGE_HEIGHT - 45 * mm) / _WATERMARKS)
                canvas.rotate(90)
                canvas.drawImage(words, 0, 0, wide, _WATERMARK)
                canvas.restoreState()


@lru_cache
def _picture_of(words: str) -> Image.Image:
    """Words as a picture."""
    with resources.as_file(resources.files("reports.pdf") / "fonts" / f"{BOLD}.ttf") as path:
        face = ImageFont.truetype(str(path), 48)
    left, top, right, bottom = face.getbbox(words)
    picture = Image.new("RGB", (int(right - left) + 4, int(bottom - top) + 4), "white")
    ImageDraw.Draw(picture).text((2 - left, 2 - top), words, font=face, fill=(179, 71, 0))
    return picture


def report_code(report_uid: str, digest: str) -> str:
    """What the QR code of a report says: its UID and the hash of its content, in capitals, which take less room."""
    return f"URN:OID:{report_uid} SHA256:{digest.upper()}"


def _draw_code(canvas: TaggedCanvas, text: str) -> None:
    """A QR code (ISO/IEC 18004, level M) with its lower left corner at the origin."""
    code: Any = QRCode(None, QRErrorCorrectLevel.M)  # without types
    code.addData(text)
    code.make()
    side = code.getModuleCount()
    module = _CODE / side
    path = canvas.beginPath()
    for row in range(side):
        for column in range(side):
            if code.isDark(row, column):
                path.rect(column * module, _CODE - (row + 1) * module, module, module)
    canvas.setFillColor(INK)
    canvas.drawPath(path, stroke=0, fill=1)


def version_statement(content: ReportContent) -> Message:
    """The version, and whether a reader has signed it."""
    if content.verdict is None:
        return Message("version {number}, draft: not signed", number=content.version)
    return Message("version {number}, signed by a reader", number=content.version)
