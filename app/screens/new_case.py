"""A new case: its images, uploaded or fetched from a PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from app.cases.uploads import store_study
from app.screens import pacs_search
from app.screens.layout.frame import CASE, user
from app.screens.layout.localization import localization
from app.services import services
from fedpet.core.errors import OutputError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.navigation.page import StreamlitPage
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from app.screens.layout.localization import Localization

_WAYS = {"archive": Message("Zip archives"), "folder": Message("Folder"), "pacs": Message("From the PACS")}


def draw(*, case: StreamlitPage, worklist: StreamlitPage) -> None:
    """Draw the import of studies: one leads to its case, several to the list."""
    loc = localization()
    _ = loc.text
    st.title(_("New case"), anchor=False)
    ways = list(_WAYS) if services().settings.pacs else ["archive", "folder"]
    way = st.segmented_control(
        _("What you have"), ways, format_func=lambda name: loc.translate(_WAYS[name]), default=ways[0], required=True
    )
    if way == "pacs":
        if pacs_search.draw(loc):
            st.switch_page(worklist)
        return
    received = _upload(way, loc)
    if len(received) == 1:
        st.switch_page(case, query_params={CASE: received[0]})
    elif received:
        st.switch_page(worklist)


def _upload(way: str, loc: Localization) -> list[str]:
    """Let the user upload studies; the identifiers of their cases, which exist as soon as the images are here."""
    _ = loc.text
    several: Literal["directory"] | bool = "directory" if way == "folder" else True
    turn = st.session_state.setdefault("upload_turn", 0)
    uploaded = st.file_uploader(
        _("DICOM study with PET and CT, as a folder")
        if way == "folder"
        else _("DICOM studies with PET and CT, one zip archive for each"),
        type=None if way == "folder" else "zip",
        accept_multiple_files=several,
        key=f"study_{way}_{turn}",
        help=_(
            "The files stay on this machine. The name of an upload is kept beside it until it is read, for you alone."
        ),
    )
    files = uploaded if isinstance(uploaded, list) else [uploaded] if uploaded else []
    if not files:
        return []
    st.session_state["upload_turn"] = turn + 1  # an upload is not offered again once it is stored
    with st.spinner(_("Storing the study")):
        return [_create(study, loc) for study in ([files] if way == "folder" else [[file] for file in files])]


def _create(files: Sequence[UploadedFile], loc: Localization) -> str:
    workflow, actor = services().workflow, user()
    case = workflow.create(loc.language, actor=actor)
    try:
        size = store_study(files, workflow.store.source(case.id))
    except OSError as error:
        workflow.erase(case.id, actor=actor, reason="not stored")
        raise OutputError(
            found=Message("The study could not be stored ({why}).", why=error.strerror or type(error).__name__),
            needed=Message("Room on the disk of the application for the whole study."),
            advice=Message("Have room made, then send the study again; nothing of it was kept."),
        ) from error
    workflow.store.keep_label(case.id, _label(files))
    workflow.receive_images(case.id, files=len(files), size=size, actor=actor)
    return case.id


def _label(files: Sequence[UploadedFile]) -> str:
    """What an upload is called: its archive, or the folder that was chosen."""
    first: str = files[0].name.replace("\\", "/").strip("/")
    return first.split("/", 1)[0] if len(files) > 1 else first.rsplit("/", 1)[-1]
