"""Type, colours and the few building blocks of a page: paragraphs, headings, tables, labelled values.

Colours are told apart with every colour vision and in grey; no meaning rests on colour alone.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, cast
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor, white
from reportlab.lib.enums import TA_CENTER, TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Spacer, Table

from reports.tagging import DATA, LAYOUT, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.lib.colors import Color
    from reportlab.platypus import Flowable

    Cell = str | Flowable | Sequence[Flowable]

REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"
REPLACEMENT = "\ufffd"  # drawn for a character that the fonts do not have
_LONGEST_FACT = 160  # characters
WIDTH = 180 * mm  # of the text on an A4 page
INK, QUIET, RULE = HexColor("#1b2229"), HexColor("#56616b"), HexColor("#c4ccd3")
PANEL, NAVY, BLUE = HexColor("#f2f5f7"), HexColor("#12324a"), HexColor("#0b5a8a")
SKY, VERMILION, TEAL = HexColor("#bcd6e8"), HexColor("#b34700"), HexColor("#00694f")

_SIZES = {
    "body": (8.2, REGULAR, INK),
    "strong": (8.2, BOLD, INK),
    "small": (7.0, REGULAR, INK),
    "small_strong": (7.0, BOLD, INK),
    "quiet": (7.0, REGULAR, QUIET),
    "label": (6.6, REGULAR, QUIET),
    "note": (6.1, REGULAR, QUIET),
    "title": (12.2, BOLD, NAVY),
    "heading": (10.0, BOLD, NAVY),
    "lead": (9.0, BOLD, INK),
    "answer": (30.0, BOLD, NAVY),
}
STYLES = {
    name: ParagraphStyle(name, fontName=font, fontSize=size, leading=1.28 * size, textColor=colour, bulletFontName=font)
    for name, (size, font, colour) in _SIZES.items()
}
STYLES["number"] = ParagraphStyle("number", STYLES["small"], alignment=TA_RIGHT)
STYLES["number_head"] = ParagraphStyle("number_head", STYLES["small_strong"], alignment=TA_RIGHT)
STYLES["centred"] = ParagraphStyle("centred", STYLES["small"], alignment=TA_CENTER)
STYLES["quiet"].spaceBefore = 2
STYLES["answer"].leading = 33


@lru_cache
def register_fonts() -> None:
    """Make the embedded fonts known to ReportLab."""
    folder = resources.files("reports") / "fonts"
    for name in (REGULAR, BOLD):
        with resources.as_file(folder / f"{name}.ttf") as path:
            pdfmetrics.registerFont(TTFont(name, str(path)))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)


@lru_cache
def _glyphs() -> frozenset[int]:
    """The characters that both embedded fonts can draw."""
    fonts = (cast("TTFont", pdfmetrics.getFont(name)) for name in (REGULAR, BOLD))
    return frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))


def drawable(text: str) -> str:
    """The text with `REPLACEMENT` for what the fonts cannot draw; lines end with a line feed."""
    lines = ("".join(c if ord(c) in _glyphs() else REPLACEMENT for c in line) for line in text.splitlines())
    return "\n".join(lines)


def markup(text: str) -> str:
    """Plain text as ReportLab's paragraphs want it."""
    return escape(drawable(text)).replace("\n", "<br/>")


def clipped(text: str, longest: int) -> str:
    """The text, or its beginning and "…" where it is longer: a cell of a table cannot go on to the next page."""
    return text if len(text) <= longest else text[:longest].rsplit(None, 1)[0] + " …"


def paragraph(text: str, style: str = "body", *, tag: str = "P") -> Text:
    """Plain text, never markup."""
    made = Text(markup(text), STYLES[style])
    made.tag = tag
    return made


class Heading(Text):
    """A section's title with a rule below it, and an entry in the document's outline."""

    tag = "H2"

    def __init__(self, text: str) -> None:
        style = ParagraphStyle("section", STYLES["heading"], spaceBefore=7, spaceAfter=4.5, keepWithNext=True)
        super().__init__(markup(text), style)
        self.title = text

    def draw(self) -> None:
        """The title, the rule and the bookmark."""
        key = f"section-{self.title}"
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(self.title, key, level=0)
        super().draw()
        with self.canv.decoration():
            self.canv.setStrokeColor(NAVY)
            self.canv.setLineWidth(0.7)
            self.canv.line(0, -2, WIDTH, -2)


def grid(rows: Sequence[Sequence[Cell]], widths: Sequence[float], *, numbers_from: int | None = None) -> Table:
    """A table with a header row and thin rules; columns from `numbers_from` on are right-aligned."""

    def cell(content: Cell, row: int, column: int) -> Cell:
        if not isinstance(content, str):
            return content
        number = numbers_from is not None and column >= numbers_from
        head, body = ("number_head", "number") if number else ("small_strong", "small")
        return paragraph(content, body if row else head)

    cells = [[cell(content, r, c) for c, content in enumerate(row)] for r, row in enumerate(rows)]
    return Table(
        cells,
        colWidths=list(widths),
        repeatRows=1,
        hAlign="LEFT",
        renderCB=DATA,
        style=[
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            ("LINEBELOW", (0, 0), (-1, 0), 0.7, QUIET),
            ("LINEBELOW", (0, 1), (-1, -1), 0.25, RULE),
            *cell_style(horizontal=3, vertical=1.3),
        ],
    )


def facts(told: Sequence[tuple[str, ...]], *, columns: int, width: float = WIDTH) -> Table:
    """Labelled values, `columns` to a row: a small label, the value and, where given, how it was found."""
    styles = ("label", "body", "note")
    cells: list[Cell] = [
        [paragraph(clipped(text, _LONGEST_FACT), style) for text, style in zip(one, styles, strict=False)]
        for one in told
    ]
    cells += [_nothing()] * (-len(cells) % columns)
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return Table(
        rows,
        colWidths=[width / columns] * columns,
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BACKGROUND", (0, 0), (-1, -1), PANEL),
            ("LINEABOVE", (0, 1), (-1, -1), 0.6, white),
            *cell_style(horizontal=5, vertical=2.5),
        ],
    )


def columns(cells: Sequence[Cell], widths: Sequence[float]) -> Table:
    """Flowables side by side, aligned at the top; "" leaves a gap."""
    return Table(
        [[cell or _nothing() for cell in cells]],
        colWidths=list(widths),
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[("VALIGN", (0, 0), (-1, -1), "TOP"), *cell_style(horizontal=0, vertical=0)],
    )


def panel(content: list[Flowable], width: float, *, edge: Color = NAVY) -> Table:
    """A tinted box with a strong left edge."""
    return Table(
        [[content]],
        colWidths=[width],
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), PANEL),
            ("LINEBEFORE", (0, 0), (0, -1), 2.5, edge),
            *cell_style(horizontal=8, vertical=5),
        ],
    )


def _nothing() -> Spacer:
    """An empty cell: an empty string would be drawn, and be content without an element."""
    return Spacer(0, 0)


def cell_style(
    *, horizontal: float, vertical: float
) -> list[tuple[str, tuple[int, int], tuple[int, int], float | str]]:
    """Padding of every cell, and the embedded font even for empty ones."""
    sides = {"LEFT": horizontal, "RIGHT": horizontal, "TOP": vertical, "BOTTOM": vertical}
    padding = [(f"{side}PADDING", (0, 0), (-1, -1), size) for side, size in sides.items()]
    return [("FONTNAME", (0, 0), (-1, -1), REGULAR), *padding]
