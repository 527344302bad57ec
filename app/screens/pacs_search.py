"""Studies of a PACS: search, choose, import.

The answers name patients: only the person who searched sees them, and only the session of that browser stores them.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import streamlit as st

from app.exchange.cases import connect, viewer_link
from app.pacs.query import Query
from app.screens.layout.frame import show_error, user
from app.services import services
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from app.pacs.query import Row
    from app.screens.layout.localization import Localization

_FOUND = "pacs_found"  # in the session: the name of the PACS and the rows of its answer
_MOST = 100
_WIDTHS = (2.6, 1.1, 1.2, 2.2, 1.0, 0.8, 0.9)


def draw(loc: Localization) -> int:
    """Draw the search and its answers.

    Returns:
        How many studies the reader imports; each of them is a case now.
    """
    _search(loc)
    if _FOUND not in st.session_state:
        return 0
    name, rows = st.session_state[_FOUND]
    chosen = _choose(name, rows, loc)
    if not chosen:
        return 0
    for study_uid in chosen:
        services().workflow.create_from_pacs(loc.language, pacs=name, study_uid=study_uid, actor=user())
    del st.session_state[_FOUND]
    return len(chosen)


def _search(loc: Localization) -> None:
    _ = loc.text
    names = sorted(services().settings.pacs)
    with st.form("pacs_search"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox("PACS", names, width=180) if len(names) > 1 else names[0]
            patient_id = st.text_input(_("Patient identifier"), help=_("with * and ? as wildcards"), width=220)
            accession = st.text_input(_("Accession number"), width=180)
            pattern = "DD/MM/YYYY" if loc.language == "fr" else "YYYY-MM-DD"
            since, until = (
                st.date_input(label, value=None, format=pattern, width=180)
                for label in (_("Examination from"), _("until"))
            )
        submitted = st.form_submit_button(_("Search the PACS"), type="primary", icon=":material/search:")
    if not submitted:
        return
    st.session_state.pop(_FOUND, None)
    try:
        query = Query(patient_id.strip(), accession.strip(), _day(since), _day(until), modality="PT")
        with st.spinner(_("Searching the PACS")):
            archive = connect(services().settings, name)
            found = services().workflow.search_pacs(archive, query, limit=_MOST, actor=user())
    except FedpetError as error:
        show_error(error, loc)
    else:
        st.session_state[_FOUND] = (name, sorted(found, key=lambda row: row["date"], reverse=True))


def _choose(name: str, rows: list[Row], loc: Localization) -> list[str]:
    """Let the reader choose studies; those to import once the button is pressed, else none."""
    _ = loc.text
    if not rows:
        st.info(_("The PACS has no PET study that matches."))
        return []
    if len(rows) == _MOST:
        st.caption(loc.translate(Message("The first {n} answers; narrow the search to see others.", n=_MOST)))
    with st.container(gap=None, key="pacs_found"):
        headings = (_("Patient"), _("Born"), _("Examination"), _("Description"), _("Modalities"), _("Images"), "")
        for column, heading in zip(st.columns(_WIDTHS, wrap=False), headings, strict=True):
            column.caption(heading)
        chosen = [row["study_uid"] for row in rows if _draw_row(name, row, loc)]
    label = loc.translate(Message("Import {n} studies", n=len(chosen))) if len(chosen) > 1 else _("Import the study")
    pressed = st.button(label, type="primary", icon=":material/download:", disabled=not chosen)
    st.caption(_("The images are fetched in the background; the list of cases shows the progress."))
    return chosen if pressed else []


def _draw_row(name: str, row: Row, loc: Localization) -> bool:
    columns = st.columns(_WIDTHS, vertical_alignment="center", wrap=False)
    with columns[0]:
        name_shown = _escaped(row["patient_name"].replace("^", " ").strip() or row["patient_id"])
        chosen = st.checkbox(name_shown, key=f"study_{row['study_uid']}")
        st.caption(_escaped(row["patient_id"]))
    columns[1].write(_day_text(row["birth_date"], loc))
    columns[2].write(_day_text(row["date"], loc))
    columns[3].write(_escaped(row["description"]) or "–")
    columns[4].write(row["modalities"] or "–")
    columns[5].write(row["images"] or "–")
    if link := viewer_link(services().settings.pacs[name], row["study_uid"]):
        columns[6].link_button("OHIF", link, help=loc.text("Look at the study in the viewer of the PACS"))
    return chosen


def _escaped(text: str) -> str:
    """What a PACS wrote, as text: Streamlit reads Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()#+-.!|<>$:~" else sign for sign in text)


def _day_text(day: str, loc: Localization) -> str:
    """A day as DICOM writes it (YYYYMMDD); a dash where it is none."""
    try:
        return loc.day(date.fromisoformat(day).isoformat())
    except ValueError:
        return "–"


def _day(chosen: object) -> date | None:
    return chosen if isinstance(chosen, date) else None
