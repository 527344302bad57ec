"""One case: its progress, why it stopped, or its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.cases.tables import ANSWERED, BUSY, Status
from app.screens.case import answer, checks, comparison, concordance, images, preparation, record_form
from app.screens.case import details as facts
from app.screens.case import explanation as reasons
from app.screens.case import sign_off as verdict
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import (
    CASE,
    chosen_case,
    errors_shown,
    follow_progress,
    is_synthetic,
    show_status,
    synthetic_banner,
    user,
)
from app.screens.layout.localization import localization
from app.services import FILES, services
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlit.navigation.page import StreamlitPage

    from app.cases.stored_result import StoredInspection, StoredResult
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization


def draw(pages: Mapping[str, StreamlitPage]) -> None:
    """Draw the case that the address names, with ways to the other `pages`."""
    loc = localization()
    _ = loc.text
    case = chosen_case()
    if case is None:
        st.title(_("Case"), anchor=False)
        st.info(_("No such case."))
        st.page_link(pages["worklist"], label=_("Back to the cases"), icon=":material/arrow_back:")
        return
    case = record_form.keep_typed(case, loc)
    _draw_heading(case, loc)
    if case.status in ANSWERED and (result := case.stored_result) and (inspection := case.stored_inspection):
        _draw_answer(case, result, inspection, loc, pages)
    elif case.status is Status.RUNNING:
        follow_progress(case.id, Status.RUNNING, loc)
    elif case.status in {Status.REFUSED, Status.FAILED}:
        _draw_stopped(case, loc)
    else:
        preparation.draw(case, loc)
    if case.status not in ANSWERED:
        verdict.draw_earlier(case, services().store.versions(case.id), loc)
    _draw_removal(case, loc, pages["worklist"])


def _draw_heading(case: Case, loc: Localization) -> None:
    _ = loc.text
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.title(f"{_('Case')} {case.pseudonym}".strip(), anchor=False, width="content")
            show_status(case.status, loc)
            facts_line = [loc.moment(case.created)]
            if case.study_date:
                facts_line.insert(0, loc.translate(Message("PET/CT of {date}", date=loc.day(case.study_date))))
            st.caption(" · ".join(facts_line), width="content")
        if case.status in ANSWERED:
            reports = (("fr", _("Report in French")), ("en", _("Report in English")))
            folder = f"{FILES}/{case.id}/{case.version}" if case.status is Status.SIGNED else f"{FILES}/{case.id}"
            links = (
                f"<a class='fp-button' href='{folder}/report.{language}.pdf' download>{label} (PDF)</a>"
                for language, label in reports
            )
            st.html(f"<p class='fp-links'>{''.join(links)}</p>", width="content")


def _draw_answer(
    case: Case,
    result: StoredResult,
    inspection: StoredInspection,
    loc: Localization,
    pages: Mapping[str, StreamlitPage],
) -> None:
    _ = loc.text
    if is_synthetic(case):
        synthetic_banner(loc)
    if others := comparison.others(case):
        label = loc.translate(Message("Compare with another examination of this patient ({n})", n=len(others)))
        st.page_link(pages["comparison"], label=label, query_params={CASE: case.id}, icon=":material/compare_arrows:")
    compared = None if result.concordance is None else result.concordance.concordance
    if compared is not None:
        concordance.draw_contradictions(compared, loc)
    answer.draw(result.prediction, loc, card=pages["model"])
    st.header(_("Images and lesions"), anchor=False)
    facts.draw_quantities(result.prediction.quantities, loc)
    images.draw(case, result, loc)
    with st.container(key="stack_answer"):
        left, right = st.columns(2, gap="large")
    abstained = result.prediction.abstained is not None
    with left:
        if abstained:
            _draw_markers(result, loc)
        else:
            st.header(_("What the answer rests on"), anchor=False)
            reasons.draw_contributions(result, loc)
            st.subheader(_("What if a lesion were absent"), anchor=False)
            reasons.draw_what_if(result, loc)
            st.subheader(_("Influence map"), anchor=False)
            facts.draw_explanation(result.explanation, loc)
    with right:
        st.header(_("Quality of the images"), anchor=False)
        checks.draw(case, inspection, loc)
        if not abstained:
            _draw_markers(result, loc)
        st.subheader(_("Examination and model"), anchor=False)
        facts.draw_provenance(result, loc)
        with st.expander(_("Clinical record as given")):
            facts.draw_record(result, loc)
            if compared is not None:
                st.markdown(f"**{_('Record and images compared')}**")
                concordance.draw_items(compared, loc)
            if decision_button(_("Change the record"), case.digest, key="record", icon=":material/edit:"):
                services().workflow.reopen_record(case.id, actor=user(), shown=case.digest)
                st.rerun()
    st.header(_("Report and verdict"), anchor=False)
    verdict.draw(case, result, loc)


def _draw_markers(result: StoredResult, loc: Localization) -> None:
    st.subheader(loc.text("Established markers, without the model"), anchor=False)
    reasons.draw_comparators(result, loc)


def _draw_stopped(case: Case, loc: Localization) -> None:
    """Why there is no answer, and what can be done."""
    _ = loc.text
    reason = loc.translate(case.sentence) if case.sentence else ""
    if case.status is Status.REFUSED:
        st.error(f"**{_('The study or the record cannot be used.')}** {reason}", icon=":material/block:")
        _draw_choice(case, loc)
        return
    what = _("The images did not come.") if "study_uid" in case.received else _("The computation failed.")
    st.error(f"**{what}** {reason}", icon=":material/error:")
    if st.button(_("Start again"), type="primary", icon=":material/replay:"):
        services().workflow.start_check(case.id)
        st.rerun()
    _draw_choice(case, loc)


def _draw_choice(case: Case, loc: Localization) -> None:
    """Let a reader choose other series or correct the headers of a study that could not be used."""
    series = case.stored_series
    if not series:
        return
    with st.container(border=True):
        st.subheader(loc.text("Series of the study"), anchor=False)
        checks.draw_series(series, loc)
        checks.draw_changes(case, series, loc)


def _draw_removal(case: Case, loc: Localization, worklist: StreamlitPage) -> None:
    _ = loc.text
    if case.status in BUSY:
        return

    @st.dialog(_("Remove this case?"))
    def confirm() -> None:
        st.write(_("The case, its images and its reports are erased from this machine. This cannot be undone."))
        if st.button(_("Remove for good"), type="primary"):
            with errors_shown(loc):
                services().workflow.erase(case.id, actor=user(), shown=case.digest)
                st.switch_page(worklist)

    st.space("medium")
    if st.button(_("Remove this case"), icon=":material/delete:", type="tertiary"):
        confirm()
