"""The structure of a page for screen readers: headings, tables, figures, and what is decoration.

ReportLab draws; this canvas writes the marked-content operators around what is drawn (PDF 1.7, 14.6) and records the
tree of elements (14.7), which `reports.pdf.pdfa` puts into the file. Everything outside of an element is an artifact.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reportlab.platypus import Image
    from reportlab.platypus.tables import TableRenderCB

_CELLS = {"TH", "TD"}


@dataclass(frozen=True)
class TagMark:
    """A marked part of a page: the page, from 0, and the number of the mark on that page."""

    page: int
    number: int


@dataclass(eq=False)
class Element:
    """A node of the structure tree. `alt` replaces a figure, `box` its (left, bottom, right, top), points."""

    tag: str
    alt: str = ""
    box: tuple[float, float, float, float] | None = None
    kids: list[Element | TagMark] = field(default_factory=list)


class TaggedCanvas(Canvas):
    """A canvas that records the structure of what it draws."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.structure = Element("Document")
        self._open = [self.structure]
        self._marks = 0

    def open(self, tag: str) -> None:
        """Begin an element that holds others, such as a table."""
        element = Element(tag)
        self._open[-1].kids.append(element)
        self._open.append(element)

    def close(self) -> None:
        """End the innermost element."""
        self._open.pop()

    @contextmanager
    def content(self, tag: str, *, alt: str = "", size: tuple[float, float] | None = None) -> Iterator[None]:
        """Everything drawn inside is one element; text in a cell of a table is the content of the cell.

        `size` is the width and height of a figure whose lower left corner is the origin.
        """
        holder = self._open[-1]
        if holder.tag not in _CELLS or tag == "Figure":
            holder = Element(tag, alt, None if size is None else self._box(size))
            self._open[-1].kids.append(holder)
        holder.kids.append(TagMark(self.getPageNumber() - 1, self._marks))
        self.addLiteral(f"/{tag} <</MCID {self._marks}>> BDC")
        self._marks += 1
        yield
        self.addLiteral("EMC")

    def _box(self, size: tuple[float, float]) -> tuple[float, float, float, float]:
        left, bottom = self.absolutePosition(0, 0)
        return left, bottom, left + size[0], bottom + size[1]

    @contextmanager
    def decoration(self) -> Iterator[None]:
        """Everything drawn inside is an artifact: rules, backgrounds, what every page repeats."""
        self.begin_decoration()
        yield
        self.end_decoration()

    def begin_decoration(self) -> None:
        """Start an artifact; like `decoration`, for callbacks."""
        self.addLiteral("/Artifact BMC")

    def end_decoration(self) -> None:
        """End an artifact."""
        self.addLiteral("EMC")

    def showPage(self) -> None:  # noqa: N802  ReportLab's name
        """Start a page; the numbers of its marks start at 0."""
        super().showPage()
        self._marks = 0


class Text(Paragraph):
    """A paragraph, or a heading where `tag` says so. Each line but the last ends in a space: no two words are glued."""

    canv: TaggedCanvas
    tag = "P"

    def breakLines(self, width: Any) -> Any:  # noqa: ANN401, N802  ReportLab's name and types
        """The lines, each but the last with a space at its end."""
        broken = super().breakLines(width)
        for line in broken.lines[:-1]:
            if broken.kind == 0:
                if line[1][-1:] != [""]:
                    line[1].append("")
            elif not line.words[-1].text.endswith(" "):
                line.words[-1] = line.words[-1].clone(text=line.words[-1].text + " ")
        return broken

    def draw(self) -> None:
        """Draw the text as an element."""
        with self.canv.content(self.tag):
            super().draw()


class Figure(Flowable):
    """A picture or a chart with the text that replaces it for screen readers."""

    canv: TaggedCanvas

    def __init__(self, inner: Image | Flowable, alt: str, *, align: Literal["LEFT", "CENTER"] = "LEFT") -> None:
        super().__init__()
        self.inner, self.alt = inner, alt
        self.hAlign = align

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """The size of the picture or chart."""
        self.width, self.height = self.inner.wrap(available_width, available_height)
        return self.width, self.height

    def draw(self) -> None:
        """Draw the picture or chart as an element."""
        with self.canv.content("Figure", alt=self.alt, size=(self.width, self.height)):
            self.inner.drawOn(self.canv, 0, 0)


def _layout(table: Any, event: str, *_: Any) -> None:  # noqa: ANN401  ReportLab's callback
    """A table used for layout only: its backgrounds and rules are artifacts."""
    canvas: TaggedCanvas = table.canv
    if event in {"startBG", "startLines"}:
        canvas.begin_decoration()
    elif event in {"endBG", "endLines"}:
        canvas.end_decoration()


def _data(table: Any, event: str, *where: Any) -> None:  # noqa: ANN401  ReportLab's callback
    """A table of data whose first row holds the headings of its columns."""
    _layout(table, event)
    canvas: TaggedCanvas = table.canv
    if event == "startTable":
        canvas.open("Table")
    elif event == "startRow":
        canvas.open("TR")
    elif event == "startCell":
        canvas.open("TD" if where[0] else "TH")
    elif event in {"endCell", "endRow", "endTable"}:
        canvas.close()


LAYOUT, DATA = cast("TableRenderCB", _layout), cast("TableRenderCB", _data)  # ReportLab does no more than call them
