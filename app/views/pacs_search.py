"""Studies of a PACS: search, choose, import.

The answers name patients: they are shown to the person who asked, and kept nowhere else than in that browser's session.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import streamlit as st

from app.pacs import connect, viewer_link
from app.pacs_query import Query
from app.services import services
from app.views.frame import show_error, user
from fedpet.errors import FedpetError
from fedpet.messages import Message

if TYPE_CHECKING:
    from app.pacs_query import Row
    from app.views.speech import Speech

_FOUND = "pacs_found"  # in the session: the name of the PACS and the rows of its answer
_MOST = 100
_WIDTHS = (2.6, 1.1, 1.2, 2.2, 1.0, 0.8, 0.9)


def draw(spoken: Speech) -> int:
    """Draw the search and its answers; how many studies were asked for, each of which is a case now."""
    _search(spoken)
    if _FOUND not in st.session_state:
        return 0
    name, rows = st.session_state[_FOUND]
    chosen = _choose(name, rows, spoken)
    if not chosen:
        return 0
    for study_uid in chosen:
        services().workflow.fetch(spoken.language, pacs=name, study_uid=study_uid, actor=user())
    del st.session_state[_FOUND]
    return len(chosen)


def _search(spoken: Speech) -> None:
    _ = spoken.text
    names = sorted(services().settings.pacs)
    with st.form("pacs_search"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox("PACS", names, width=180) if len(names) > 1 else names[0]
            patient_id = st.text_input(_("Patient identifier"), help=_("with * and ? as wildcards"), width=220)
            accession = st.text_input(_("Accession number"), width=180)
            pattern = "DD/MM/YYYY" if spoken.language == "fr" else "YYYY-MM-DD"
            since, until = (
                st.date_input(label, value=None, format=pattern, width=180)
                for label in (_("Examination from"), _("until"))
            )
        asked = st.form_submit_button(_("Search the PACS"), type="primary", icon=":material/search:")
    if not asked:
        return
    st.session_state.pop(_FOUND, None)
    try:
        query = Query(patient_id.strip(), accession.strip(), _day(since), _day(until), modality="PT")
        with st.spinner(_("Asking the PACS")):
            archive = connect(services().settings, name)
            found = services().workflow.search(archive, query, limit=_MOST, actor=user())
    except FedpetError as error:
        show_error(error, spoken)
    else:
        st.session_state[_FOUND] = (name, sorted(found, key=lambda row: row["date"], reverse=True))


def _choose(name: str, rows: list[Row], spoken: Speech) -> list[str]:
    """Let studies be chosen; those to import once that is asked."""
    _ = spoken.text
    if not rows:
        st.info(_("The PACS holds no PET study that fits."))
        return []
    if len(rows) == _MOST:
        st.caption(spoken.say(Message("The first {n} answers; narrow the search to see others.", n=_MOST)))
    with st.container(gap=None, key="pacs_found"):
        headings = (_("Patient"), _("Born"), _("Examination"), _("Description"), _("Modalities"), _("Images"), "")
        for column, heading in zip(st.columns(_WIDTHS, wrap=False), headings, strict=True):
            column.caption(heading)
        chosen = [row["study_uid"] for row in rows if _draw_row(name, row, spoken)]
    label = spoken.say(Message("Import {n} studies", n=len(chosen))) if len(chosen) > 1 else _("Import the study")
    asked = st.button(label, type="primary", icon=":material/download:", disabled=not chosen)
    st.caption(_("The images come in the background; the list of cases shows how far they are."))
    return chosen if asked else []


def _draw_row(name: str, row: Row, spoken: Speech) -> bool:
    columns = st.columns(_WIDTHS, vertical_alignment="center", wrap=False)
    with columns[0]:
        name_written = _escaped(row["patient_name"].replace("^", " ").strip() or row["patient_id"])
        chosen = st.checkbox(name_written, key=f"study_{row['study_uid']}")
        st.caption(_escaped(row["patient_id"]))
    columns[1].write(_written(row["birth_date"], spoken))
    columns[2].write(_written(row["date"], spoken))
    columns[3].write(_escaped(row["description"]) or "–")
    columns[4].write(row["modalities"] or "–")
    columns[5].write(row["images"] or "–")
    if link := viewer_link(services().settings.pacs[name], row["study_uid"]):
        columns[6].link_button("OHIF", link, help=spoken.text("Look at the study in the viewer of the PACS"))
    return chosen


def _escaped(text: str) -> str:
    """What a PACS wrote, as text: Streamlit reads Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()#+-.!|<>$:~" else sign for sign in text)


def _written(day: str, spoken: Speech) -> str:
    """A day as DICOM writes it (YYYYMMDD); a dash where it is none."""
    try:
        return spoken.day(date.fromisoformat(day).isoformat())
    except ValueError:
        return "–"


def _day(chosen: object) -> date | None:
    return chosen if isinstance(chosen, date) else None
