"""One case: its progress, why it stopped, or its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.services import FILES, services
from app.tables import ANSWERED, BUSY, Status
from app.views import answer, checks, comparison, facts, images, preparation, reasons, verdict
from app.views.frame import CASE, STATUS, chosen_case, follow_progress, is_synthetic, synthetic_banner, user
from app.views.speech import speech
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlit.navigation.page import StreamlitPage

    from app.tables import Case
    from app.views.speech import Speech


def draw(pages: Mapping[str, StreamlitPage]) -> None:
    """Draw the case that the address names, with ways to the other `pages`."""
    spoken = speech()
    _ = spoken.text
    case = chosen_case()
    if case is None:
        st.title(_("Case"), anchor=False)
        st.info(_("No such case."))
        st.page_link(pages["worklist"], label=_("Back to the cases"), icon=":material/arrow_back:")
        return
    _draw_heading(case, spoken)
    if case.status in ANSWERED and case.result is not None:
        services().workflow.read(case, actor=user())
        _draw_answer(case, spoken, pages)
    elif case.status is Status.RUNNING:
        follow_progress(case.id, Status.RUNNING, spoken)
    elif case.status in {Status.REFUSED, Status.FAILED}:
        _draw_stopped(case, spoken)
    else:
        preparation.draw(case, spoken)
    if case.status not in ANSWERED:
        verdict.draw_earlier(case, services().store.versions(case.id), spoken)
    _draw_removal(case, spoken, pages["worklist"])


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
        if case.status in ANSWERED:
            reports = (("fr", _("Report in French")), ("en", _("Report in English")))
            links = (
                f"<a class='fp-button' href='{FILES}/{case.id}/report.{language}.pdf' download>{label} (PDF)</a>"
                for language, label in reports
            )
            st.html(f"<p class='fp-links'>{''.join(links)}</p>", width="content")


def _draw_answer(case: Case, spoken: Speech, pages: Mapping[str, StreamlitPage]) -> None:
    _ = spoken.text
    result = case.result or {}
    if is_synthetic(case):
        synthetic_banner(spoken)
    if others := comparison.others(case):
        label = spoken.say(Message("Compare with another examination of this patient ({n})", n=len(others)))
        st.page_link(pages["comparison"], label=label, query_params={CASE: case.id}, icon=":material/compare_arrows:")
    answer.draw(result["prediction"], spoken, card=pages["model"])
    st.header(_("Images and lesions"), anchor=False)
    facts.draw_quantities(result, spoken)
    images.draw(case, spoken)
    with st.container(key="stack_answer"):
        left, right = st.columns(2, gap="large")
    with left:
        st.header(_("What the answer rests on"), anchor=False)
        reasons.draw_contributions(result, spoken)
        st.subheader(_("What if a lesion were absent"), anchor=False)
        reasons.draw_what_if(result, spoken)
        st.subheader(_("Influence map"), anchor=False)
        facts.draw_explanation(result, spoken)
    with right:
        st.header(_("Quality of the images"), anchor=False)
        checks.draw(case, spoken)
        st.subheader(_("Established markers, without the model"), anchor=False)
        reasons.draw_comparators(result, spoken)
        st.subheader(_("Examination and model"), anchor=False)
        facts.draw_provenance(result, spoken)
        with st.expander(_("Clinical record as given")):
            facts.draw_record(result, spoken)
            if st.button(_("Change the record"), icon=":material/edit:"):
                services().workflow.change_record(case.id, actor=user())
                st.rerun()
    st.header(_("Report and verdict"), anchor=False)
    verdict.draw(case, spoken)


def _draw_stopped(case: Case, spoken: Speech) -> None:
    """Why there is no answer, and what can be done."""
    _ = spoken.text
    reason = spoken.say(case.sentence) if case.sentence else ""
    if case.status is Status.REFUSED:
        st.error(f"**{_('The study or the record cannot be used.')}** {reason}", icon=":material/block:")
        return
    what = _("The images did not come.") if "study_uid" in case.received else _("The computation failed.")
    st.error(f"**{what}** {reason}", icon=":material/error:")
    if st.button(_("Start again"), type="primary", icon=":material/replay:"):
        services().workflow.check(case.id)
        st.rerun()


def _draw_removal(case: Case, spoken: Speech, worklist: StreamlitPage) -> None:
    _ = spoken.text
    if case.status in BUSY:
        return

    @st.dialog(_("Remove this case?"))
    def confirm() -> None:
        st.write(_("The case, its images and its reports are erased from this machine. This cannot be undone."))
        if st.button(_("Remove for good"), type="primary"):
            services().workflow.erase(case.id, actor=user())
            st.switch_page(worklist)

    st.space("medium")
    if st.button(_("Remove this case"), icon=":material/delete:", type="tertiary"):
        confirm()
