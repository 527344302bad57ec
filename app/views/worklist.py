"""The list of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.services import services
from app.tables import BUSY, Status
from app.views.frame import CASE, RISK, STATUS, is_synthetic, signed_in, synthetic_banner
from app.views.speech import speech
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.navigation.page import StreamlitPage

    from app.tables import Case
    from app.views.speech import Speech

_WIDTHS = (1.5, 2.2, 1.3, 1.3, 1.5, 1.5, 1.0)
_PAGE = 20
_REFRESH_SECONDS = 2.0
_STOPPED = frozenset({Status.REFUSED, Status.FAILED})


def draw(*, new_case: StreamlitPage, case: StreamlitPage) -> None:
    """Draw the cases, newest first, with a way to open each."""
    spoken = speech()
    _ = spoken.text
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(_("Cases"), anchor=False)
        if st.button(_("New case"), type="primary", icon=":material/add:"):
            st.switch_page(new_case)
    if not services().store.listed(only=signed_in().only, limit=1):
        st.info(_("No case yet. Start with “New case”: a PET/CT study and a clinical record."))
        return
    cases, busy = _filtered(spoken)
    if not cases:
        st.info(_("No case fits. Change the search or the statuses."))
        return
    pages = -(-len(cases) // _PAGE)
    number = st.segmented_control(_("Page"), range(1, pages + 1), default=1, required=True) if pages > 1 else 1

    @st.fragment(run_every=_REFRESH_SECONDS if busy else None)
    def rows() -> None:
        shown = [services().store.get(listed.id) or listed for listed in cases[_PAGE * (number - 1) : _PAGE * number]]
        if any(map(is_synthetic, shown)):
            synthetic_banner(spoken)
        with st.container(gap=None, key="worklist"):
            _draw_heading(spoken)
            for listed in shown:
                with st.container(gap=None):
                    _draw_row(listed, spoken, case=case)

    rows()


def _filtered(spoken: Speech) -> tuple[Sequence[Case], bool]:
    """The cases that the search and the filters let through, newest first; whether any of them is busy."""
    _ = spoken.text
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input(_("Search"), placeholder=_("pseudonym or date of the examination"), width=280)
        mine = st.toggle(_("My cases only"), width="content")
    statuses = st.pills(
        _("Status"), list(STATUS), format_func=lambda status: spoken.say(STATUS[status][0]), selection_mode="multi"
    )
    me = signed_in()
    cases = services().store.listed(words=wanted, statuses=statuses, owner=me.name if mine else None, only=me.only)
    return cases, any(one.status in BUSY for one in cases)


def _draw_heading(spoken: Speech) -> None:
    _ = spoken.text
    headings = (
        _("Created"),
        _("Pseudonym"),
        _("PET/CT of"),
        _("Status"),
        _("Progression-free at 12 months"),
        _("Risk group"),
        "",
    )
    for column, heading in zip(st.columns(_WIDTHS, vertical_alignment="bottom", wrap=False), headings, strict=True):
        column.caption(heading)


def _draw_row(listed: Case, spoken: Speech, *, case: StreamlitPage) -> None:
    _ = spoken.text
    columns = st.columns(_WIDTHS, vertical_alignment="center", wrap=False)
    columns[0].write(spoken.moment(listed.created))
    columns[1].write(f"`{listed.pseudonym}`" if listed.pseudonym else _origin(listed, spoken))
    columns[2].write(spoken.day(listed.study_date))
    label, colour = STATUS[listed.status]
    columns[3].badge(spoken.say(label), color=colour)
    probability, group = _answer(listed, spoken)
    columns[4].write(probability)
    columns[5].write(group)
    if columns[6].button(_("Open"), key=f"open_{listed.id}", width="stretch"):
        st.switch_page(case, query_params={CASE: listed.id})
    if listed.status in BUSY:
        st.progress(listed.fraction, spoken.say(listed.sentence) if listed.sentence else None)
    elif listed.status in _STOPPED and listed.sentence is not None:
        _draw_stopped(listed, spoken.say(listed.sentence), spoken)


def _draw_stopped(listed: Case, why: str, spoken: Speech) -> None:
    """Why a case stopped and what to do, in the list already."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"why_{listed.id}"):
        st.caption(f":material/error: {why}")
        if listed.status is Status.FAILED and st.button(spoken.text("Try again"), key=f"again_{listed.id}"):
            services().workflow.check(listed.id)
            st.rerun()


def _origin(listed: Case, spoken: Speech) -> str:
    """Where the images of a case come from, while nothing else is known of it."""
    kind, _, pacs = listed.origin.partition(":")
    return spoken.say(Message("from the PACS {name}", name=pacs)) if kind == "pacs" and pacs else "–"


def _answer(listed: Case, spoken: Speech) -> tuple[str, str]:
    """Probability and risk group, or that the model abstained."""
    if listed.result is None:
        return "–", "–"
    prediction = listed.result["prediction"]
    if prediction["abstained"] is not None:
        return spoken.say(Message("abstention")), "–"
    main = next(endpoint for endpoint in prediction["endpoints"] if endpoint["name"] == "pfs_12m")
    return spoken.percent(main["probability"]), spoken.say(RISK[prediction["risk_group"]][0])
