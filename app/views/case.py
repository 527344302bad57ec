"""One case: its progress, why it stopped, or its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.services import FILES, services
from app.tables import Status
from app.views import answer, facts, images
from app.views.frame import CASE, STATUS, chosen_case, synthetic_banner
from app.views.speech import speech
from fedpet.messages import Message

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.tables import Case
    from app.views.speech import Speech

_REFRESH_SECONDS = 1.0


def draw(*, worklist: StreamlitPage, new_case: StreamlitPage) -> None:
    """Draw the case that the address names."""
    spoken = speech()
    _ = spoken.text
    case = chosen_case()
    if case is None:
        st.title(_("Case"), anchor=False)
        st.info(_("No such case."))
        st.page_link(worklist, label=_("Back to the cases"), icon=":material/arrow_back:")
        return
    if case.status is Status.RECEIVED:
        st.switch_page(new_case, query_params={CASE: case.id})
    _draw_heading(case, spoken)
    if case.status is Status.READY and case.result is not None:
        _draw_answer(case, spoken)
    elif case.status is Status.RUNNING:
        _draw_progress(case.id, spoken)
    else:
        _draw_stopped(case, spoken, new_case)
    _draw_removal(case, spoken, worklist)


def _draw_heading(case: Case, spoken: Speech) -> None:
    _ = spoken.text
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.title(f"{_('Case')} {case.pseudonym}".strip(), anchor=False, width="content")
            label, colour = STATUS[case.status]
            st.badge(spoken.say(label), color=colour)
            facts_line = [spoken.moment(case.created)]
            if case.study_date:
                facts_line.insert(0, spoken.say(Message("PET/CT of {date}", date=spoken.day(case.study_date))))
            st.caption(" · ".join(facts_line), width="content")
        if case.status is Status.READY:
            reports = (("fr", _("Report in French")), ("en", _("Report in English")))
            links = (
                f"<a class='fp-button' href='{FILES}/{case.id}/report.{language}.pdf' download>{label} (PDF)</a>"
                for language, label in reports
            )
            st.html(f"<p class='fp-links'>{''.join(links)}</p>", width="content")


def _draw_answer(case: Case, spoken: Speech) -> None:
    _ = spoken.text
    result = case.result or {}
    if result["prediction"]["model"]["synthetic"]:
        synthetic_banner(spoken)
    answer.draw(result["prediction"], spoken)
    st.header(_("Images and lesions"), anchor=False)
    facts.draw_quantities(result, spoken)
    images.draw(case, spoken)
    left, right = st.columns(2, gap="large")
    with left:
        st.header(_("What the answer rests on"), anchor=False)
        answer.draw_contributions(result["prediction"], spoken)
        st.subheader(_("Influence map"), anchor=False)
        facts.draw_explanation(result, spoken)
    with right:
        st.header(_("Quality of the images"), anchor=False)
        facts.draw_checks(result, spoken)
        st.subheader(_("Examination and model"), anchor=False)
        facts.draw_provenance(result, spoken)
        with st.expander(_("Clinical record as given")):
            facts.draw_record(result, spoken)


def _draw_progress(case_id: str, spoken: Speech) -> None:
    _ = spoken.text

    @st.fragment(run_every=_REFRESH_SECONDS)
    def follow() -> None:
        case = services().store.get(case_id)
        if case is None or case.status is not Status.RUNNING:
            st.rerun()
        sentence = spoken.say(case.sentence) if case.sentence else ""
        st.progress(case.fraction, f"{sentence} – {spoken.percent(case.fraction)}")
        st.caption(_("You may close this page: the case stays in the list."))

    follow()


def _draw_stopped(case: Case, spoken: Speech, new_case: StreamlitPage) -> None:
    """Why there is no answer, and what can be done."""
    _ = spoken.text
    reason = spoken.say(case.sentence) if case.sentence else ""
    if case.status is Status.REFUSED:
        st.error(f"**{_('The study or the record cannot be used.')}** {reason}", icon=":material/block:")
        return
    st.error(f"**{_('The computation failed.')}** {reason}", icon=":material/error:")
    if services().store.upload(case.id).is_dir() and st.button(
        _("Check the record and start again"), type="primary", icon=":material/replay:"
    ):
        st.switch_page(new_case, query_params={CASE: case.id})


def _draw_removal(case: Case, spoken: Speech, worklist: StreamlitPage) -> None:
    _ = spoken.text
    if case.status is Status.RUNNING:
        return

    @st.dialog(_("Remove this case?"))
    def confirm() -> None:
        st.write(_("The case, its images and its reports are erased from this machine. This cannot be undone."))
        if st.button(_("Remove for good"), type="primary"):
            services().store.delete(case.id)
            st.switch_page(worklist)

    st.space("medium")
    if st.button(_("Remove this case"), icon=":material/delete:", type="tertiary"):
        confirm()
