"""Type, colours and the building blocks of a page: paragraphs, headings, tables, labelled values.

Colours can be distinguished with every colour vision and in grey; no meaning rests on colour alone.
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
from reportlab.platypus import Flowable, Spacer, Table

from reports.pdf.tagging import DATA, LAYOUT, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.lib.colors import Color

    Cell = str | Flowable | Sequence[Flowable]

REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"
REPLACEMENT = "\ufffd"  # drawn for a character that the fonts do not have
_LONGEST_FACT = 160  # characters
_ABOVE = 7  # points above a heading
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
    """Register the embedded fonts with ReportLab."""
    folder = resources.files("reports.pdf") / "fonts"
    for name in (REGULAR, BOLD):
        with resources.as_file(folder / f"{name}.ttf") as path:
            pdfmetrics.registerFont(TTFont(name, str(path)))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)


@lru_cache
def _glyphs() -> frozenset[int]:
    """The characters that both embedded fonts can draw."""
    fonts = (cast("TTFont", pdfmetrics.getFont(name)) for name in (REGULAR, BOLD))
    return frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))


def replace_unprintable(text: str) -> str:
    """The text with `REPLACEMENT` for characters that the fonts lack; lines end with a line feed."""
    lines = ("".join(c if ord(c) in _glyphs() else REPLACEMENT for c in line) for line in text.splitlines())
    return "\n".join(lines)


def unprintable(text: str) -> tuple[str, ...]:
    """The characters of a text that the fonts of the report cannot draw, each once, in order."""
    register_fonts()
    return tuple(dict.fromkeys(c for line in text.splitlines() for c in line if ord(c) not in _glyphs()))


def markup(text: str) -> str:
    """Plain text, escaped for ReportLab's paragraphs."""
    return escape(replace_unprintable(text)).replace("\n", "<br/>")


def clip(text: str, longest: int) -> str:
    """The text, or its beginning and "…" where it is longer: a cell of a table cannot continue on the next page."""
    return text if len(text) <= longest else text[:longest].rsplit(None, 1)[0] + " …"


def paragraph(text: str, style: str = "body", *, tag: str = "P") -> Text:
    """Plain text, never markup."""
    element = Text(markup(text), STYLES[style])
    element.tag = tag
    return element


class Heading(Text):
    """A section's title with a rule below it, and an entry in the document's outline."""

    tag = "H2"

    def __init__(self, text: str) -> None:
        style = ParagraphStyle("section", STYLES["heading"], spaceBefore=_ABOVE, spaceAfter=4.5, keepWithNext=True)
        super().__init__(markup(text), style)
        self.title = text

    def draw(self) -> None:
        """Draw the title, the rule and the bookmark."""
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


def facts(values: Sequence[tuple[str, ...]], *, columns: int, width: float = WIDTH) -> Table:
    """Labelled values, `columns` to a row: a small label, the value and, where there is one, a note on its method."""
    styles = ("label", "body", "note")
    cells: list[Cell] = [
        [paragraph(clip(text, _LONGEST_FACT), style) for text, style in zip(one, styles, strict=False)]
        for one in values
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


class Filler(Flowable):
    """A block that fills the rest of a page where it fits there, and otherwise comes later in the document.

    Put the filler where there may be room, and `later()` where the block belongs otherwise.
    """

    def __init__(self, block: Sequence[Flowable]) -> None:
        super().__init__()
        self._block = columns([[Spacer(0, _ABOVE), *block]], [WIDTH])
        self._drawn: Filler | None = None  # which of the two places it is drawn at
        self._first: Filler | None = None

    def later(self) -> Filler:
        """The place of the block where there was no room at this one."""
        place = Filler.__new__(Filler)
        Flowable.__init__(place)
        place._block, place._drawn, place._first = self._block, None, self  # noqa: SLF001  another of this class
        return place

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """The size of the block here; nothing where it is drawn at the other place."""
        if self._first is not None and self._first._drawn is not None:  # noqa: SLF001  as above
            return 0.0, 0.0
        width, height = self._block.wrapOn(self.canv, available_width, available_height)
        if self._first is None and height > available_height:
            return 0.0, 0.0
        self._drawn = self
        return width, height

    def draw(self) -> None:
        """The block, at one of the two places."""
        if self._drawn is not None:
            self._block.drawOn(self.canv, 0, 0)


def _nothing() -> Spacer:
    """An empty cell: an empty string would be drawn as content outside of any element."""
    return Spacer(0, 0)


def cell_style(
    *, horizontal: float, vertical: float
) -> list[tuple[str, tuple[int, int], tuple[int, int], float | str]]:
    """Padding of every cell, and the embedded font even for empty ones."""
    sides = {"LEFT": horizontal, "RIGHT": horizontal, "TOP": vertical, "BOTTOM": vertical}
    padding = [(f"{side}PADDING", (0, 0), (-1, -1), size) for side, size in sides.items()]
    return [("FONTNAME", (0, 0), (-1, -1), REGULAR), *padding]
