"""The structure of a page for those who do not see it: what is a heading, a table, a figure, and what is decoration.

ReportLab draws; this canvas writes the marked-content operators around what is drawn (PDF 1.7, 14.6) and remembers the
tree of elements (14.7), which `reports.archive` puts into the file. Whatever lies outside an element is an artifact.
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
class Mark:
    """A stretch of a page's content: the page, from 0, and its number on that page."""

    page: int
    number: int


@dataclass(eq=False)
class Element:
    """A node of the structure tree. `alt` is said in place of a figure."""

    tag: str
    alt: str = ""
    kids: list[Element | Mark] = field(default_factory=list)


class TaggedCanvas(Canvas):
    """A canvas that knows what it draws."""

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
    def content(self, tag: str, *, alt: str = "") -> Iterator[None]:
        """What is drawn meanwhile is one element; inside a cell of a table it is the cell's own content."""
        holder = self._open[-1]
        if holder.tag not in _CELLS:
            holder = Element(tag, alt)
            self._open[-1].kids.append(holder)
        holder.kids.append(Mark(self.getPageNumber() - 1, self._marks))
        self.addLiteral(f"/{tag} <</MCID {self._marks}>> BDC")
        self._marks += 1
        yield
        self.addLiteral("EMC")

    @contextmanager
    def decoration(self) -> Iterator[None]:
        """What is drawn meanwhile is an artifact: rules, backgrounds, what every page repeats."""
        self.begin_decoration()
        yield
        self.end_decoration()

    def begin_decoration(self) -> None:
        """As `decoration`, for callbacks."""
        self.addLiteral("/Artifact BMC")

    def end_decoration(self) -> None:
        """The end of it."""
        self.addLiteral("EMC")

    def showPage(self) -> None:  # noqa: N802  ReportLab's name
        """Numbers of marks start anew on every page."""
        super().showPage()
        self._marks = 0


class Text(Paragraph):
    """A paragraph, or a heading where `tag` says so."""

    canv: TaggedCanvas
    tag = "P"

    def draw(self) -> None:
        """The text, as an element."""
        with self.canv.content(self.tag):
            super().draw()


class Figure(Flowable):
    """A picture or a chart with the words that replace it."""

    canv: TaggedCanvas

    def __init__(self, inner: Image | Flowable, alt: str, *, align: Literal["LEFT", "CENTER"] = "LEFT") -> None:
        super().__init__()
        self.inner, self.alt = inner, alt
        self.hAlign = align

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """The size of what is inside."""
        self.width, self.height = self.inner.wrap(available_width, available_height)
        return self.width, self.height

    def draw(self) -> None:
        """What is inside, as an element."""
        with self.canv.content("Figure", alt=self.alt):
            self.inner.drawOn(self.canv, 0, 0)


def _layout(table: Any, event: str, *_: Any) -> None:  # noqa: ANN401  ReportLab's callback
    """A table that only places things side by side: its backgrounds and rules are artifacts."""
    canvas: TaggedCanvas = table.canv
    if event in {"startBG", "startLines"}:
        canvas.begin_decoration()
    elif event in {"endBG", "endLines"}:
        canvas.end_decoration()


def _data(table: Any, event: str, *where: Any) -> None:  # noqa: ANN401  ReportLab's callback
    """A table of data whose first row holds the heads of its columns."""
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
