"""The tumour board and the reader: the question, what the board decides, and what the reader signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer, Table

from fedpet.core.messages import Message
from reports.labels import DECISIONS, DECISIONS_WITHOUT_ANSWER
from reports.pdf.clinical_record import value_text
from reports.pdf.style import NAVY, QUIET, VERMILION, WIDTH, Heading, cell_style, clip, facts, panel, paragraph
from reports.pdf.tagging import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from reports.content import ReportContent
    from reports.locale import Locale

NBSP = "\u00a0"
_LONG = 220  # characters of a comment on the first page; the whole comment is under the verdict
_CONTEXT = ("ecog_ps", "histology", "pdl1_tps", "line", "drug")


def context(content: ReportContent, locale: Locale) -> Flowable:
    """The patient in one line: what a board wants to know first."""
    _ = locale.text
    labels = (_("ECOG PS"), _("Histology"), _("PD-L1 TPS"), _("Line"), _("Drug"))
    values = [value_text(content.record, name, locale) for name in _CONTEXT]
    return facts(list(zip(labels, values, strict=True)), columns=len(labels))


def meeting(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The board's block and the clinician's verdict, with empty fields."""
    _ = locale.text
    question = _(
        "Question: expected progression-free survival under immunotherapy, from pre-treatment PET/CT and clinical data."
    )
    board = [
        Heading(_("Tumour board (RCP)")),
        paragraph(question, "small"),
        Spacer(0, 1 * mm),
        context(content, locale),
        Spacer(0, 1 * mm),
        _fields([(_("Date of the meeting"), 8), (_("Participants"), 8)], columns=2),
        _fields([(_("Proposal of the board"), 16)], columns=1),
        _fields([(_("Signature"), 10)], columns=1),
    ]
    return [KeepTogether(board), *_verdict(content, locale)]


def status(content: ReportContent, locale: Locale) -> Flowable:
    """Whether this report is final: who signed what and when, or that no reader has signed it."""
    verdict = content.verdict
    if verdict is None:
        draft = Message("▲ DRAFT, version {version}: not signed by a reader", version=content.version)
        return panel([paragraph(locale.translate(draft), "strong")], WIDTH, edge=VERMILION)
    abstained = content.prediction.abstained is not None
    mark, sentence = (DECISIONS_WITHOUT_ANSWER if abstained else DECISIONS)[verdict.decision]
    signed = Message(
        "{mark} {sentence} Signed by {reader}, {moment}. Version {version}.",
        mark=mark,
        sentence=sentence,
        reader=verdict.reader,
        moment=locale.moment(verdict.signed),
        version=content.version,
    )
    lines: list[Flowable] = [paragraph(locale.translate(signed), "strong")]
    if verdict.comment:
        lines.append(paragraph(clip(verdict.comment, _LONG), "small"))
    return panel(lines, WIDTH, edge=NAVY if verdict.decision == "accept" else VERMILION)


def _verdict(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The signed verdict, or empty fields for it."""
    _ = locale.text
    verdict = content.verdict
    words = {"accept": _("accepted"), "reject": _("rejected"), "amend": _("amended")}
    boxes = [
        f"{'☒' if verdict and verdict.decision == decision else '☐'}{NBSP}{word}" for decision, word in words.items()
    ]
    story = [
        Heading(
            _("The clinician's verdict on this answer")
            if content.prediction.abstained is None
            else _("The clinician's verdict on these measurements")
        ),
        paragraph((4 * NBSP).join(boxes), "lead"),
        Spacer(0, 1 * mm),
    ]
    if verdict is None:
        fields = [
            _fields([(_("Comment"), 14)], columns=1),
            _fields([(_("Name and role"), 8), (_("Date and signature"), 8)], columns=2),
        ]
        return [KeepTogether([*story, *fields])]
    signed = [
        (_("Reader"), verdict.reader),
        (_("Signed"), locale.moment(verdict.signed)),
        (_("Version of the reading"), str(content.version)),
    ]
    lines = [paragraph(verdict.comment or _("No comment."), "small")]
    if verdict.shown:
        shown = Message("What was displayed to the reader, SHA-256: {digest}", digest=verdict.shown)
        lines.append(paragraph(locale.translate(shown), "small"))
    return [KeepTogether([*story, facts(signed, columns=3)]), *lines]


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
