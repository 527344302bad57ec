"""The list of cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.lifecycle import STATUS_LABELS
from app.cases.reading import is_locked
from app.cases.store import Search
from app.cases.tables import BUSY, Status
from app.screens import quarantine
from app.screens.layout.frame import (
    CASE,
    RISK,
    errors_shown,
    is_synthetic,
    show_status,
    signed_in,
    synthetic_banner,
)
from app.screens.layout.localization import localization
from app.services import services
from app.viewer.thumbnail import thumbnail
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.cases.store import Order
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization

_WIDTHS = (1.5, 2.2, 1.3, 1.3, 1.5, 1.5, 1.0)
_PAGE = 20
_ORDERS: dict[Order, Message] = {
    "created": Message("Created"),
    "pseudonym": Message("Pseudonym"),
    "study_date": Message("PET/CT of"),
    "status": Message("Status"),
}
_SORTED = "worklist_sorted"  # in the session: what the list is sorted by, and whether the other way round
_READ, _SIGN = Message("Next: read the images"), Message("Next: answer and signature")
_NEXT = {
    Status.CHECKED: Message("Next: complete the record"),
    Status.REFUSED: Message("Next: other images or record"),
    Status.FAILED: Message("Next: try again"),
}
_REFRESH_SECONDS = 2.0
_STOPPED = frozenset({Status.REFUSED, Status.FAILED})


def draw(*, new_case: StreamlitPage, case: StreamlitPage) -> None:
    """Draw the cases, newest first, each with a button that opens it."""
    loc = localization()
    _ = loc.text
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(_("Cases"), anchor=False)
        if st.button(_("New case"), type="primary", icon=":material/add:"):
            st.switch_page(new_case)
    quarantine.draw_notice(loc)
    store = services().store
    if not store.count(Search(only=signed_in().only)):
        st.info(_("No case yet. Start with “New case”: a PET/CT study and a clinical record."))
        return
    search = _search(loc)
    count = store.count(search)
    if not count:
        st.info(_("No case fits. Change the search or the statuses."))
        return
    number = _page(count, loc)
    busy = any(one.status in BUSY for one in store.find(search, limit=_PAGE, offset=_PAGE * (number - 1)))

    @st.fragment(run_every=_REFRESH_SECONDS if busy else None)
    def rows() -> None:
        shown = store.find(search, limit=_PAGE, offset=_PAGE * (number - 1))
        if any(map(is_synthetic, shown)):
            synthetic_banner(loc)
        with st.container(gap=None, key="worklist"):
            _draw_heading(loc)
            for one in shown:
                with st.container(gap=None):
                    _draw_row(one, loc, case=case)

    rows()


def _search(loc: Localization) -> Search:
    """What the user searches, among the cases that they may see."""
    _ = loc.text
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(_("Search"), placeholder=_("pseudonym, date of the examination or number"), width=320)
        mine = st.toggle(_("My cases only"), width="content")
    statuses = st.pills(
        _("Status"),
        list(Status),
        format_func=lambda status: loc.translate(STATUS_LABELS[status]),
        selection_mode="multi",
    )
    me, (order, reverse) = signed_in(), _sorted()
    return Search(
        words=words,
        statuses=tuple(statuses),
        owner=me.name if mine else None,
        only=me.only,
        order=order,
        reverse=reverse,
    )


def _sorted() -> tuple[Order, bool]:
    found: tuple[Order, bool] = st.session_state.get(_SORTED, ("created", False))
    return found


def _sort(by: Order) -> None:
    """Sort by a column, then the other way round, then as at first."""
    order, reverse = _sorted()
    if order != by:
        st.session_state[_SORTED] = (by, False)
    elif reverse:
        del st.session_state[_SORTED]
    else:
        st.session_state[_SORTED] = (by, True)


def _page(count: int, loc: Localization) -> int:
    """The page of the list that the user chose, from 1."""
    pages = -(-count // _PAGE)
    if pages == 1:
        return 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number: int = st.selectbox(loc.text("Page"), range(1, pages + 1), width=110, key=f"worklist_page_{pages}")
        first, last = _PAGE * (number - 1) + 1, min(_PAGE * number, count)
        st.caption(
            loc.translate(
                Message(
                    "Cases {first} to {last} of {count}",
                    first=first,
                    last=last,
                    count=loc.number(count, 0),
                )
            )
        )
    return number


def _draw_heading(loc: Localization) -> None:
    """The headings; a click on one of those in `_ORDERS` sorts by it."""
    _ = loc.text
    columns = st.columns(_WIDTHS, vertical_alignment="bottom", wrap=False)
    by, reverse = _sorted()
    for column, (name, label) in zip(columns, _ORDERS.items(), strict=False):
        arrow = "" if name != by else " ↑" if (name in {"created", "study_date"}) is reverse else " ↓"
        words = loc.translate(label)
        help_text = loc.translate(Message("Sort by: {column}", column=words))
        if column.button(f"{words}{arrow}", key=f"sort_{name}", type="tertiary", help=help_text):
            _sort(name)
            st.rerun()
    others = (_("Alive without progression at 12 months"), _("Risk group"), "")
    for column, heading in zip(columns[len(_ORDERS) :], others, strict=True):
        column.caption(heading)


def _draw_row(one: Case, loc: Localization, *, case: StreamlitPage) -> None:
    _ = loc.text
    columns = st.columns(_WIDTHS, vertical_alignment="center", wrap=False)
    columns[0].write(loc.moment(one.created))
    with columns[1], st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if picture := _picture(one):
            st.html(f"<img class='fp-thumbnail' alt='' src='{picture}'>", width="content")
        if one.pseudonym:
            st.write(f"`{one.pseudonym}`")
        else:
            st.text(_origin(one, loc))
    columns[2].write(loc.day(one.study_date))
    with columns[3]:
        show_status(one.status, loc)
        if (step := _next_step(one)) is not None:
            st.caption(loc.translate(step))
    probability, group = _answer(one, loc)
    columns[4].write(probability)
    columns[5].write(group)
    if columns[6].button(_("Open"), key=f"open_{one.id}", width="stretch"):
        st.switch_page(case, query_params={CASE: one.id})
    if one.status in BUSY:
        st.progress(one.fraction, loc.translate(one.sentence) if one.sentence else None)
    elif one.status in _STOPPED and one.sentence is not None:
        _draw_stopped(one, loc.translate(one.sentence), loc)


def _picture(case: Case) -> str:
    """The projection of a case as a data URL; "" before its images are there."""
    path = services().store.folder(case.id) / "mip.bin"
    return _thumbnail(str(path.parent), path.stat().st_mtime_ns) if path.is_file() else ""


@st.cache_data(max_entries=200, show_spinner=False)
def _thumbnail(folder: str, stamp: int) -> str:  # noqa: ARG001  a new stamp is a new picture
    return thumbnail(Path(folder))


def _next_step(case: Case) -> Message | None:
    """What a case waits for its reader to do; None where it waits for nobody."""
    if case.status in {Status.READY, Status.READ}:
        return _READ if is_locked(case, services().settings) else _SIGN
    return _NEXT.get(case.status)


def _draw_stopped(case: Case, reason: str, loc: Localization) -> None:
    """Why a case stopped, and a button to try again."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"why_{case.id}"):
        st.caption(f":material/error: {reason}")
        if case.status is Status.FAILED and st.button(loc.text("Try again"), key=f"again_{case.id}"):
            with errors_shown(loc):
                services().workflow.start_check(case.id)
                st.rerun()


def _origin(case: Case, loc: Localization) -> str:
    """What tells a case apart before its pseudonym is known: its number, PACS, files; what its owner called them."""
    kind, _, pacs = case.origin.partition(":")
    parts = [loc.translate(Message("no. {number}", number=case.id[:8]))]
    if kind == "pacs" and pacs:
        parts.append(loc.translate(Message("from the PACS {name}", name=pacs)))
    if "files" in case.received:
        parts.append(loc.translate(Message("files: {count}", count=loc.number(case.received["files"], 0))))
        parts.append(loc.size(case.received["bytes"]))
    if case.owner == signed_in().name and (label := services().store.label(case.id)):
        parts.insert(0, label)
    return ", ".join(parts)


def _answer(case: Case, loc: Localization) -> tuple[str, str]:
    """Probability and risk group, or that the model abstained."""
    result = case.stored_result
    if result is None:
        return "–", "–"
    if is_locked(case, services().settings):
        return loc.text("to be read first"), "–"
    prediction, main = result.prediction, result.prediction.endpoint("pfs_12m")
    if main is None or prediction.risk_group is None:
        return loc.translate(Message("abstention")), "–"
    return loc.percent(main.probability), loc.translate(RISK[prediction.risk_group][0])
