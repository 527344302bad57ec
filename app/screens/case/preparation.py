"""A case before its answer: the checks of its images and its clinical record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.cases.model_choice import bundle_for
from app.cases.prefill import copied, found_in
from app.cases.tables import Status, digest_of
from app.screens import model_card as model
from app.screens.case import checks, concordance, record_form
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import follow_progress, show_error, user
from app.services import services
from fedpet.core.errors import FedpetError
from fedpet.imaging.study import PatientFacts

if TYPE_CHECKING:
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.clinical.reading import ReadRecord
    from inference.record_concordance import RecordConcordance


def draw(case: Case, loc: Localization) -> RecordConcordance | None:
    """Draw the record while the images are checked, and the start of the computation.

    Returns:
        The record against the images; None where one of them is not known yet.
    """
    _ = loc.text
    inspection = case.stored_inspection
    if case.status in {Status.FETCHING, Status.CHECKING}:
        follow_progress(case.id, case.status, loc)
    elif inspection is not None and inspection.refused is not None:
        sentences = " ".join(map(loc.translate, inspection.refused.sentences))
        words = _("No SUV: the images can be looked at, but nothing is measured or predicted.")
        st.error(f"**{words}** {sentences}", icon=":material/block:")
    st.header(_("Clinical record"), anchor=False)
    try:
        bundle = bundle_for(case, services().settings)
    except FedpetError as error:
        show_error(error, loc)
        if case.status is Status.CHECKED:
            model.draw_other_in_force(case, loc)
        return None
    read = record_form.draw(case, bundle.contract.variables, loc)
    found = None
    if read is not None and (inspection is None or inspection.refused is None):
        images = PatientFacts() if inspection is None else inspection.patient.facts
        found = concordance.compare(read, images, services().settings.pseudonym_key(), copied(case))
        _draw_start(case, read, found, loc)
        found = None if images == PatientFacts() else found
    if inspection is not None:
        st.header(_("PET/CT study"), anchor=False)
        checks.draw(case, inspection, loc)
    return found


def _draw_start(case: Case, read: ReadRecord, found: RecordConcordance, loc: Localization) -> None:
    """Draw what contradicts, what is missing, and the start of the computation."""
    _ = loc.text
    reason = ""
    if found.contradictions:
        reason = concordance.ask_for_reason(case, found, loc)
    delay_known = read.record.pet_to_treatment_days is not None or read.first_dose is not None
    if not delay_known:
        st.warning(
            _("Give the days from the PET to the first dose, or the day of the first dose."), icon=":material/event:"
        )
    # the record is not part of it: what this window entered was saved, what another wrote counts as another version
    shown = digest_of([case.version, case.options, found_in(case.inspection), record_form.shown_version(case)])
    if not _start_bar(shown, loc, disabled=not delay_known):
        return
    if found.contradictions and not reason:
        st.error(_("Give a reason, or correct the record."), icon=":material/error:")
        return
    workflow = services().workflow
    if case.language != loc.language:  # reports are written in the language of who starts the analysis
        case = workflow.store.save_draft(case.id, {}, loc.language)
    workflow.confirm_record(case.id, actor=user(), contradicting=found, reason=reason, shown=case.digest)
    st.rerun()


def _start_bar(shown: str, loc: Localization, *, disabled: bool) -> bool:
    _ = loc.text
    with st.container(horizontal=True, vertical_alignment="center"):
        started = decision_button(
            _("Start the analysis"),
            shown,
            key="start",
            type="primary",
            icon=":material/play_arrow:",
            disabled=disabled,
        )
        st.caption(_("You may close this page: the case stays in the list."))
    return started
