"""One case as a workspace that fills the window: a rail, the images, and a panel for each step of the reading."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.reading import is_locked
from app.cases.tables import BUSY, Status
from app.screens import model_card
from app.screens.case import answer, checks, concordance, images, preparation, rail, record_form, steps
from app.screens.case import details as facts
from app.screens.case import explanation as reasons
from app.screens.case import sign_off as verdict
from app.screens.case.steps import Step
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import (
    chosen_case,
    errors_shown,
    follow_progress,
    show_status,
    synthetic_banner,
    user,
)
from app.screens.layout.localization import localization
from app.services import services
from app.viewer.description import has_images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlit.navigation.page import StreamlitPage

    from app.cases.stored_result import StoredInspection, StoredResult
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from inference.record_concordance import RecordConcordance

_PARTS = ("bar", "rail", "view", "side")


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
    st.html(f"<style>{(resources.files('app.screens.case') / 'workspace.css').read_text()}</style>")
    with st.container(key="workspace", gap=None):
        bar, beside, view, side = (st.container(key=f"workspace_{part}") for part in _PARTS)
    with side:
        case = record_form.keep_typed(case, loc)
    with bar:
        step = _draw_bar(case, loc)
    st.html(f"<style>.st-key-workspace {{ --step: {step}; {_LAYOUTS[step]} }}</style>")
    case = _refreshed(case, step)
    result = case.stored_result if case.is_answered else None
    # of a study that was refused, only the series are known
    inspection = case.stored_inspection if "pet" in (case.inspection or {}) else None
    with view:
        _draw_images(case, result, step, loc)
    with side:
        compared = _draw_side(case, result, inspection, step, loc, pages)
    with beside:
        rail.draw(case, inspection, result, compared, loc, pages)
        _draw_removal(case, loc, pages["worklist"])


_LAYOUTS = {  # the panel of the step "read" is a part of the viewer, so that lesions and images are never apart
    Step.CHECK: "--side: clamp(400px, 32vw, 520px);",
    Step.READ: "--side: 0px;",
    Step.ANSWER: "--side: clamp(420px, 36vw, 600px);",
    Step.SIGN: "--side: clamp(420px, 36vw, 600px);",
}


def _refreshed(case: Case, step: Step) -> Case:
    """The case; where its lesions were corrected, what hangs on them is computed once its reader goes on."""
    going_on = step in {Step.ANSWER, Step.SIGN} and case.status in {Status.READY, Status.READ}
    if not (going_on and case.is_pending) or is_locked(case, services().settings):
        return case
    services().workflow.refresh(case.id)
    return services().store.require(case.id)


def _draw_bar(case: Case, loc: Localization) -> Step:
    """The name and the state of the case, and the steps."""
    _ = loc.text
    with st.container(horizontal=True, vertical_alignment="center", key="workspace_head"):
        st.title(f"{_('Case')} {case.pseudonym}".strip(), anchor=False, width="content")
        show_status(case.status, loc)
        return steps.choose(case, loc)


def _draw_images(case: Case, result: StoredResult | None, step: Step, loc: Localization) -> None:
    """The images, as soon as they are there and whatever the case is doing."""
    _ = loc.text
    if has_images(services().store.folder(case.id)):
        images.draw(case, result, loc, panel=step is Step.READ)
        return
    words = {
        Status.FETCHING: _("The images are coming from the PACS."),
        Status.RECEIVED: _("The images are not here yet."),
        Status.CHECKING: _("The images are being read and checked."),
    }
    st.html(f"<p class='fp-empty'>{words.get(case.status, _('There are no images to show.'))}</p>")


def _draw_side(
    case: Case,
    result: StoredResult | None,
    inspection: StoredInspection | None,
    step: Step,
    loc: Localization,
    pages: Mapping[str, StreamlitPage],
) -> RecordConcordance | None:
    """The panel of the step; returns the record against the images, as far as it is known."""
    compared = None if result is None or result.concordance is None else result.concordance.concordance
    if result is not None and inspection is not None:
        if compared is not None and step is not Step.READ:
            concordance.draw_contradictions(compared, loc)
        _draw_answered(case, (result, inspection), step, loc, pages)
        return compared
    if step is not Step.CHECK:
        _draw_not_yet(case, step, loc)
    elif case.status is Status.RUNNING:
        follow_progress(case.id, Status.RUNNING, loc)
    elif case.status in {Status.REFUSED, Status.FAILED}:
        _draw_stopped(case, loc)
    else:
        compared = preparation.draw(case, loc)
    if step in {Step.CHECK, Step.SIGN}:
        verdict.draw_earlier(case, services().store.versions(case.id), loc)
    return compared


def _draw_answered(
    case: Case,
    found: tuple[StoredResult, StoredInspection],
    step: Step,
    loc: Localization,
    pages: Mapping[str, StreamlitPage],
) -> None:
    """The panel of an answered case; that of the step "read" is a part of the viewer."""
    result, inspection = found
    if step is Step.CHECK:
        _draw_checked(case, result, inspection, loc)
    elif step is not Step.READ and is_locked(case, services().settings):
        steps.draw_locked(loc)
        return
    if step is not Step.READ:
        model_card.draw_gone(case, loc)
    if step in {Step.ANSWER, Step.SIGN} and result.pending:
        st.info(loc.text("The lesions were corrected: map and report are being computed."), icon=":material/schedule:")
        follow_progress(case.id, Status.RUNNING, loc)
    if step is Step.ANSWER:
        _draw_answer(case, result, loc, pages)
    elif step is Step.SIGN and not result.pending:
        verdict.draw(case, result, loc)


def _draw_not_yet(case: Case, step: Step, loc: Localization) -> None:
    _ = loc.text
    st.header(loc.translate(steps.LABELS[step]), anchor=False)
    if case.status is Status.RUNNING:
        st.info(_("The answer is being computed; the images can be looked at meanwhile."), icon=":material/schedule:")
        follow_progress(case.id, Status.RUNNING, loc)
    else:
        st.info(_("First check the images and complete the record, then start the analysis."), icon=":material/rule:")


def _draw_checked(case: Case, result: StoredResult, inspection: StoredInspection, loc: Localization) -> None:
    """What the answer was computed from: the record, and the images with what may be changed of them."""
    _ = loc.text
    st.header(_("Clinical record as given"), anchor=False)
    facts.draw_record(result, loc)
    if decision_button(_("Change the record"), case.digest, key="record", icon=":material/edit:"):
        services().workflow.reopen_record(case.id, actor=user(), shown=case.digest)
        st.rerun()
    st.header(_("PET/CT study"), anchor=False)
    checks.draw(case, inspection, loc)
    st.subheader(_("Examination and model"), anchor=False)
    facts.draw_provenance(result, loc)


def _draw_answer(case: Case, result: StoredResult, loc: Localization, pages: Mapping[str, StreamlitPage]) -> None:
    """The answer, then what it rests on."""
    _ = loc.text
    if result.prediction.model.synthetic:
        synthetic_banner(loc)
    answer.draw(result.prediction, loc, card=pages["model"])
    st.header(_("Lesions"), anchor=False)
    facts.draw_quantities(result.prediction.quantities, loc)
    if result.prediction.abstained is None:
        st.header(_("What the answer rests on"), anchor=False)
        reasons.draw_contributions(result, loc)
        st.subheader(_("What if a lesion were absent"), anchor=False)
        reasons.draw_what_if(result, loc)
        st.subheader(_("Influence map"), anchor=False)
        facts.draw_explanation(result, loc)
        reasons.draw_method_choice(case, loc)
    st.subheader(_("Established markers, without the model"), anchor=False)
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

    if st.button(_("Remove this case"), icon=":material/delete:", type="tertiary"):
        confirm()
