"""What must be read beside the numbers of the structured report, as sentences in the language of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import CodeContentItem, DateTimeContentItem, RelationshipTypeValues, TextContentItem

from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.suv.overrides import LABELS
from inference.encoding import input_label
from inference.record_concordance import LABELS as LABELS_COMPARED
from inference.record_concordance import with_days
from reports.clinical_markers import markers
from reports.conclusion import conclusion
from reports.dicom import codes
from reports.labels import AGREEMENTS, CHECKS, LEVELS, RESEARCH_ONLY, SYNTHETIC_MEANS, confirmed_by, without_remark
from reports.measures import percist_eligibility, response_lines
from reports.pdf.clinical_record import value_text
from reports.pdf.first_page import effects, points

if TYPE_CHECKING:
    from collections.abc import Iterator

    from highdicom.sr import ContentItem
    from pydicom.sr.coding import Code

    from fedpet.imaging.study import AppliedOverride, QualityCheck
    from inference.record_concordance import RecordConcordance
    from reports.content import ReaderDecision
    from reports.dicom.export import Export

_CONTAINS = RelationshipTypeValues.CONTAINS


def statements(export: Export) -> Iterator[ContentItem]:
    """Warnings, the record, markers and effects, corrections, checks that did not pass, the verdict, the hash."""
    content, say = export.content, export.locale.translate
    prediction, explanation = content.prediction, content.explanation
    yield _text(codes.COMMENT, say(RESEARCH_ONLY))
    if prediction.model.synthetic:
        yield _text(codes.COMMENT, say(SYNTHETIC_MEANS))
    yield _text(codes.PSEUDONYM, content.study.pseudonym)
    yield _text(codes.CONCLUSION, conclusion(content, export.locale))
    yield _text(codes.COMMENT, say(percist_eligibility(content, export.locale)))
    if content.response is not None:
        yield from (_text(codes.COMMENT, line) for line in response_lines(content.response, export.locale))
    if prediction.abstained is not None:
        yield _text(codes.ABSTENTION, say(prediction.abstained))
    if prediction.missing:
        yield _text(codes.MISSING, ", ".join(say(input_label(name)) for name in prediction.missing))
    yield from (_text(codes.COMMENT, line) for line in _beside_the_answer(export))
    if explanation is not None and not explanation.reliable:
        unreliable = Message("Attribution map not reliable: at least one gate failed, so the map is not shown.")
        yield _text(codes.COMMENT, say(unreliable))
    yield from (_text(codes.COMMENT, _corrected(one, export)) for one in content.study.corrections)
    failed = (check for check in content.checks if check.level is not CheckStatus.PASS)
    yield from (_text(codes.QUALITY_FINDING, _checked(check, export)) for check in failed)
    passed = sum(check.level is CheckStatus.PASS for check in content.checks)
    yield _text(codes.QUALITY_FINDING, say(without_remark(passed)))
    if content.concordance is not None:
        yield from _concordance(content.concordance, export)
    if content.verdict is not None:
        yield from _verdict(content.verdict, export)
    yield _text(codes.REPORT_HASH, export.digest)


def _beside_the_answer(export: Export) -> Iterator[str]:
    """The record with what the model used of it, the markers without the model, the effects that were measured."""
    content, locale = export.content, export.locale
    stated = [name for name in VARIABLES if getattr(content.record, name) is not None]
    values = [
        f"{locale.translate(VARIABLES[name].label)} {value_text(content.record, name, locale)}" for name in stated
    ]
    if values:
        yield locale.translate(Message("Clinical record: {values}.", values=locale.listed(values)))
    for one in markers(content.record, content.prediction.quantities.tmtv_ml):
        yield locale.translate(Message("{name}: {value}", name=one.name, value=one.value))
    if content.verdict is not None and content.verdict.decision == "reject":
        return
    for effect in effects(content.explanation):
        said = Message("Effect on the answer, in points: {what} {points}", what=effect.label,
                       points=points(effect, locale))  # fmt: skip
        yield locale.translate(said)


def _concordance(found: RecordConcordance, export: Export) -> Iterator[ContentItem]:
    """Every item of the record that was compared with the images, and who confirmed what differs."""
    say = export.locale.translate
    for item in found.items:
        _mark, word = AGREEMENTS[item.verdict]
        compared = Message(
            "{item}: {record} (record), {images} (images) – {verdict}",
            item=LABELS_COMPARED[item.name],
            record=Message("not stated") if item.record is None else with_days(item.record, export.locale.day),
            images=Message("not stated") if item.images is None else with_days(item.images, export.locale.day),
            verdict=word,
        )
        yield _text(codes.QUALITY_FINDING, say(compared))
    if found.confirmed:
        yield _text(codes.COMMENT, say(confirmed_by(found)))


def _verdict(verdict: ReaderDecision, export: Export) -> Iterator[ContentItem]:
    yield CodeContentItem(codes.VERDICT, codes.VERDICTS[verdict.decision], _CONTAINS)
    if verdict.comment:
        yield _text(codes.COMMENT, verdict.comment)
    yield _text(codes.READER, verdict.reader)
    if verdict.shown:
        yield _text(codes.SHOWN, verdict.shown)
    yield DateTimeContentItem(codes.SIGNED, export.moment(verdict.signed), _CONTAINS)


def _corrected(correction: AppliedOverride, export: Export) -> str:
    sentence = Message(
        "Corrected by a person: {name}, {new} in place of {old}. Reason: {reason}",
        name=LABELS[correction.name],
        new=correction.new,
        old=Message("nothing") if correction.old is None else correction.old,
        reason=correction.reason,
    )
    return export.locale.translate(sentence)


def _checked(check: QualityCheck, export: Export) -> str:
    say = export.locale.translate
    name = say(CHECKS[check.name]) if check.name in CHECKS else check.name
    return f"{say(LEVELS[check.level][1])} – {name} – {say(check.reason)}"


def _text(name: Code, value: str) -> TextContentItem:
    return TextContentItem(name, value, _CONTAINS)
