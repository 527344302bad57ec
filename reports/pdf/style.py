"""Type, colours and the building blocks of a page: paragraphs, headings, tables, labelled values.

Colours can be distinguished with every colour vision and in grey; no meaning rests on colour alone.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, cast
from unicodedata import bidirectional, category, normalize
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor, white
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import CondPageBreak, Flowable, Spacer, Table

from reports.pdf.tagging import DATA, LAYOUT, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.lib.colors import Color

    Cell = str | Flowable | Sequence[Flowable]

REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"
REPLACEMENT = "\ufffd"  # drawn for a character that the fonts do not have
_FROM_THE_RIGHT = frozenset({"R", "AL", "AN"})  # classes of the Unicode bidirectional algorithm
_LONGEST_FACT = 160  # characters
_ABOVE = 9  # points above a heading
_BEGINS = 45 * mm  # of room that a heading and the first rows of a table take
_ENDLESS = 1e6  # points: no page ends
WIDTH = 180 * mm  # of the text on an A4 page
INK, QUIET, RULE = HexColor("#1b2229"), HexColor("#56616b"), HexColor("#c4ccd3")
PANEL, NAVY, BLUE = HexColor("#f2f5f7"), HexColor("#12324a"), HexColor("#0b5a8a")
SKY, VERMILION, TEAL = HexColor("#bcd6e8"), HexColor("#b34700"), HexColor("#00694f")

# No size below 9 points is on the first page: `body` and what is larger, `caption` and `column`.
_SIZES = {
    "body": (9.0, REGULAR, INK),
    "strong": (9.0, BOLD, INK),
    "caption": (9.0, REGULAR, QUIET),
    "column": (9.0, BOLD, QUIET),
    "small": (8.2, REGULAR, INK),
    "head": (7.6, BOLD, INK),
    "small_strong": (8.2, BOLD, INK),
    "quiet": (8.2, REGULAR, QUIET),
    "label": (8.0, REGULAR, QUIET),
    "note": (7.6, REGULAR, QUIET),
    "title": (13.0, BOLD, NAVY),
    "heading": (11.5, BOLD, NAVY),
    "part": (10.5, BOLD, NAVY),
    "lead": (10.5, REGULAR, INK),
    "answer": (30.0, BOLD, NAVY),
}
STYLES = {
    name: ParagraphStyle(name, fontName=font, fontSize=size, leading=1.26 * size, textColor=colour, bulletFontName=font)
    for name, (size, font, colour) in _SIZES.items()
}
for _name in ("small", "body", "strong", "column", "head"):
    STYLES[f"{_name}_right"] = ParagraphStyle(f"{_name}_right", STYLES[_name], alignment=TA_RIGHT)
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
    """The characters that both embedded fonts can draw and that are read when drawn one by one from the left.

    Arabic and Hebrew would stand in the wrong order, Arabic unjoined; invisible controls would turn or hide others.
    """
    fonts = (cast("TTFont", pdfmetrics.getFont(name)) for name in (REGULAR, BOLD))
    both = frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))
    return frozenset(c for c in both if bidirectional(chr(c)) not in _FROM_THE_RIGHT and category(chr(c)) != "Cf")


def replace_unprintable(text: str) -> str:
    """The text with `REPLACEMENT` for characters that the fonts lack; lines end with a line feed."""
    lines = ("".join(c if ord(c) in _glyphs() else REPLACEMENT for c in line) for line in _composed(text))
    return "\n".join(lines)


def unprintable(text: str) -> tuple[str, ...]:
    """The characters of a text that the fonts of the report cannot draw, each once, in order."""
    register_fonts()
    return tuple(dict.fromkeys(c for line in _composed(text) for c in line if ord(c) not in _glyphs()))


def _composed(text: str) -> list[str]:
    """The lines, letters and their accents as one character."""
    return normalize("NFC", text).splitlines()


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


class DocumentTitle(Text):
    """The title of the document, the first entry of its outline."""

    tag = "H1"

    def __init__(self, text: str) -> None:
        super().__init__(markup(text), STYLES["title"])
        self.title = text

    def draw(self) -> None:
        """Draw the title and its bookmark."""
        self.canv.bookmarkPage("title")
        self.canv.addOutlineEntry(self.title, "title", level=0)
        super().draw()


class PartHeading(Text):
    """The title of a part of the first page, which stands in a column, with a rule of that width below it."""

    tag = "H2"

    def __init__(self, text: str) -> None:
        super().__init__(markup(text), ParagraphStyle("part", STYLES["part"], spaceBefore=6, spaceAfter=3))

    def draw(self) -> None:
        """Draw the title and the rule."""
        super().draw()
        with self.canv.decoration():
            self.canv.setStrokeColor(NAVY)
            self.canv.setLineWidth(0.7)
            self.canv.line(0, -1, self.width, -1)


class Heading(Text):
    """A section's title with a rule below it, and an entry in the document's outline."""

    tag = "H2"

    def __init__(self, text: str, *, whole: bool = True) -> None:
        style = ParagraphStyle("section", STYLES["heading"], spaceBefore=_ABOVE, spaceAfter=4.5, keepWithNext=whole)
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


def splitting(title: str, table: Table) -> list[Flowable]:
    """A section whose table may go on to the next page, and begins where a few of its rows have room."""
    return [CondPageBreak(_BEGINS), Heading(title, whole=False), table]


def grid(
    rows: Sequence[Sequence[Cell]],
    widths: Sequence[float],
    *,
    numbers_from: int | None = None,
    large: bool = False,
) -> Table:
    """A table whose first row is the heading; from column `numbers_from` on, cells are aligned at the right.

    `large` is for the first page, where nothing is below 9 points.
    """
    head, body = ("column", "body") if large else ("head", "small")

    def cell(content: Cell, row: int, column: int) -> Cell:
        if not isinstance(content, str):
            return content
        number = numbers_from is not None and column >= numbers_from
        style = body if row else head
        return paragraph(content, f"{style}_right" if number else style)

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
    return tinted(rows, [width / columns] * columns)


def tinted(rows: Sequence[Sequence[Cell]], widths: Sequence[float]) -> Table:
    """Cells on a tinted ground, with a white line between rows."""
    return Table(
        [list(row) for row in rows],
        colWidths=list(widths),
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


def panel(content: Sequence[Flowable], width: float, *, edge: Color = NAVY) -> Table:
    """A tinted box with a strong left edge."""
    return Table(
        [[list(content)]],
        colWidths=[width],
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), PANEL),
            ("LINEBEFORE", (0, 0), (0, -1), 2.5, edge),
            *cell_style(horizontal=8, vertical=5),
        ],
    )


def height_of(content: Sequence[Flowable], width: float) -> float:
    """Height of flowables below each other in a cell, points."""
    return float(columns([list(content)], [width]).wrap(width, _ENDLESS)[1])


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
