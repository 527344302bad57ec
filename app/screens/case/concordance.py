"""The clinical record against the images: every item compared, and the confirmation of what contradicts."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from fedpet.core.messages import Message
from inference.record_concordance import LABELS, Agreement, compare_record, complete_record, with_days
from reports.labels import AGREEMENTS, confirmed_by

if TYPE_CHECKING:
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.clinical.reading import ReadRecord
    from fedpet.imaging.study import PatientFacts
    from inference.record_concordance import ComparedItem, RecordConcordance

_COLOURS = {Agreement.DIFFER: "fail", Agreement.AGREE: "pass", Agreement.NOT_STATED: "warn"}
_CONTRADICTS = Message("The clinical record contradicts the images: it may be another patient’s.")


def compare(
    read: ReadRecord, images: PatientFacts, key: bytes, copied: frozenset[str] = frozenset()
) -> RecordConcordance:
    """Compare a record as entered with what the images state of their patient, but for what was copied from them."""
    reference = replace(read.reference(key), copied=copied)
    return compare_record(complete_record(read.record, reference, images), reference, images)


def draw_items(found: RecordConcordance, loc: Localization) -> None:
    """Draw the table of the items compared."""
    rows = "".join(_row(item, loc) for item in found.items)
    label = escape(loc.text("Record and images compared"))
    st.html(f"<table class='fp fp-pairs' data-testid='concordance' aria-label='{label}'>{rows}</table>")


def _row(item: ComparedItem, loc: Localization) -> str:
    """An item with its verdict; both sides of it in words, where they are not the same."""
    name, verdict = escape(loc.translate(LABELS[item.name])), escape(loc.translate(AGREEMENTS[item.verdict][1]))
    level = f"<span class='fp-level {_COLOURS[item.verdict]}'>{verdict}</span>"
    if item.verdict is Agreement.AGREE:
        return f"<tr><th scope='row'>{loc.titled(name)} {_side(item.images, loc)}</th><td>{level}</td></tr>"
    titled = ((loc.text("Record"), item.record), (loc.text("Images"), item.images))
    sides = "<br>".join(f"{loc.titled(escape(title))} {_side(value, loc)}" for title, value in titled)
    return f"<tr><th scope='row'>{name}</th><td>{level}</td><td colspan='2'>{sides}</td></tr>"


def ask_for_reason(case: Case, found: RecordConcordance, loc: Localization) -> str:
    """Say what contradicts, and ask why the record is right all the same; "" where no reason is given yet."""
    _ = loc.text
    st.error(f"**{loc.translate(_CONTRADICTS)}** {loc.translate(found.check().reason)}", icon=":material/person_alert:")
    if not found.same_pet:
        st.warning(
            _("A PET of another day than the record’s is not answered, even confirmed: correct the record."),
            icon=":material/event_busy:",
        )
    typed = st.text_input(
        _("Correct the record above, or say why it is right although it contradicts the images"),
        key=f"{case.id}/confirmation",
        placeholder=_("reason, kept with the answer and in the audit trail; never a name"),
    )
    return typed.strip()


def draw_contradictions(found: RecordConcordance, loc: Localization) -> None:
    """Draw, above an answer, what of its record contradicts the images; nothing where all fits."""
    if not found.contradictions:
        return
    sentences = [f"**{loc.translate(_CONTRADICTS)}** {loc.translate(found.check().reason)}"]
    if found.confirmed:
        sentences.append(loc.translate(confirmed_by(found)))
    st.error(" ".join(sentences), icon=":material/person_alert:")


def _side(value: Message | None, loc: Localization) -> str:
    return "–" if value is None else escape(loc.translate(with_days(value, loc.day)))
