"""A new case: its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from app.services import services
from app.uploads import keep_study
from app.views.frame import CASE, user
from app.views.speech import speech

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.views.speech import Speech


def draw(*, case: StreamlitPage) -> None:
    """Draw the import of a study."""
    spoken = speech()
    st.title(spoken.text("New case"), anchor=False)
    received = _receive(spoken)
    if received is not None:
        st.switch_page(case, query_params={CASE: received})


def _receive(spoken: Speech) -> str | None:
    """Let the user give a study; the identifier of the case, which exists as soon as its images are here."""
    _ = spoken.text
    kind = st.segmented_control(
        _("What you have"),
        ("archive", "folder"),
        format_func=lambda name: _("Zip archive") if name == "archive" else _("Folder"),
        default="archive",
        required=True,
    )
    several: Literal["directory"] | bool = "directory" if kind == "folder" else False
    given = st.file_uploader(
        _("DICOM study with PET and CT, as a folder")
        if kind == "folder"
        else _("DICOM study with PET and CT, as a zip archive"),
        accept_multiple_files=several,
        key=f"study_{kind}",
        help=_("The files stay on this machine. Their names and the patient's identity are not kept."),
    )
    files = given if isinstance(given, list) else [given] if given else []
    if not files:
        return None
    workflow, actor = services().workflow, user()
    received = workflow.create(spoken.language, actor=actor)
    with st.spinner(_("Storing the study")):
        size = keep_study(files, workflow.store.source(received.id))
    workflow.received(received.id, files=len(files), size=size, actor=actor)
    return received.id
