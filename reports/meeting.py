"""The tumour board: what is asked and decided, and the clinician's verdict on the answer. Fields to be filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer, Table

from reports.inputs import written
from reports.style import QUIET, WIDTH, Heading, cell_style, facts, paragraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from reports.content import ReaderVerdict, ReportContent
    from reports.edition import Edition

NBSP = "\u00a0"
_CONTEXT = ("ecog_ps", "histology", "pdl1_tps", "line", "drug")


def context(content: ReportContent, edition: Edition) -> Flowable:
    """The patient in one line: what a board asks first."""
    _ = edition.translate
    labels = (_("ECOG PS"), _("Histology"), _("PD-L1 TPS"), _("Line"), _("Drug"))
    values = [written(content.record, name, edition) for name in _CONTEXT]
    return facts(list(zip(labels, values, strict=True)), columns=len(labels))


def meeting(content: ReportContent, edition: Edition) -> list[Flowable]:
    """The board's block and the clinician's verdict, with empty fields."""
    _ = edition.translate
    asked = _(
        "Question: expected progression-free survival under immunotherapy, from pre-treatment PET/CT and clinical data."
    )
    board = [
        Heading(_("Tumour board (RCP)")),
        paragraph(asked, "small"),
        Spacer(0, 1 * mm),
        context(content, edition),
        Spacer(0, 1 * mm),
        _fields([(_("Date of the meeting"), 8), (_("Participants"), 8)], columns=2),
        _fields([(_("Proposal of the board"), 16)], columns=1),
        _fields([(_("Signature"), 10)], columns=1),
    ]
    return [KeepTogether(board), KeepTogether(_verdict(content.verdict, edition))]


def _verdict(given: ReaderVerdict | None, edition: Edition) -> list[Flowable]:
    """What the reader signed, or empty fields."""
    _ = edition.translate
    words = {"accept": _("accepted"), "reject": _("rejected"), "amend": _("amended")}
    boxes = [f"{'☒' if given and given.decision == decision else '☐'}{NBSP}{word}" for decision, word in words.items()]
    story = [
        Heading(_("The clinician's verdict on this answer")),
        paragraph((4 * NBSP).join(boxes), "lead"),
        Spacer(0, 1 * mm),
    ]
    if given is None:
        return [
            *story,
            _fields([(_("Comment"), 14)], columns=1),
            _fields([(_("Name and role"), 8), (_("Date and signature"), 8)], columns=2),
        ]
    signed = [(_("Reader"), given.reader), (_("Signed"), edition.moment(given.signed))]
    return [*story, paragraph(given.comment or _("No comment."), "body"), facts(signed, columns=2)]


def _fields(fields: Sequence[tuple[str, float]], *, columns: int) -> Table:
    """Empty boxes with a small label; heights in mm."""
    height = max(height for _name, height in fields) * mm
    cells = [[paragraph(name, "label") for name, _height in fields]]
    return Table(
        cells,
        colWidths=[WIDTH / columns] * columns,
        rowHeights=[height],
        hAlign="LEFT",
        style=[
            ("GRID", (0, 0), (-1, -1), 0.4, QUIET),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            *cell_style(horizontal=4, vertical=1.5),
        ],
    )
