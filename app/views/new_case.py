"""A new case: the images, then the clinical record, then the start of the computation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from app.services import services
from app.tables import Status
from app.uploads import keep_study
from app.views import record_form
from app.views.frame import CASE, chosen_case, show_error
from app.views.speech import speech
from fedpet.errors import FedpetError
from fedpet.messages import Message

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.tables import Case
    from app.views.speech import Speech


def draw(*, case: StreamlitPage) -> None:
    """Draw the two steps."""
    spoken = speech()
    _ = spoken.text
    st.title(_("New case"), anchor=False)
    chosen = chosen_case()
    if chosen is None or chosen.status not in {Status.RECEIVED, Status.FAILED}:
        chosen = None
    st.header(_("1. PET/CT study"), anchor=False)
    if chosen is None:
        _receive(spoken)
        return
    size = spoken.number(chosen.received["bytes"] / 2**20, 0)
    files = chosen.received["files"]
    st.success(
        spoken.say(Message("Study received: {files} file(s), {size} MB.", files=files, size=size)),
        icon=":material/check:",
    )
    st.header(_("2. Clinical record"), anchor=False)
    try:
        bundle = services().bundle
    except FedpetError as error:
        show_error(error, spoken)
        return
    if record_form.draw(chosen, bundle.contract.variables, spoken) and _start_bar(spoken):
        services().jobs.submit(chosen.id)
        st.switch_page(case, query_params={CASE: chosen.id})


def _start_bar(spoken: Speech) -> bool:
    _ = spoken.text
    with st.container(horizontal=True, vertical_alignment="center"):
        started = st.button(_("Start the analysis"), type="primary", icon=":material/play_arrow:")
        st.caption(_("You may close this page: the case stays in the list."))
    return started


def _receive(spoken: Speech) -> None:
    """Let the user give a study; the case exists as soon as it is here."""
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
        return
    store = services().store
    received: Case = store.create(spoken.language)
    with st.spinner(_("Storing the study")):
        size = keep_study(files, store.upload(received.id))
    store.receive(received.id, files=len(files), size=size)
    st.query_params[CASE] = received.id
    st.rerun()
