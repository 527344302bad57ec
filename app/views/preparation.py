"""A case before its answer: the checks of its images and its clinical record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app.models import bundle_for
from app.services import services
from app.tables import Status
from app.views import checks, images, model, record_form
from app.views.frame import follow_progress, show_error, user
from fedpet.errors import FedpetError
from fedpet.messages import Message

if TYPE_CHECKING:
    from app.tables import Case
    from app.views.speech import Speech


def draw(case: Case, spoken: Speech) -> None:
    """Draw the checks as soon as they are there, the record meanwhile, and the start of the computation."""
    _ = spoken.text
    st.header(_("1. PET/CT study"), anchor=False)
    if case.status in {Status.FETCHING, Status.CHECKING}:
        follow_progress(case.id, case.status, spoken)
    elif case.inspection is not None:
        _draw_checks(case, case.inspection, spoken)
    st.header(_("2. Clinical record"), anchor=False)
    try:
        bundle = bundle_for(case, services().settings)
    except FedpetError as error:
        show_error(error, spoken)
        if case.inspection is not None:
            model.draw_other_in_force(case, spoken)
        return
    usable = case.inspection is None or case.inspection["refused"] is None
    if record_form.draw(case, bundle.contract.variables, spoken) and usable and _start_bar(spoken):
        services().workflow.confirm(case.id, actor=user())
        st.rerun()


def _draw_checks(case: Case, inspection: dict[str, Any], spoken: Speech) -> None:
    _ = spoken.text
    if refused := inspection["refused"]:
        said = {name: spoken.say(Message.from_json(sentence)) for name, sentence in refused.items()}
        st.error(
            f"**{_('No SUV: the images can be looked at, but nothing is measured or predicted.')}** "
            f"{said['found']} {said['needed']} {said['advice']}",
            icon=":material/block:",
        )
    checks.draw(case, spoken)
    with st.expander(_("Look at the images"), expanded=bool(refused)):
        images.draw(case, spoken)


def _start_bar(spoken: Speech) -> bool:
    _ = spoken.text
    with st.container(horizontal=True, vertical_alignment="center"):
        started = st.button(_("Start the analysis"), type="primary", icon=":material/play_arrow:")
        st.caption(_("You may close this page: the case stays in the list."))
    return started
