"""What must be read beside the numbers of the structured report, as sentences in the language of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import CodeContentItem, DateTimeContentItem, RelationshipTypeValues, TextContentItem

from clinical.variables import VARIABLES
from fedpet.messages import Message
from imaging.corrections import LABELS
from imaging.study import Level
from reports import dicom_codes as codes
from reports.wording import CHECKS, LEVELS, RESEARCH_ONLY, SYNTHETIC_MEANS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from highdicom.sr import ContentItem
    from pydicom.sr.coding import Code

    from imaging.corrections import AppliedCorrection
    from imaging.study import QualityCheck
    from reports.content import ReaderVerdict
    from reports.dicom_export import Export

_CONTAINS = RelationshipTypeValues.CONTAINS


def statements(export: Export) -> Iterator[ContentItem]:
    """Warnings, the abstention, missing inputs, corrections, checks that did not pass, the verdict, the hash."""
    content, say = export.content, export.edition.say
    prediction, explanation = content.prediction, content.explanation
    yield _text(codes.COMMENT, say(RESEARCH_ONLY))
    if prediction.model.synthetic:
        yield _text(codes.COMMENT, say(SYNTHETIC_MEANS))
    if prediction.abstained is not None:
        yield _text(codes.ABSTENTION, say(prediction.abstained))
    if prediction.missing:
        yield _text(codes.MISSING, ", ".join(say(VARIABLES[name].label) for name in prediction.missing))
    if explanation is not None and not explanation.reliable:
        unreliable = Message("Attribution map not reliable: at least one gate failed, so the map is not shown.")
        yield _text(codes.COMMENT, say(unreliable))
    yield from (_text(codes.COMMENT, _corrected(one, export)) for one in content.study.corrections)
    failed = (check for check in content.study.checks if check.level is not Level.PASS)
    yield from (_text(codes.QUALITY_FINDING, _checked(check, export)) for check in failed)
    if content.verdict is not None:
        yield from _verdict(content.verdict, export)
    yield _text(codes.REPORT_HASH, export.digest)


def _verdict(verdict: ReaderVerdict, export: Export) -> Iterator[ContentItem]:
    yield CodeContentItem(codes.VERDICT, codes.VERDICTS[verdict.decision], _CONTAINS)
    if verdict.comment:
        yield _text(codes.COMMENT, verdict.comment)
    yield _text(codes.READER, verdict.reader)
    yield DateTimeContentItem(codes.SIGNED, export.moment(verdict.signed), _CONTAINS)


def _corrected(correction: AppliedCorrection, export: Export) -> str:
    sentence = Message(
        "Corrected by a person: {name}, {new} in place of {old}. Reason: {reason}",
        name=LABELS[correction.name],
        new=correction.new,
        old=Message("nothing") if correction.old is None else correction.old,
        reason=correction.reason,
    )
    return export.edition.say(sentence)


def _checked(check: QualityCheck, export: Export) -> str:
    say = export.edition.say
    name = say(CHECKS[check.name]) if check.name in CHECKS else check.name
    return f"{say(LEVELS[check.level][1])} – {name} – {say(check.reason)}"


def _text(name: Code, value: str) -> TextContentItem:
    return TextContentItem(name, value, _CONTAINS)
