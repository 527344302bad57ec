"""The tumour board and the reader: what is asked, what the board decides, and what the reader signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer, Table

from fedpet.messages import Message
from reports.inputs import written
from reports.style import NAVY, QUIET, VERMILION, WIDTH, Heading, cell_style, clipped, facts, panel, paragraph
from reports.tagging import LAYOUT
from reports.wording import DECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from reports.content import ReportContent
    from reports.edition import Edition

NBSP = "\u00a0"
_LONG = 220  # characters of a comment on the first page; all of it stands under the verdict
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
    return [KeepTogether(board), *_verdict(content, edition)]


def status(content: ReportContent, edition: Edition) -> Flowable:
    """Whether this report is final: who signed what and when, or that nobody did."""
    given = content.verdict
    if given is None:
        said = Message("▲ DRAFT, version {version}: not signed by a reader", version=content.version)
        return panel([paragraph(edition.say(said), "strong")], WIDTH, edge=VERMILION)
    mark, sentence = DECISIONS[given.decision]
    said = Message(
        "{mark} {sentence} Signed by {reader}, {moment}. Version {version}.",
        mark=mark,
        sentence=sentence,
        reader=given.reader,
        moment=edition.moment(given.signed),
        version=content.version,
    )
    lines: list[Flowable] = [paragraph(edition.say(said), "strong")]
    if given.comment:
        lines.append(paragraph(clipped(given.comment, _LONG), "small"))
    return panel(lines, WIDTH, edge=NAVY if given.decision == "accept" else VERMILION)


def _verdict(content: ReportContent, edition: Edition) -> list[Flowable]:
    """What the reader signed, or empty fields."""
    _ = edition.translate
    given = content.verdict
    words = {"accept": _("accepted"), "reject": _("rejected"), "amend": _("amended")}
    boxes = [f"{'☒' if given and given.decision == decision else '☐'}{NBSP}{word}" for decision, word in words.items()]
    story = [
        Heading(_("The clinician's verdict on this answer")),
        paragraph((4 * NBSP).join(boxes), "lead"),
        Spacer(0, 1 * mm),
    ]
    if given is None:
        fields = [
            _fields([(_("Comment"), 14)], columns=1),
            _fields([(_("Name and role"), 8), (_("Date and signature"), 8)], columns=2),
        ]
        return [KeepTogether([*story, *fields])]
    signed = [
        (_("Reader"), given.reader),
        (_("Signed"), edition.moment(given.signed)),
        (_("Version of the reading"), str(content.version)),
    ]
    return [KeepTogether([*story, facts(signed, columns=3)]), paragraph(given.comment or _("No comment."), "small")]


def _fields(fields: Sequence[tuple[str, float]], *, columns: int) -> Table:
    """Empty boxes with a small label; heights in mm."""
    height = max(height for _name, height in fields) * mm
    cells = [[paragraph(name, "label") for name, _height in fields]]
    return Table(
        cells,
        colWidths=[WIDTH / columns] * columns,
        rowHeights=[height],
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[
            ("GRID", (0, 0), (-1, -1), 0.4, QUIET),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            *cell_style(horizontal=4, vertical=1.5),
        ],
    )
