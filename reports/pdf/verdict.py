"""What the reader signed: the verdict on the answer or on the measurements, with the whole comment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.core.messages import Message
from reports.labels import DECISIONS, DECISIONS_WITHOUT_ANSWER
from reports.pdf.style import Heading, facts, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from reports.content import ReportContent
    from reports.locale import Locale


def verdict(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The signed verdict; nothing in a draft."""
    _ = locale.text
    given, abstained = content.verdict, content.prediction.abstained is not None
    if given is None:
        return []
    title = (
        _("The clinician's verdict on these measurements") if abstained else _("The clinician's verdict on this answer")
    )
    mark, sentence = (DECISIONS_WITHOUT_ANSWER if abstained else DECISIONS)[given.decision]
    signed = [
        (_("Reader"), given.reader),
        (_("Signed"), locale.moment(given.signed)),
        (_("Version of the reading"), str(content.version)),
    ]
    said = paragraph(f"{mark} {locale.translate(sentence)}", "strong")
    lines: list[Flowable] = [paragraph(given.comment or _("No comment."), "small")]
    if given.shown:
        shown = Message("What was displayed to the reader, SHA-256: {digest}", digest=given.shown)
        lines.append(paragraph(locale.translate(shown), "small"))
    return [KeepTogether([Heading(title), said, Spacer(0, 1 * mm), facts(signed, columns=3)]), *lines]
