"""A new case: its images, uploaded or asked of a PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from app.services import services
from app.uploads import keep_study
from app.views import pacs_search
from app.views.frame import CASE, user
from app.views.speech import speech
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.navigation.page import StreamlitPage
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from app.views.speech import Speech

_WAYS = {"archive": Message("Zip archives"), "folder": Message("Folder"), "pacs": Message("From the PACS")}


def draw(*, case: StreamlitPage, worklist: StreamlitPage) -> None:
    """Draw the import of studies: one leads to its case, several to the list."""
    spoken = speech()
    _ = spoken.text
    st.title(_("New case"), anchor=False)
    ways = list(_WAYS) if services().settings.pacs else ["archive", "folder"]
    way = st.segmented_control(
        _("What you have"), ways, format_func=lambda name: spoken.say(_WAYS[name]), default=ways[0], required=True
    )
    if way == "pacs":
        if pacs_search.draw(spoken):
            st.switch_page(worklist)
        return
    received = _uploaded(way, spoken)
    if len(received) == 1:
        st.switch_page(case, query_params={CASE: received[0]})
    elif received:
        st.switch_page(worklist)


def _uploaded(way: str, spoken: Speech) -> list[str]:
    """Let the user give studies; the identifiers of their cases, which exist as soon as the images are here."""
    _ = spoken.text
    several: Literal["directory"] | bool = "directory" if way == "folder" else True
    turn = st.session_state.setdefault("upload_turn", 0)
    given = st.file_uploader(
        _("DICOM study with PET and CT, as a folder")
        if way == "folder"
        else _("DICOM studies with PET and CT, one zip archive for each"),
        type=None if way == "folder" else "zip",
        accept_multiple_files=several,
        key=f"study_{way}_{turn}",
        help=_("The files stay on this machine. Their names and the patient's identity are not kept."),
    )
    files = given if isinstance(given, list) else [given] if given else []
    if not files:
        return []
    st.session_state["upload_turn"] = turn + 1  # an upload that was taken in is not offered again
    with st.spinner(_("Storing the study")):
        return [_received(study, spoken) for study in ([files] if way == "folder" else [[file] for file in files])]


def _received(files: Sequence[UploadedFile], spoken: Speech) -> str:
    workflow, actor = services().workflow, user()
    case = workflow.create(spoken.language, actor=actor)
    size = keep_study(files, workflow.store.source(case.id))
    workflow.received(case.id, files=len(files), size=size, actor=actor)
    return case.id
