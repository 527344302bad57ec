"""The left rail of the workspace: patient, dates, whether record and images fit, what the checks found."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.lifecycle import STATUS_LABELS
from app.cases.reading import Reading
from app.cases.tables import Status, digest_of
from app.screens.case import comparison, concordance
from app.screens.case import details as facts
from app.screens.case.dates import of_patient
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import CASE, is_synthetic, user
from app.services import services
from fedpet.core.errors import StudyError
from fedpet.core.messages import Message
from reports.labels import radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlit.navigation.page import StreamlitPage

    from app.cases.stored_result import StoredInspection, StoredPet, StoredResult
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from inference.record_concordance import RecordConcordance


_SEXES = {"M": Message("male"), "F": Message("female"), "O": Message("other")}


def draw(
    case: Case,
    inspection: StoredInspection | None,
    result: StoredResult | None,
    compared: RecordConcordance | None,
    loc: Localization,
    pages: Mapping[str, StreamlitPage],
) -> None:
    """Draw the rail.

    Args:
        case: the case.
        inspection: what the checks of its images found; None before they are done.
        result: its answer, whose checks are those of the report; None before there is one.
        compared: its record against its images; None where it is not known yet.
        loc: the language in force.
        pages: of the application, by name.
    """
    _ = loc.text
    _draw_patient(case, loc)
    if case.is_answered or case.status is Status.CHECKED:
        _draw_identity(case, compared, loc)
    _draw_examinations(case, loc, pages)
    if compared is not None:
        st.header(_("Record and images compared"), anchor=False)
        concordance.draw_items(compared, loc)
    if inspection is None:
        return
    st.header(_("Quality of the images"), anchor=False)
    facts.draw_checks(inspection.checks if result is None else result.checks, loc)
    st.header(_("PET series"), anchor=False)
    _draw_pet(inspection.pet, loc)


def _draw_patient(case: Case, loc: Localization) -> None:
    name = case.pseudonym or loc.translate(Message("no. {number}", number=case.id[:8]))
    day = loc.translate(Message("PET/CT of {date}", date=loc.day(case.study_date))) if case.study_date else ""
    came = loc.translate(Message("received {moment}", moment=loc.moment(case.created)))
    lines = "".join(f"<span>{escape(line)}</span>" for line in (day, came) if line)
    tag = f"<span class='fp-tag' role='note'>{escape(loc.text('SYNTHETIC MODEL'))}</span>" if is_synthetic(case) else ""
    st.html(f"<div class='fp-strip'><b>{escape(name)}</b>{lines}{tag}</div>")


def _draw_identity(case: Case, compared: RecordConcordance | None, loc: Localization) -> None:
    """Whom the images name, for this page alone, and that it is the patient of the record, which the reader says."""
    _ = loc.text
    workflow, settings = services().workflow, services().settings
    try:
        named = workflow.named_patient(case, settings.pseudonym_key())
    except StudyError as error:  # the answer stays locked, and the reader is told why
        st.warning(loc.translate(error.found))
        return
    if named is None:
        return
    facts = [loc.day(named.birth_date) if named.birth_date else "", loc.translate(_SEXES.get(named.sex, Message("–")))]
    lines = "".join(f"<span>{escape(one)}</span>" for one in facts if one)
    name = escape(named.name or _("The images name no patient."))
    st.html(f"<div class='fp-strip' data-testid='identity'><b>{name}</b>{lines}</div>")
    said = Reading.of(case).identity
    if said is not None:
        words = Message("Images and record are of one patient: {reader}.", reader=said.by)
        st.caption(f":material/check: {loc.translate(words)}")
        return
    contradicts = compared is not None and bool(compared.contradictions) and not compared.confirmed
    label = _("Images and record are of one patient")
    # not the lesions, which the reader may have corrected since the page was drawn
    shown = digest_of([case.version, case.pseudonym, case.record, case.inspection])
    if decision_button(label, shown, key="identity", icon=":material/how_to_reg:", disabled=contradicts):
        workflow.confirm_identity(case.id, actor=user(), shown=case.digest)
        st.rerun()


def _draw_examinations(case: Case, loc: Localization, pages: Mapping[str, StreamlitPage]) -> None:
    """The dates of the patient: each leads to its case, and this one to the comparison."""
    _ = loc.text
    known = of_patient(case)
    if len(known) < 2:
        return
    st.header(_("Examinations"), anchor=False)
    with st.container(gap=None, key="examinations"):
        for one in known:
            if one.id == case.id:
                st.html(f"<p class='fp-date on'>{escape(loc.day(one.study_date))} · {escape(_('shown'))}</p>")
            else:
                label = f"{loc.day(one.study_date)} · {loc.translate(STATUS_LABELS[one.status])}"
                st.page_link(pages["case"], label=label, query_params={CASE: one.id})
        others = comparison.others(case) if comparison.has_answer(case) else ()
        if not others:
            st.caption(_("They can be compared once the lesions of both are confirmed."))
            return
        label = loc.translate(Message("Compare with another examination of this patient ({n})", n=len(others)))
        st.page_link(pages["comparison"], label=label, query_params={CASE: case.id}, icon=":material/compare_arrows:")


def _draw_pet(pet: StoredPet, loc: Localization) -> None:
    tracer = loc.translate(radiopharmaceutical(pet.radiopharmaceutical, pet.radiopharmaceutical_code))
    parts = [pet.scanner, tracer]
    if pet.dose_bq:
        parts.append(f"{loc.number(pet.dose_bq / 1e6, 0)} MBq")
    if pet.uptake_min is not None:
        parts.append(f"{loc.number(pet.uptake_min, 0)} min")
    parts.append(f"{pet.units} {pet.suv_type}".strip())
    st.html(f"<p class='fp-muted'>{escape(' · '.join(part for part in parts if part))}</p>")
